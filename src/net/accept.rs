//! Taking connections from a listening socket, and who is at their other end.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll};

use rustix::net::SocketFlags;
use tokio::io::Interest;

use super::{Socket, Stream};

/// The other end of a client's connection, as the socket or a PROXY header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAddress {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// A process that came through a socket file: it has no name.
    Unix,
}

impl From<SocketAddr> for ClientAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

/// A listening socket that is on no runtime.
#[derive(Debug)]
pub enum StdListener {
    /// For the network.
    Tcp(std::net::TcpListener),
    /// With a socket file.
    Unix(std::os::unix::net::UnixListener),
}

/// A listening socket of a worker.
#[derive(Debug)]
pub struct Listener(Socket);

impl From<StdListener> for Listener {
    fn from(listener: StdListener) -> Self {
        let descriptor: OwnedFd = match listener {
            StdListener::Tcp(socket) => socket.into(),
            StdListener::Unix(socket) => socket.into(),
        };
        Self(descriptor.into())
    }
}

impl Listener {
    /// Ready when a connection has come.
    ///
    /// # Errors
    /// It cannot be watched: the process or the machine lacks something.
    pub fn poll_arrival(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read_ready(context)
    }

    /// Takes the next connection; `None` when there is none, as far as the runtime has been told.
    ///
    /// # Errors
    /// Those of the system; some are of that one connection alone.
    pub fn accept(&self) -> Option<io::Result<(Stream, ClientAddress)>> {
        self.0.attempt(Interest::READABLE, accept, |_| false)
    }

    /// The same, as far as the kernel knows.
    ///
    /// # Errors
    /// Those of the system.
    pub fn accept_queued(&self) -> io::Result<(Stream, ClientAddress)> {
        Ok(accept(self.0.as_fd())?)
    }
}

fn accept(listener: BorrowedFd<'_>) -> rustix::io::Result<(Stream, ClientAddress)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, address) = rustix::net::acceptfrom_with(listener, flags)?;
    let address = address.map(SocketAddr::try_from);
    let address = match address {
        Some(Ok(address)) => ClientAddress::Ip(address),
        _ => ClientAddress::Unix,
    };
    Ok((socket.into(), address))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;
    use std::task::Waker;

    use super::*;

    fn listening() -> (Listener, SocketAddr) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        (StdListener::Tcp(listener).into(), address)
    }

    #[tokio::test]
    async fn an_accepted_socket_is_watched_once_it_was_read_in_vain() {
        let (listener, address) = listening();
        let mut at_once = Context::from_waker(Waker::noop());
        for is_early in [false, true] {
            let mut client = std::net::TcpStream::connect(address).unwrap();
            if is_early {
                client.write_all(b"x").unwrap();
            }
            poll_fn(|context| listener.poll_arrival(context)).await.unwrap();
            let (mut stream, from) = listener.accept().unwrap().unwrap();
            assert_eq!(from, ClientAddress::Ip(client.local_addr().unwrap()));
            let mut byte = [0; 1];
            let first = stream.poll_read(&mut at_once, &mut byte);
            assert_eq!((first.is_ready(), stream.is_watched()), (is_early, !is_early));
            if !is_early {
                assert!(stream.poll_readable(&mut at_once).is_pending());
                client.write_all(b"x").unwrap();
                poll_fn(|context| stream.poll_readable(context)).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn what_the_kernel_has_queued_can_be_had_before_the_runtime_is_told() {
        let (listener, address) = listening();
        let waiting = listener.poll_arrival(&mut Context::from_waker(Waker::noop()));
        assert!(waiting.is_pending());
        let _client = std::net::TcpStream::connect(address).unwrap();
        assert!(listener.accept().is_none());
        assert!(listener.accept_queued().is_ok());
        assert!(listener.accept_queued().is_err());
    }
}
