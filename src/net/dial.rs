//! One attempt to connect: all addresses of a backend, both families, within one bound. After RFC 8305 ("Happy
//! Eyeballs"): an address that does not answer is not waited for, it is raced.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use socket2::SockRef;
use tokio::time::{sleep, timeout};

use super::keepalive::keep_alive;
use super::{MAX_ADDRESSES, Socket};

/// How long one address is given before the next is tried beside it (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Why no connection came about. Nothing was sent in any case: a retry is safe.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The backend has no address: its name does not resolve.
    #[error("name does not resolve")]
    NoAddress,
    /// Nothing listens there.
    #[error("connection refused")]
    Refused(#[source] io::Error),
    /// No address answered within the bound.
    #[error("timed out while connecting")]
    TimedOut,
    /// Ours, not the backend's: no local port is left for the address (`EADDRNOTAVAIL`).
    #[error("no local port left for connecting")]
    NoLocalPort(#[source] io::Error),
    /// Ours, not the backend's: no file descriptor is left (`EMFILE`, `ENFILE`).
    #[error("no file descriptor left for connecting")]
    NoDescriptor(#[source] io::Error),
    /// The handshake did not end within the bound.
    #[error("timed out during the handshake")]
    HandshakeTimedOut,
    /// TLS did not come about: the backend is not believed, or does not speak it.
    #[error("TLS failed: {0}")]
    Tls(#[source] io::Error),
    /// Anything else, such as no route.
    #[error("cannot connect: {0}")]
    Io(#[source] io::Error),
}

impl DialError {
    /// Whether this process or machine lacks something, so that it says nothing about the backend.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::NoLocalPort(_) | Self::NoDescriptor(_))
    }
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::CONNREFUSED) => Self::Refused(error),
            Some(Errno::TIMEDOUT) => Self::TimedOut,
            Some(Errno::ADDRNOTAVAIL) => Self::NoLocalPort(error),
            Some(Errno::MFILE | Errno::NFILE) => Self::NoDescriptor(error),
            _ => Self::Io(error),
        }
    }
}

/// Connects to the first of `addresses` that answers, in their order, within `bound` for all of them. `TCP_NODELAY`
/// and probes of silent connections are set. Dropping the future ends all attempts. Addresses after the first [`MAX_ADDRESSES`] are not tried.
pub async fn dial(addresses: &[SocketAddr], bound: Duration) -> Result<Socket, DialError> {
    let addresses = addresses.get(..MAX_ADDRESSES).unwrap_or(addresses);
    let connected = match addresses {
        [] => return Err(DialError::NoAddress),
        [only] => timeout(bound, insist(*only, HEAD_START.min(bound / 4))).await,
        several => {
            // With a short bound everyone still gets a turn.
            let head_start = HEAD_START.min(bound / (several.len() as u32 + 1));
            timeout(bound, race(several, head_start)).await
        }
    };
    connected.unwrap_or(Err(DialError::TimedOut))
}

/// Connects to the only address that there is. A first packet that was lost, as those to a full queue are, is sent again by the
/// kernel after a second, which may be all the time that there is: other attempts begin beside the first one before.
async fn insist(address: SocketAddr, pause: Duration) -> Result<Socket, DialError> {
    let again = async |after| {
        sleep(after).await;
        connect(address).await
    };
    tokio::select! {
        biased;
        connected = connect(address) => connected,
        Ok(connected) = again(pause) => Ok(connected),
        Ok(connected) = again(2 * pause) => Ok(connected),
    }
}

type Connecting = Pin<Box<dyn Future<Output = Result<Socket, DialError>> + Send>>;

/// Starts with the first address; the next one starts when `head_start` is over or as soon as one has failed.
async fn race(addresses: &[SocketAddr], head_start: Duration) -> Result<Socket, DialError> {
    let mut waiting = addresses.iter();
    let mut running: Vec<Connecting> = Vec::with_capacity(addresses.len());
    let mut last_error = DialError::NoAddress;
    loop {
        let next = waiting.next();
        if let Some(address) = next {
            running.push(Box::pin(connect(*address)));
        }
        if running.is_empty() {
            return Err(last_error);
        }
        let finished = poll_fn(|context| poll_any(&mut running, context));
        let finished = match next {
            Some(_) => timeout(head_start, finished).await,
            None => Ok(finished.await),
        };
        match finished {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last_error = worse(last_error, error),
            Err(_) => {}
        }
    }
}

