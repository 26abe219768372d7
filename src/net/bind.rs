//! Listening sockets.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel keeps until they are accepted; it cuts this to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A socket that has its address but refuses connections until [`Bound::listen`].
#[derive(Debug)]
pub struct Bound(Socket);

/// Takes an address. Port 0 takes a free one.
///
/// # Errors
/// Those of the system: the address is in use, or not ours to take.
pub fn bind(address: SocketAddr) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // An IPv6 address is no IPv4 address: `[::]:80` and `0.0.0.0:80` can both be listened on.
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of an earlier process that are still dying must not keep this one from starting.
    socket.set_reuse_address(true)?;
    // Accepted connections inherit it, which saves a call for each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    Ok(Bound(socket))
}

impl Bound {
    /// The address that it has.
    ///
    /// # Errors
    /// Those of the system.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// Lets clients in.
    ///
    /// # Errors
    /// Another process took the same address in the meantime.
    pub fn listen(&self) -> io::Result<()> {
        self.0.listen(BACKLOG)
    }

    /// Another descriptor of the same socket, for one worker.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn share(&self) -> io::Result<TcpListener> {
        Ok(self.0.try_clone()?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpStream};

    #[test]
    fn accepted_connections_send_small_pieces_at_once() {
        let bound = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        bound.listen().unwrap();
        let _client = TcpStream::connect(bound.address().unwrap()).unwrap();
        let listener = bound.share().unwrap();
        listener.set_nonblocking(false).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
    }
}
