//! Taking connections from a listening socket, and who is at their other end.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::net::{TcpListener, UnixListener};

use super::Stream;

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

/// A listening socket on a worker's runtime.
#[derive(Debug)]
pub enum Listener {
    /// For the network.
    Tcp(TcpListener),
    /// With a socket file.
    Unix(UnixListener),
}

impl Listener {
    /// Puts a listening socket on the current runtime.
    ///
    /// # Errors
    /// It cannot be watched: the process or the machine lacks something.
    pub fn from_std(listener: StdListener) -> io::Result<Self> {
        match listener {
            StdListener::Tcp(socket) => TcpListener::from_std(socket).map(Self::Tcp),
            StdListener::Unix(socket) => UnixListener::from_std(socket).map(Self::Unix),
        }
    }

    /// Takes the next connection.
    ///
    /// # Errors
    /// Those of the system; some are of that one connection alone.
    pub fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(Stream, ClientAddress)>> {
        match self {
            Self::Tcp(socket) => {
                let (stream, address) = ready!(socket.poll_accept(context))?;
                await_event(|no| stream.try_io(Interest::READABLE, no));
                Poll::Ready(Ok((Stream::Tcp(stream), ClientAddress::Ip(address))))
            }
            Self::Unix(socket) => {
                let (stream, _) = ready!(socket.poll_accept(context))?;
                await_event(|no| stream.try_io(Interest::READABLE, no));
                Poll::Ready(Ok((Stream::Unix(stream), ClientAddress::Unix)))
            }
        }
    }
}

/// Lets the runtime wait for the first event of an accepted socket, instead of taking it for readable: of a busy listener most
/// sockets are taken before their first byte has come, and trying to read it would be a call in vain.
fn await_event(try_io: impl FnOnce(fn() -> io::Result<()>) -> io::Result<()>) {
    // The answer is the one that was given.
    let _ = try_io(|| Err(io::ErrorKind::WouldBlock.into()));
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;
    use std::task::Waker;

    use super::*;

    #[tokio::test]
    async fn an_accepted_socket_is_readable_once_something_has_come() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Listener::from_std(StdListener::Tcp(listener)).unwrap();
        for is_early in [false, true] {
            let mut client = std::net::TcpStream::connect(address).unwrap();
            if is_early {
                client.write_all(b"x").unwrap();
            }
            let (stream, _) = poll_fn(|context| listener.poll_accept(context)).await.unwrap();
            let mut at_once = Context::from_waker(Waker::noop());
            assert!(stream.poll_readable(&mut at_once).is_pending());
            if !is_early {
                client.write_all(b"x").unwrap();
            }
            poll_fn(|context| stream.poll_readable(context)).await.unwrap();
        }
    }
}
