//! Opens a TCP connection to a backend within a time limit. Races all its addresses of both families, as in RFC 8305 ("Happy
//! Eyeballs"), so that an address that does not respond does not use up the limit.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use socket2::SockRef;

use super::keepalive::enable_keepalive;
use super::{MAX_ADDRESSES, Socket};
use crate::clock::{sleep, timeout};
use crate::tls;

/// Time after which the next address is tried in parallel (RFC 8305 §5, Connection Attempt Delay).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Why no connection was established. No byte of a request was sent, so a retry is safe.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The backend has no address: its name does not resolve.
    #[error("name does not resolve")]
    NoAddress,
    /// Nothing listens on the address.
    #[error("connection refused")]
    Refused(#[source] io::Error),
    /// No address accepted within the time limit.
    #[error("timed out while connecting")]
    TimedOut,
    /// A local error: no local port is free for the address (`EADDRNOTAVAIL`).
    #[error("no local port left for connecting")]
    NoLocalPort(#[source] io::Error),
    /// A local error: no file descriptor is free (`EMFILE`, `ENFILE`).
    #[error("no file descriptor left for connecting")]
    NoDescriptor(#[source] io::Error),
    /// Sending the PROXY header and the TLS handshake did not end within the time limit.
    #[error("timed out during the handshake")]
    HandshakeTimedOut,
    /// The TLS handshake failed: the backend's certificate is not trusted, or it does not speak TLS.
    #[error("TLS handshake failed: {}", tls::reason(.0))]
    Tls(#[source] io::Error),
    /// Any other error, such as no route.
    #[error("cannot connect: {0}")]
    Io(#[source] io::Error),
}

impl DialError {
    /// Whether it is a local error, which says nothing about the backend.
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

/// Connects to the first of `addresses` that accepts, tried in their order, within `bound` in all. Sets `TCP_NODELAY` and TCP
/// keepalive. Dropping the future ends all attempts. Addresses after the first [`MAX_ADDRESSES`] are not tried.
pub async fn dial(addresses: &[SocketAddr], bound: Duration) -> Result<Socket, DialError> {
    let addresses = addresses.get(..MAX_ADDRESSES).unwrap_or(addresses);
    let connected = match addresses {
        [] => return Err(DialError::NoAddress),
        [only] => timeout(bound, connect_repeatedly(*only, ATTEMPT_DELAY.min(bound / 4))).await,
        several => {
            // With a short bound every address is still tried.
            let delay = ATTEMPT_DELAY.min(bound / (several.len() as u32 + 1));
            timeout(bound, race(several, delay)).await
        }
    };
    connected.unwrap_or(Err(DialError::TimedOut))
}

/// Connects to a single address. If the SYN is lost, as with a full accept queue, the kernel retransmits it only after a
/// second, which may be the whole time limit. Therefore further attempts start in parallel before that.
async fn connect_repeatedly(address: SocketAddr, pause: Duration) -> Result<Socket, DialError> {
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

/// Starts with the first address; the next one starts after `delay`, or as soon as one has failed.
async fn race(addresses: &[SocketAddr], delay: Duration) -> Result<Socket, DialError> {
    let mut untried = addresses.iter();
    let mut running: Vec<Connecting> = Vec::with_capacity(addresses.len());
    let mut last_error = DialError::NoAddress;
    loop {
        let next = untried.next();
        if let Some(address) = next {
            running.push(Box::pin(connect(*address)));
        }
        if running.is_empty() {
            return Err(last_error);
        }
        let finished = poll_fn(|context| poll_any(&mut running, context));
        let finished = match next {
            Some(_) => timeout(delay, finished).await,
            None => Ok(finished.await),
        };
        match finished {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last_error = more_relevant(last_error, error),
            Err(_) => {}
        }
    }
}

/// Removes an attempt that has finished and returns its result.
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

/// Which of two errors is reported: a lack of descriptors, because it concerns all addresses; otherwise the later one that
/// says something about the backend.
fn more_relevant(one: DialError, other: DialError) -> DialError {
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
        Ok(socket) => configure(socket, address),
        // The kernel returns the same error if this machine has no address of the family, such as `::1` in many containers.
        // That is permanent, and means that the backend cannot be reached.
        Err(DialError::NoLocalPort(error)) if !has_address_for(family, address) => Err(DialError::Io(error)),
        Err(error) => Err(error),
    }
}

/// Whether this machine has a local address from which `address` can be reached. Connecting a UDP socket sends nothing, and
/// does not need a TCP port.
fn has_address_for(family: AddressFamily, address: SocketAddr) -> bool {
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    let connected = socket.and_then(|socket| rustix::net::connect(&socket, &address));
    connected != Err(Errno::ADDRNOTAVAIL)
}

/// Rejects a connection of the socket with itself, and sets the socket options.
fn configure(socket: Socket, address: SocketAddr) -> Result<Socket, DialError> {
    let options = SockRef::from(&socket);
    // If nothing listens on a port of the ephemeral range, the kernel can choose that same port as our local port, and TCP
    // then connects the socket with itself (RFC 9293 §3.5, simultaneous open).
    if options.local_addr()?.as_socket() == Some(address) {
        // A reset instead of TIME_WAIT, which would keep the port from the backend for a minute.
        options.set_linger(Some(Duration::ZERO))?;
        return Err(DialError::Refused(io::ErrorKind::ConnectionRefused.into()));
    }
    options.set_tcp_nodelay(true)?;
    enable_keepalive(&socket)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::os::fd::OwnedFd;

    use socket2::{Domain, Socket, Type};

    use super::super::keepalive::has_keepalive;
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

    /// An address that refuses connections: its socket is bound, so that no other can take the port, but does not listen.
    fn refusing() -> (Socket, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket
            .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
            .unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }

    /// A listener with a full accept queue: the kernel drops further SYNs.
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
    async fn connects_with_no_delay_and_keepalive() {
        let (_listener, address) = listener();
        let stream = dial(&[address], BOUND).await.unwrap();
        assert_eq!(peer(&stream), address);
        assert!(SockRef::from(&stream).tcp_nodelay().unwrap());
        assert!(has_keepalive(&stream));
    }

    #[tokio::test]
    async fn after_a_refused_address_the_next_is_tried_at_once() {
        let (_listener, address) = listener();
        let (_bound, refusing) = refusing();
        let started = clock::now();
        let stream = dial(&[refusing, refusing, address], BOUND).await.unwrap();
        assert_eq!(peer(&stream), address);
        assert!(crate::clock::now() - started < ATTEMPT_DELAY);
    }

    #[tokio::test]
    async fn an_address_that_does_not_respond_does_not_use_up_the_bound() {
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
    async fn a_lost_syn_does_not_delay_until_its_retransmission() {
        let (full, _filling, address) = blackhole();
        let soon_room = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            full.set_nonblocking(true).unwrap();
            while full.accept().is_ok() {}
        };
        let addresses = [address];
        let dialing = dial(&addresses, Duration::from_millis(900));
        let (connected, ()) = tokio::join!(dialing, soon_room);
        connected.unwrap();
    }

    #[tokio::test]
    async fn errors_name_the_cause() {
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
    fn local_errors_are_distinguished() {
        let error = |errno: Errno| DialError::from(io::Error::from(errno));
        assert!(matches!(error(Errno::ADDRNOTAVAIL), DialError::NoLocalPort(_)));
        assert!(matches!(error(Errno::MFILE), DialError::NoDescriptor(_)));
        assert!(error(Errno::NFILE).is_ours() && error(Errno::ADDRNOTAVAIL).is_ours());
        assert!(!error(Errno::CONNREFUSED).is_ours() && !error(Errno::NETUNREACH).is_ours());
        for (one, other, expected) in [
            (Errno::MFILE, Errno::CONNREFUSED, Errno::MFILE),
            (Errno::CONNREFUSED, Errno::MFILE, Errno::MFILE),
            (Errno::ADDRNOTAVAIL, Errno::MFILE, Errno::MFILE),
            // `localhost` has two addresses, and one of them may have no free port.
            (Errno::CONNREFUSED, Errno::ADDRNOTAVAIL, Errno::CONNREFUSED),
            (Errno::ADDRNOTAVAIL, Errno::CONNREFUSED, Errno::CONNREFUSED),
            (Errno::CONNREFUSED, Errno::NETUNREACH, Errno::NETUNREACH),
        ] {
            let reported = more_relevant(error(one), error(other));
            assert_eq!(
                reported.to_string(),
                error(expected).to_string(),
                "{one}, {other}"
            );
        }
        let first = more_relevant(DialError::NoAddress, error(Errno::ADDRNOTAVAIL));
        assert!(matches!(first, DialError::NoLocalPort(_)));
    }

    #[tokio::test]
    async fn a_connection_of_a_socket_with_itself_is_refused() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        let stream = socket.connect(address).await.unwrap();
        let stream = super::Socket::from(OwnedFd::from(stream.into_std().unwrap()));
        assert_eq!(peer(&stream), address);
        assert!(matches!(configure(stream, address), Err(DialError::Refused(_))));
        // The port is free again, also without SO_REUSEADDR.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&address.into()).unwrap();
    }
}
