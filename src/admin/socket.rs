//! The listening socket of the admin API, on an IP address or a Unix socket, and who has connected to it.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::net::StdListener;

/// A listening socket.
#[derive(Debug)]
pub(super) enum AdminListener {
    /// On an IP address.
    Tcp(TcpListener),
    /// On a Unix socket.
    Unix(UnixListener),
}

/// An accepted connection of either kind.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl Connection for TcpStream {}
impl Connection for UnixStream {}

/// Who has connected, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// The address of the client.
    Ip(SocketAddr),
    /// A process of this machine, and its user if the kernel told (`SO_PEERCRED`).
    Unix { uid: Option<u32> },
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix { uid: Some(uid) } => write!(f, "unix socket, uid {uid}"),
            Self::Unix { uid: None } => f.write_str("unix socket"),
        }
    }
}

impl AdminListener {
    /// Registers a listening socket with the runtime.
    ///
    /// # Errors
    /// Errors of the system.
    pub(super) fn new(listener: StdListener) -> io::Result<Self> {
        Ok(match listener {
            StdListener::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Self::Tcp(TcpListener::from_std(listener)?)
            }
            StdListener::Unix(listener) => {
                listener.set_nonblocking(true)?;
                Self::Unix(UnixListener::from_std(listener)?)
            }
        })
    }

    /// The IP address that it is bound to; `None` for a Unix socket.
    ///
    /// # Errors
    /// Errors of the system.
    pub(super) fn ip(&self) -> io::Result<Option<IpAddr>> {
        match self {
            Self::Tcp(listener) => Ok(Some(listener.local_addr()?.ip())),
            Self::Unix(_) => Ok(None),
        }
    }

    /// Accepts a connection.
    ///
    /// # Errors
    /// Errors of the system, such as no free descriptor.
    pub(super) async fn accept(&self) -> io::Result<(Box<dyn Connection>, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Responses are small and written at once: delaying packets gains nothing.
                let _ = stream.set_nodelay(true);
                Ok((Box::new(stream), Peer::Ip(peer)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred().ok().map(|peer| peer.uid());
                Ok((Box::new(stream), Peer::Unix { uid }))
            }
        }
    }
}
