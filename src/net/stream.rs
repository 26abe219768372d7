//! One connected byte stream, polled by hand so that a single task can drive both directions of two streams.

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
    /// Over the network or within this machine.
    Plain(Socket),
    /// The same under TLS.
    Tls(Box<Encrypted>),
}

/// A socket that is connected and does not block.
impl From<OwnedFd> for Stream {
    fn from(descriptor: OwnedFd) -> Self {
        Self::Plain(descriptor.into())
    }
}

impl Stream {
    /// Ready when a read is worth the try: bytes, the end or an error, or nobody has been told yet. Costs no system call.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) if socket.may_be_readable() => Poll::Ready(Ok(())),
            Self::Plain(socket) => socket.poll_read_ready(context),
            Self::Tls(tls) => tls.poll_readable(context),
        }
    }

    /// Whether the runtime watches it, so that waiting for it costs no more calls.
    pub fn is_watched(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_watched(),
            Self::Tls(tls) => tls.socket().is_watched(),
        }
    }

    /// Whether an error has come, a reset for example, as far as the runtime has been told. Costs no system call.
    pub fn is_broken(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_broken(),
            Self::Tls(tls) => tls.socket().is_broken(),
        }
    }

    /// Lets the runtime watch it from now on: [`Self::poll_readable`] means it then.
    ///
    /// # Errors
    /// The process or the machine lacks something.
    pub fn watch(&self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.watch(),
            Self::Tls(tls) => tls.socket().watch(),
        }
    }

    /// Reads into `space`; 0 is the end of what the other side sends.
    pub fn poll_read(&mut self, context: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        let room = space.len();
        match self {
            Self::Plain(socket) => socket.poll_by(context, Interest::READABLE, room, |socket| {
                Ok(rustix::net::recv(socket, &mut *space, RecvFlags::empty())?.0)
            }),
            Self::Tls(tls) => tls.poll_read(context, space),
        }
    }

    /// Copies what has arrived into `space` and leaves it there to be read; 0 is the end of what the other side sends.
    ///
    /// # Errors
    /// Those of the socket; [`io::ErrorKind::InvalidInput`] under TLS.
    pub fn poll_peek(&self, context: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_receive_by(context, |socket| {
            Ok(rustix::net::recv(socket, &mut *space, RecvFlags::PEEK)?.0)
        })
    }

    /// The address of our end, where that is an IP address. Asks the kernel.
    pub fn local_address(&self) -> Option<std::net::SocketAddr> {
        let local = SockRef::from(self).local_addr();
        local.ok()?.as_socket()
    }

    /// The address of the other end, where that is an IP address. Asks the kernel.
    pub fn peer_address(&self) -> Option<std::net::SocketAddr> {
        let peer = SockRef::from(self).peer_addr();
        peer.ok()?.as_socket()
    }

    /// Writes the front of `parts`, as much as the kernel takes at once.
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

    /// Like [`Self::poll_write`], where nothing follows but the end of the connection, and at once: the kernel may keep what
    /// does not fill a packet until then.
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

    /// Sends what [`Self::poll_write`] took and the kernel has not got yet: only TLS keeps anything back.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => tls.poll_flush(context),
        }
    }

    /// Whether HTTP/2 was agreed upon, under TLS.
    pub fn speaks_http2(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.protocol() == Some(crate::tls::H2))
    }

    /// Whether bytes can pass as they are from or to another socket, within the kernel.
    pub fn is_plain(&self) -> bool {
        !matches!(self, Self::Tls(_))
    }

    /// Takes received bytes by `call`, which has the socket and gives how many it took.
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

    /// Sends bytes by `call`, which has the socket and gives how many it took.
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

    /// Whether anything has arrived or the other side has closed, as far as the runtime has been told: no system call
    /// when nothing has.
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

    /// Takes it off the runtime, so that another one can have it; not what is under TLS.
    pub fn into_descriptor(self) -> Option<OwnedFd> {
        match self {
            Self::Plain(socket) => Some(socket.into()),
            Self::Tls(_) => None,
        }
    }

    /// Tells the other side that nothing more will be sent.
    pub fn shutdown_write(&mut self) {
        match self {
            // Fails only when the connection is gone already.
            Self::Plain(socket) => drop(SockRef::from(&*socket).shutdown(std::net::Shutdown::Write)),
            Self::Tls(tls) => tls.shutdown_write(),
        }
    }

    /// Lets the close that follows be a reset: the other side cannot take what it got for a whole message.
    pub fn reset_on_close(&self) {
        // Fails only when the connection is gone already.
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

/// The kernel knows nothing of TLS.
fn unsupported() -> Poll<io::Result<usize>> {
    Poll::Ready(Err(io::ErrorKind::InvalidInput.into()))
}

/// A closed connection is an error of the call, not a signal.
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

/// Whether anything has arrived on a socket or the other side has closed it, which the kernel is asked.
pub fn is_readable_or_closed_now(socket: &impl AsFd) -> bool {
    !matches!(peek(socket.as_fd()), Err(Errno::AGAIN))
}

/// Looks at the first byte that has arrived and leaves it there.
fn peek(socket: BorrowedFd<'_>) -> rustix::io::Result<usize> {
    Ok(rustix::net::recv(socket, &mut [0; 1], RecvFlags::PEEK)?.0)
}
