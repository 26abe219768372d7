//! Accepts connections from listening sockets, with the client's address.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll};

use rustix::net::SocketFlags;
use tokio::io::Interest;

use super::{Socket, Stream};

/// The address of a client, from the socket or a PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAddress {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// The client connected through a Unix socket, which gives no address.
    Unix,
}

impl From<SocketAddr> for ClientAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

/// A listening socket that is not registered with a runtime.
#[derive(Debug)]
pub enum StdListener {
    /// A TCP socket.
    Tcp(std::net::TcpListener),
    /// A Unix socket.
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
    /// Ready when a connection can be accepted.
    ///
    /// # Errors
    /// The socket cannot be registered with the runtime: the process or the system is out of memory or watches.
    pub fn poll_accept_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read_ready(context)
    }

    /// Accepts the next connection; `None` if the runtime knows of none.
    ///
    /// # Errors
    /// Errors of the system; some concern only that connection.
    pub fn accept(&self) -> Option<io::Result<(Stream, ClientAddress)>> {
        self.0.attempt(Interest::READABLE, accept, |_| false)
    }

    /// Like [`Self::accept`], but asks the kernel.
    ///
    /// # Errors
    /// As [`Self::accept`]; [`io::ErrorKind::WouldBlock`] if there is none.
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
    async fn an_accepted_socket_is_registered_when_a_read_would_block() {
        let (listener, address) = listening();
        let mut at_once = Context::from_waker(Waker::noop());
        for is_early in [false, true] {
            let mut client = std::net::TcpStream::connect(address).unwrap();
            if is_early {
                client.write_all(b"x").unwrap();
            }
            poll_fn(|context| listener.poll_accept_ready(context))
                .await
                .unwrap();
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
    async fn queued_connections_are_accepted_before_the_runtime_knows_of_them() {
        let (listener, address) = listening();
        let waiting = listener.poll_accept_ready(&mut Context::from_waker(Waker::noop()));
        assert!(waiting.is_pending());
        let _client = std::net::TcpStream::connect(address).unwrap();
        assert!(listener.accept().is_none());
        assert!(listener.accept_queued().is_ok());
        assert!(listener.accept_queued().is_err());
    }
}
