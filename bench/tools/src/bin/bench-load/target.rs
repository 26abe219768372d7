//! Where the load goes, and how a connection to it is opened.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection};

use crate::channel::Channel;

/// How long opening or answering may take where it is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// An address, and TLS if it is spoken there.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Target {
    /// Opens a connection and waits until it is open. Reads from it do not wait for ever.
    pub(crate) fn connect(&self) -> io::Result<Channel> {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Channel::new(stream, self.session()?))
    }

    /// Begins to open a connection.
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

    /// A session of TLS for one connection; none where none is spoken.
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