/// The result of one that has finished, which is removed.
fn poll_any(running: &mut Vec<Connecting>, context: &mut Context<'_>) -> Poll<Result<Socket, DialError>> {
    let finished = running.iter_mut().enumerate().find_map(|(index, connecting)| {
        match connecting.as_mut().poll(context) {
            Poll::Ready(result) => Some((index, result)),
            Poll::Pending => None,
        }
    });
    match finished {
        Some((index, result)) => {
            drop(running.swap_remove(index));
            Poll::Ready(result)
        }
        None => Poll::Pending,
    }
}

/// What is told of several errors: that we have no descriptor, which is true for all addresses; else the last one that tells
/// something of the backend.
fn worse(one: DialError, other: DialError) -> DialError {
    match (&one, &other) {
        (DialError::NoDescriptor(_), _) => one,
        (DialError::NoAddress, _) | (_, DialError::NoDescriptor(_)) => other,
        (_, DialError::NoLocalPort(_)) => one,
        _ => other,
    }
}

async fn connect(address: SocketAddr) -> Result<Socket, DialError> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    match Socket::connect(family, &address).await.map_err(DialError::from) {
        Ok(socket) => made_ready(socket, address),
        // The kernel says the same where this machine has no address of the family, as `::1` in many containers. That does
        // not pass, and tells that the backend cannot be reached.
        Err(DialError::NoLocalPort(error)) if !has_address_for(family, address) => Err(DialError::Io(error)),
        Err(error) => Err(error),
    }
}

/// Whether this machine has an address of its own from which `address` can be reached. Connecting a datagram socket sends
/// nothing, and its ports are others.
fn has_address_for(family: AddressFamily, address: SocketAddr) -> bool {
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    let connected = socket.and_then(|socket| rustix::net::connect(&socket, &address));
    connected != Err(Errno::ADDRNOTAVAIL)
}

