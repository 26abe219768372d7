//! Sends lines to a syslog server, each as one datagram. Never waits for the server; looking up its name may take a while, which
//! delays only the thread of this log.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::io::Errno;

use super::SyslogServer;
use crate::clock::{self, Instant};

/// How long a name's address is used before it is looked up again. UDP does not tell that a server has moved.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(60);

/// How long no refusal must follow the first datagram of a socket before its server counts as present. The kernel takes every
/// datagram, and reports that a port is closed with a later one. Longer than a second, because hosts limit how many refusals
/// they send, as Linux does to one a second.
const QUIET: Duration = Duration::from_secs(3);

/// A sender to one server. It connects again after every error, because a server that restarts makes a new socket.
#[derive(Debug)]
pub(in crate::telemetry) struct Sender {
    server: SyslogServer,
    connection: Option<Connection>,
    /// Lines lost on the way since they were last asked for.
    lost: u64,
    quiet: Duration,
    /// How often the server has refused a datagram: each time another one of its addresses has its turn.
    turn: usize,
}

#[derive(Debug)]
struct Connection {
    socket: Socket,
    since: Instant,
    /// When it took its first line.
    first_sent: Option<Instant>,
    /// Whether the lines that it took have arrived, as far as that can be known.
    is_confirmed: bool,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Sender {
    /// A sender that connects with the first line: a server that is away does not keep the process from starting.
    pub(in crate::telemetry) fn new(server: SyslogServer) -> Self {
        Self {
            server,
            connection: None,
            lost: 0,
            quiet: QUIET,
            turn: 0,
        }
    }

    /// Sends the first line of `bytes` without its newline. Returns its length with the newline.
    pub(in crate::telemetry) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = memchr::memchr(b'\n', bytes);
        let line = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or(bytes);
        let length = end.map_or(bytes.len(), |end| end + 1);
        let quiet = self.quiet;
        let connection = self.connection()?;
        match connection.socket.send(line) {
            Ok(_) => {
                connection.took_line(quiet);
                Ok(length)
            }
            Err(error) if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) => {
                // It will not fit at the next attempt either.
                self.lost += 1;
                Ok(length)
            }
            Err(error) => {
                if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) {
                    // The kernel reports with this datagram that the one before was refused.
                    let is_about_last = error.kind() == ErrorKind::ConnectionRefused
                        && matches!(self.server, SyslogServer::Udp(..));
                    if is_about_last {
                        self.refused();
                    }
                    self.disconnect();
                }
                Err(error)
            }
        }
    }

    /// Connects again before the next line.
    pub(in crate::telemetry) fn disconnect(&mut self) {
        let connection = self.connection.take();
        let refusal = connection.and_then(|connection| connection.socket.take_error());
        if refusal.is_some_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
            self.refused();
        }
    }

    /// Notes that a datagram was refused. The server may listen on another address of its name, such as only on one for IPv4.
    fn refused(&mut self) {
        self.lost += 1;
        self.turn = self.turn.wrapping_add(1);
    }

    /// Whether the last line that was sent shows that the server is there. A Unix socket has the line in its queue then. UDP has
    /// none of that: the server counts as present when lines were sent for a while, and none was refused.
    pub(in crate::telemetry) fn is_confirmed(&self) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|connection| connection.is_confirmed)
    }

    /// Takes the number of lines that were lost on the way.
    pub(in crate::telemetry) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// The socket, if it is connected.
    pub(in crate::telemetry) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(match &self.connection.as_ref()?.socket {
            Socket::Udp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
        })
    }

    /// The connection, which is established where there is none.
    fn connection(&mut self) -> io::Result<&mut Connection> {
        if self.server.has_name()
            && let Some(connection) = &self.connection
            && clock::now().saturating_duration_since(connection.since) >= LOOKUP_INTERVAL
        {
            self.disconnect();
        }
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::establish(&self.server, self.turn)?,
        };
        Ok(self.connection.insert(connection))
    }
}

impl Connection {
    fn establish(server: &SyslogServer, turn: usize) -> io::Result<Self> {
        Ok(Self {
            socket: Socket::connect(server, turn)?,
            since: clock::now(),
            first_sent: None,
            is_confirmed: false,
        })
    }

    /// Notes that the kernel took a line. With UDP this says only that none of the lines before was refused so far.
    fn took_line(&mut self, quiet: Duration) {
        self.is_confirmed = self.is_confirmed
            || match self.socket {
                Socket::Unix(_) => true,
                Socket::Udp(_) => {
                    let now = clock::now();
                    now.saturating_duration_since(*self.first_sent.get_or_insert(now)) >= quiet
                }
            };
    }
}

impl Socket {
    fn connect(server: &SyslogServer, turn: usize) -> io::Result<Self> {
        match server {
            SyslogServer::Udp(host, port) => {
                let mut failed = None;
                let addresses = (host.as_str(), *port).to_socket_addrs()?.collect();
                for address in in_turn(addresses, turn) {
                    match connect_udp(address) {
                        Ok(socket) => return Ok(Self::Udp(socket)),
                        Err(error) => failed = Some(error),
                    }
                }
                Err(failed.unwrap_or_else(|| ErrorKind::NotFound.into()))
            }
            SyslogServer::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_nonblocking(true)?;
                Ok(Self::Unix(socket))
            }
        }
    }

    fn send(&self, line: &[u8]) -> io::Result<usize> {
        match self {
            Self::Udp(socket) => socket.send(line),
            Self::Unix(socket) => socket.send(line),
        }
    }

    /// Takes an error that no line has reported. A Unix socket reports every error with the line itself.
    fn take_error(&self) -> Option<io::Error> {
        match self {
            Self::Udp(socket) => socket.take_error().ok().flatten(),
            Self::Unix(_) => None,
        }
    }
}

/// The addresses of a server, beginning with the one whose turn it is.
fn in_turn(mut addresses: Vec<SocketAddr>, turn: usize) -> Vec<SocketAddr> {
    let first = turn.checked_rem(addresses.len()).unwrap_or(0);
    addresses.rotate_left(first);
    addresses
}

fn connect_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let local: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local)?;
    socket.connect(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests;
