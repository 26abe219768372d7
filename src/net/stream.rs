//! A connected byte stream, plain or TLS, with poll functions so that a single task can drive both directions of two streams.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use super::{Encrypted, Socket};

/// A connected stream of a worker.
#[derive(Debug)]
pub enum Stream {
    /// A TCP or Unix socket.
    Plain(Socket),
    /// TLS over such a socket.
    Tls(Box<Encrypted>),
}

/// From a connected non-blocking socket.
impl From<OwnedFd> for Stream {
    fn from(descriptor: OwnedFd) -> Self {
        Self::Plain(descriptor.into())
    }
}

impl Stream {
    /// Ready when a read may succeed: there are bytes, the end or an error, or the socket is not registered with the runtime yet.
    /// Costs no system call.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) if socket.may_be_readable() => Poll::Ready(Ok(())),
            Self::Plain(socket) => socket.poll_read_ready(context),
            Self::Tls(tls) => tls.poll_readable(context),
        }
    }

    /// Whether it is registered with the runtime, so that waiting costs no further system call.
    pub fn is_watched(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_watched(),
            Self::Tls(tls) => tls.socket().is_watched(),
        }
    }

    /// Whether the runtime knows of an error, such as a reset. Costs no system call.
    pub fn is_broken(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_broken(),
            Self::Tls(tls) => tls.socket().is_broken(),
        }
    }

    /// Registers it with the runtime, so that [`Self::poll_readable`] really waits.
    ///
    /// # Errors
    /// The process or the system is out of memory or watches.
    pub fn watch(&self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.watch(),
            Self::Tls(tls) => tls.socket().watch(),
        }
    }

    /// Reads into `space`; 0 means end of stream.
    pub fn poll_read(&mut self, context: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        let room = space.len();
        match self {
            Self::Plain(socket) => socket.poll_by(context, Interest::READABLE, room, |socket| {
                Ok(rustix::net::recv(socket, &mut *space, RecvFlags::empty())?.0)
            }),
            Self::Tls(tls) => tls.poll_read(context, space),
        }
    }

    /// Has the kernel acknowledge what was read, before the next bytes are waited for. On loopback a segment has 64 KiB, and the
    /// kernel acknowledges every other one at once, but one alone after 40 ms: a sender that waits for that stops, or takes the
    /// path for a slow one.
    pub fn acknowledge(&self) {
        if let Self::Plain(socket) = self {
            // Fails only on Unix sockets, which acknowledge nothing.
            let _ = rustix::net::sockopt::set_tcp_quickack(socket, true);
        }
    }

    /// Copies received bytes into `space` without consuming them; 0 means end of stream.
    ///
    /// # Errors
    /// Errors of the socket; [`io::ErrorKind::InvalidInput`] under TLS.
    pub fn poll_peek(&self, context: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_receive_by(context, |socket| {
            Ok(rustix::net::recv(socket, &mut *space, RecvFlags::PEEK)?.0)
        })
    }

    /// The local address, if it is an IP address. Asks the kernel.
    pub fn local_address(&self) -> Option<std::net::SocketAddr> {
        let local = SockRef::from(self).local_addr();
        local.ok()?.as_socket()
    }

    /// The remote address, if it is an IP address. Asks the kernel.
    pub fn peer_address(&self) -> Option<std::net::SocketAddr> {
        let peer = SockRef::from(self).peer_addr();
        peer.ok()?.as_socket()
    }

    /// Writes as much of `parts` as the kernel takes at once.
    pub fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = parts.iter().map(|part| part.len()).sum();
        match self {
            Self::Plain(socket) => {
                socket.poll_by(context, Interest::WRITABLE, length, |socket| send(socket, parts))
            }
            Self::Tls(tls) => tls.poll_write(context, parts),
        }
    }

    /// Like [`Self::poll_write`], if the connection is closed right after it: the kernel may hold back a partial packet and send
    /// it with the FIN (`MSG_MORE`).
    pub fn poll_write_last(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let flags = SendFlags::NOSIGNAL | SendFlags::MORE;
        match self {
            Self::Plain(socket) => {
                let send = |socket: BorrowedFd<'_>| rustix::net::send(socket, bytes, flags);
                socket.poll_by(context, Interest::WRITABLE, bytes.len(), send)
            }
            Self::Tls(tls) => tls.poll_write(context, &[IoSlice::new(bytes)]),
        }
    }

    /// Sends bytes that [`Self::poll_write`] took but the kernel has not; only TLS buffers any.
    ///
    /// # Errors
    /// Errors of the socket.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => tls.poll_flush(context),
        }
    }

    /// How many bytes the kernel has taken, where [`Self::poll_write`] takes bytes that wait: under TLS, encrypted ones.
    pub fn sent(&self) -> Option<u64> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => Some(tls.sent()),
        }
    }

    /// Whether HTTP/2 was negotiated by ALPN.
    pub fn speaks_http2(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.protocol() == Some(crate::tls::H2))
    }

    /// Whether it has no TLS, so that the kernel can move bytes from or to another socket.
    pub fn is_plain(&self) -> bool {
        !matches!(self, Self::Tls(_))
    }

    /// Receives bytes with `call`, which gets the socket and returns how many bytes it took.
    pub(super) fn poll_receive_by(
        &self,
        context: &mut Context<'_>,
        call: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_by(context, Interest::READABLE, 0, call),
            Self::Tls(_) => unsupported(),
        }
    }

    /// Sends bytes with `call`, which gets the socket and returns how many bytes it sent.
    pub(super) fn poll_send_by(
        &self,
        context: &mut Context<'_>,
        call: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_by(context, Interest::WRITABLE, 0, call),
            Self::Tls(_) => unsupported(),
        }
    }

    /// Whether bytes have arrived or the other side has closed, as far as the runtime knows. Costs no system call if the runtime
    /// knows of nothing.
    pub fn is_readable_or_closed(&mut self) -> bool {
        match self {
            Self::Plain(socket) => socket.attempt(Interest::READABLE, peek, |_| false).is_some(),
            Self::Tls(tls) => tls.is_readable_or_closed(),
        }
    }

    /// Like [`Self::is_readable_or_closed`], but asks the kernel.
    pub fn is_readable_or_closed_now(&mut self) -> bool {
        match self {
            Self::Plain(socket) => is_readable_or_closed_now(socket),
            Self::Tls(tls) => tls.is_readable_or_closed_now(),
        }
    }

    /// Deregisters it from the runtime, so that another runtime can use it; `None` under TLS.
    pub fn into_descriptor(self) -> Option<OwnedFd> {
        match self {
            Self::Plain(socket) => Some(socket.into()),
            Self::Tls(_) => None,
        }
    }

    /// Ends the sending direction (FIN; under TLS after `close_notify`, which may leave with a later flush or read).
    pub fn shutdown_write(&mut self) {
        match self {
            // Fails only if the connection is closed already.
            Self::Plain(socket) => drop(SockRef::from(&*socket).shutdown(std::net::Shutdown::Write)),
            Self::Tls(tls) => tls.shutdown_write(),
        }
    }

    /// Whether the sending direction is to end, and the end has not left yet; only under TLS.
    pub fn is_ending(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.is_ending())
    }

    /// Makes the following close a reset, so that the other side cannot mistake the received bytes for a complete message.
    pub fn reset_on_close(&self) {
        // Fails only if the connection is closed already.
        let _ = SockRef::from(self).set_linger(Some(std::time::Duration::ZERO));
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let space = buffer.initialize_unfilled();
        let count = ready!(Self::poll_read(self.get_mut(), context, space))?;
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Self::poll_write(self.get_mut(), context, &[IoSlice::new(bytes)])
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_flush(self.get_mut(), context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().shutdown_write();
        Poll::Ready(Ok(()))
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(socket) => socket.as_fd(),
            Self::Tls(tls) => tls.socket().as_fd(),
        }
    }
}

/// The error for operations that the kernel cannot do under TLS.
fn unsupported() -> Poll<io::Result<usize>> {
    Poll::Ready(Err(io::ErrorKind::InvalidInput.into()))
}

/// Sends without `SIGPIPE`: a closed connection is an error of the call.
fn send(socket: BorrowedFd<'_>, parts: &[IoSlice<'_>]) -> rustix::io::Result<usize> {
    match parts {
        [one] => rustix::net::send(socket, one, SendFlags::NOSIGNAL),
        _ => rustix::net::sendmsg(
            socket,
            parts,
            &mut SendAncillaryBuffer::default(),
            SendFlags::NOSIGNAL,
        ),
    }
}

/// Whether bytes have arrived on a socket or the other side has closed it. Asks the kernel.
pub fn is_readable_or_closed_now(socket: &impl AsFd) -> bool {
    !matches!(peek(socket.as_fd()), Err(Errno::AGAIN))
}

/// Looks at the first received byte without consuming it.
fn peek(socket: BorrowedFd<'_>) -> rustix::io::Result<usize> {
    Ok(rustix::net::recv(socket, &mut [0; 1], RecvFlags::PEEK)?.0)
}