fn made_ready(socket: Socket, address: SocketAddr) -> Result<Socket, DialError> {
    let options = SockRef::from(&socket);
    // When nobody listens on a port of the ephemeral range, the kernel can give us that very port to come from, and
    // TCP connects the socket with itself (RFC 9293 §3.5, simultaneous open).
    if options.local_addr()?.as_socket() == Some(address) {
        // Closed without waiting, or the port would be taken from the backend for a minute.
        options.set_linger(Some(Duration::ZERO))?;
        return Err(DialError::Refused(io::ErrorKind::ConnectionRefused.into()));
    }
    options.set_tcp_nodelay(true)?;
    keep_alive(&socket)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::os::fd::OwnedFd;

    use socket2::{Domain, Socket, Type};

    use super::super::keepalive::is_kept_alive;
    use super::*;
    use crate::clock;

    const BOUND: Duration = Duration::from_secs(5);

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    fn peer(socket: &super::Socket) -> SocketAddr {
        SockRef::from(socket).peer_addr().unwrap().as_socket().unwrap()
    }

    /// The port of a socket that is bound and does not listen refuses, and nobody else can get it.
    fn refusing() -> (Socket, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket
            .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
            .unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }

    /// A listener whose queue is full: the kernel drops further attempts to connect.
    fn blackhole() -> (Socket, Vec<Socket>, SocketAddr) {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener
            .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
            .unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let filling = (0..4)
            .map(|_| {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                socket.set_nonblocking(true).unwrap();
                let _ = socket.connect(&address);
                socket
            })
            .collect();
        (listener, filling, address.as_socket().unwrap())
    }

    #[tokio::test]
    async fn connects_with_no_delay_and_keeps_the_connection_alive() {
        let (_listener, address) = listener();
        let stream = dial(&[address], BOUND).await.unwrap();
        assert_eq!(peer(&stream), address);
        assert!(SockRef::from(&stream).tcp_nodelay().unwrap());
        assert!(is_kept_alive(&stream));
    }

    #[tokio::test]
    async fn a_refused_address_moves_on_at_once() {
        let (_listener, address) = listener();
        let (_bound, refusing) = refusing();
        let started = clock::now();
        let stream = dial(&[refusing, refusing, address], BOUND).await.unwrap();
        assert_eq!(peer(&stream), address);
        assert!(started.elapsed() < HEAD_START);
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_does_not_eat_the_bound() {
        let (_listener, address) = listener();
        let (_full, _filling, silent) = blackhole();
        let stream = dial(&[silent, address], BOUND).await.unwrap();
        assert_eq!(peer(&stream), address);
        let stream = dial(&[silent, silent, address], Duration::from_millis(200))
            .await
            .unwrap();
        assert_eq!(peer(&stream), address);
    }

    #[tokio::test]
    async fn a_first_packet_that_was_lost_is_not_waited_for() {
        let (full, _filling, address) = blackhole();
        let soon_room = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            full.set_nonblocking(true).unwrap();
            while full.accept().is_ok() {}
        };
        let addresses = [address];
        let dialling = dial(&addresses, Duration::from_millis(900));
        let (connected, ()) = tokio::join!(dialling, soon_room);
        connected.unwrap();
    }

    #[tokio::test]
    async fn errors_say_what_happened() {
        let (_full, _filling, silent) = blackhole();
        let (_bound, refusing) = refusing();
        let short = Duration::from_millis(50);
        assert!(matches!(dial(&[], BOUND).await, Err(DialError::NoAddress)));
        assert!(matches!(
            dial(&[refusing], BOUND).await,
            Err(DialError::Refused(_))
        ));
        assert!(matches!(
            dial(&[refusing, refusing], BOUND).await,
            Err(DialError::Refused(_))
        ));
        assert!(matches!(dial(&[silent], short).await, Err(DialError::TimedOut)));
        assert!(matches!(
            dial(&[refusing, silent], short).await,
            Err(DialError::TimedOut)
        ));
    }

    #[test]
    fn a_lack_of_our_own_is_told_apart() {
        let error = |errno: Errno| DialError::from(io::Error::from(errno));
        assert!(matches!(error(Errno::ADDRNOTAVAIL), DialError::NoLocalPort(_)));
        assert!(matches!(error(Errno::MFILE), DialError::NoDescriptor(_)));
        assert!(error(Errno::NFILE).is_ours() && error(Errno::ADDRNOTAVAIL).is_ours());
        assert!(!error(Errno::CONNREFUSED).is_ours() && !error(Errno::NETUNREACH).is_ours());
        for (one, other, told) in [
            (Errno::MFILE, Errno::CONNREFUSED, Errno::MFILE),
            (Errno::CONNREFUSED, Errno::MFILE, Errno::MFILE),
            (Errno::ADDRNOTAVAIL, Errno::MFILE, Errno::MFILE),
            // `localhost` is two addresses, and one of them may have no port left.
            (Errno::CONNREFUSED, Errno::ADDRNOTAVAIL, Errno::CONNREFUSED),
            (Errno::ADDRNOTAVAIL, Errno::CONNREFUSED, Errno::CONNREFUSED),
            (Errno::CONNREFUSED, Errno::NETUNREACH, Errno::NETUNREACH),
        ] {
            let worse = worse(error(one), error(other));
            assert_eq!(worse.to_string(), error(told).to_string(), "{one}, {other}");
        }
        let first = worse(DialError::NoAddress, error(Errno::ADDRNOTAVAIL));
        assert!(matches!(first, DialError::NoLocalPort(_)));
    }

    #[tokio::test]
    async fn a_socket_that_is_connected_with_itself_is_refused() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        let stream = socket.connect(address).await.unwrap();
        let stream = super::Socket::from(OwnedFd::from(stream.into_std().unwrap()));
        assert_eq!(peer(&stream), address);
        assert!(matches!(made_ready(stream, address), Err(DialError::Refused(_))));
        // The port is free again, also for a socket that does not ask for addresses in use.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&address.into()).unwrap();
    }
}
