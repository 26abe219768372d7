//! Taking connections from a listening socket, and who is at their other end.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

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
                Poll::Ready(Ok((Stream::Tcp(stream), ClientAddress::Ip(address))))
            }
            Self::Unix(socket) => {
                let (stream, _) = ready!(socket.poll_accept(context))?;
                Poll::Ready(Ok((Stream::Unix(stream), ClientAddress::Unix)))
            }
        }
    }
}
