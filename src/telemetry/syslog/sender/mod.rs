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

/// A sender to one server. It connects again after every error, because a server that restarts makes a new socket.
#[derive(Debug)]
pub(in crate::telemetry) struct Sender {
    server: SyslogServer,
    socket: Option<(Socket, Instant)>,
    /// Lines lost on the way since they were last asked for.
    lost: u64,
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
            socket: None,
            lost: 0,
        }
    }

    /// Sends the first line of `bytes` without its newline. Returns its length with the newline.
    pub(in crate::telemetry) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = memchr::memchr(b'\n', bytes);
        let line = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or(bytes);
        let length = end.map_or(bytes.len(), |end| end + 1);
        match self.socket()?.send(line) {
            Ok(_) => Ok(length),
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
                    self.lost += u64::from(is_about_last);
                    self.disconnect();
                }
                Err(error)
            }
        }
    }

    /// Connects again before the next line.
    pub(in crate::telemetry) fn disconnect(&mut self) {
        self.socket = None;
    }

    /// Takes the number of lines that were lost on the way.
    pub(in crate::telemetry) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// The socket, if it is connected.
    pub(in crate::telemetry) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(match &self.socket.as_ref()?.0 {
            Socket::Udp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
        })
    }

    /// The connected socket.
    fn socket(&mut self) -> io::Result<&Socket> {
        if self.server.has_name()
            && let Some((_, since)) = self.socket
            && clock::now().saturating_duration_since(since) >= LOOKUP_INTERVAL
        {
            self.disconnect();
        }
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => (Socket::connect(&self.server)?, clock::now()),
        };
        Ok(&self.socket.insert(socket).0)
    }
}

impl Socket {
    fn connect(server: &SyslogServer) -> io::Result<Self> {
        match server {
            SyslogServer::Udp(host, port) => {
                let mut failed = None;
                for address in (host.as_str(), *port).to_socket_addrs()? {
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
