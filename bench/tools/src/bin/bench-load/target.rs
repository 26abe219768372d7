//! The address of the load, and how to connect to it.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection};

use crate::channel::Channel;

/// Longest blocking wait for a connection or a response.
const PATIENCE: Duration = Duration::from_secs(5);

/// An address, and the TLS config if it uses TLS.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Target {
    /// Opens a connection and waits until it is established. Reads from it are bounded in time.
    pub(crate) fn connect(&self) -> io::Result<Channel> {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Channel::new(stream, self.session()?))
    }

    /// Starts to open a connection.
    pub(crate) fn open(&self) -> io::Result<TcpStream> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        match connect(&socket, &self.address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(socket.into())
    }

    /// A TLS session for one connection; `None` without TLS.
    pub(crate) fn session(&self) -> io::Result<Option<ClientConnection>> {
        let name = self.address.ip().into();
        let session = |config: &Arc<ClientConfig>| ClientConnection::new(Arc::clone(config), name);
        self.tls
            .as_ref()
            .map(session)
            .transpose()
            .map_err(io::Error::other)
    }
}
