//! One connected byte stream, polled by hand so that a single task can drive both directions of two streams.
//!
//! A read or write is tried first, as far as the runtime believes the socket ready, and only then waited for: the usual
//! case costs one system call and hardly anything beside it. The calls go to the kernel directly; those of the C library
//! are cancellation points, which costs two atomic operations each.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::Encrypted;

/// A connected stream on a worker's runtime.
#[derive(Debug)]
pub enum Stream {
    /// Over the network.
    Tcp(TcpStream),
    /// Within this machine.
    Unix(UnixStream),
    /// Either of them, under TLS.
    Tls(Box<Encrypted>),
}

/// Does the same with whichever socket it is, and something else where TLS lies over it.
macro_rules! socket {
    ($stream:expr, $socket:ident => $call:expr, $tls:ident => $other:expr) => {
        match $stream {
            Stream::Tcp($socket) => $call,
            Stream::Unix($socket) => $call,
            Stream::Tls($tls) => $other,
        }
    };
}

impl Stream {
    /// Ready when a read will not wait: bytes, the end or an error. Costs no system call.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        socket!(self, socket => socket.poll_read_ready(context), tls => tls.poll_readable(context))
    }

    /// Reads into `space`; 0 is the end of what the other side sends.
    pub fn poll_read(&mut self, context: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        socket!(self, socket => poll_receive(socket, context, space), tls => tls.poll_read(context, space))
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

    /// Writes the front of `parts`, as much as the kernel takes at once.
    pub fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        socket!(self, socket => poll_send(socket, context, parts), tls => tls.poll_write(context, parts))
    }

    /// Sends what [`Self::poll_write`] took and the kernel has not got yet: only TLS keeps anything back.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
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
        socket!(self, socket => poll_by(socket, context, Interest::READABLE, call), _tls => unsupported())
    }

    /// Sends bytes by `call`, which has the socket and gives how many it took.
    pub(super) fn poll_send_by(
        &self,
        context: &mut Context<'_>,
        call: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        socket!(self, socket => poll_by(socket, context, Interest::WRITABLE, call), _tls => unsupported())
    }

    /// Whether anything has arrived or the other side has closed, as far as the runtime has been told: no system call
    /// when nothing has.
    pub fn has_news(&mut self) -> bool {
        let mut byte = [0; 1];
        let result = socket!(self, socket => socket.try_read(&mut byte), tls => return tls.has_news());
        match result {
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
            Ok(_) => true,
        }
    }

    /// Like [`Self::has_news`], but asks the kernel.
    pub fn has_news_now(&mut self) -> bool {
        socket!(self, socket => has_news_now(socket), tls => tls.has_news_now())
    }

    /// Takes it off the runtime, so that another one can have it.
    ///
    /// # Errors
    /// Those of the runtime's driver; [`io::ErrorKind::Unsupported`] under TLS.
    pub fn into_std(self) -> io::Result<StdStream> {
        match self {
            Self::Tcp(socket) => socket.into_std().map(StdStream::Tcp),
            Self::Unix(socket) => socket.into_std().map(StdStream::Unix),
            Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Puts a stream that came from [`Self::into_std`] on the current runtime.
    ///
    /// # Errors
    /// It cannot be watched: the process or the machine lacks something.
    pub fn from_std(stream: StdStream) -> io::Result<Self> {
        match stream {
            StdStream::Tcp(socket) => TcpStream::from_std(socket).map(Self::Tcp),
            StdStream::Unix(socket) => UnixStream::from_std(socket).map(Self::Unix),
        }
    }

    /// Tells the other side that nothing more will be sent.
    pub fn shutdown_write(&mut self) {
        // Fails only when the connection is gone already.
        let _ = socket!(
            self,
            socket => SockRef::from(&*socket).shutdown(std::net::Shutdown::Write),
            tls => return tls.shutdown_write()
        );
    }

    /// Lets the close that follows be a reset: the other side cannot take what it got for a whole message.
    pub fn reset_on_close(&self) {
        // Fails only when the connection is gone already.
        let _ = socket!(
            self,
            socket => SockRef::from(socket).set_linger(Some(std::time::Duration::ZERO)),
            tls => return tls.socket().reset_on_close()
        );
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

/// A stream that is on no runtime.
#[derive(Debug)]
pub enum StdStream {
    /// Over the network.
    Tcp(std::net::TcpStream),
    /// Within this machine.
    Unix(std::os::unix::net::UnixStream),
}

impl StdStream {
    /// Another descriptor of the same stream.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        socket!(self, socket => socket.as_fd(), tls => tls.socket().as_fd())
    }
}

impl AsFd for StdStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

/// What this file needs of a socket on a runtime.
trait Socket: AsFd {
    fn try_io(&self, interest: Interest, call: impl FnOnce() -> io::Result<()>) -> io::Result<()>;
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
}

macro_rules! socket_of_tokio {
    ($($socket:ty),+) => {$(
        impl Socket for $socket {
            fn try_io(&self, interest: Interest, call: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
                self.try_io(interest, call)
            }

            fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.poll_read_ready(context)
            }

            fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.poll_write_ready(context)
            }
        }
    )+};
}

socket_of_tokio!(TcpStream, UnixStream);

fn poll_receive(
    socket: &impl Socket,
    context: &mut Context<'_>,
    space: &mut [u8],
) -> Poll<io::Result<usize>> {
    let room = space.len();
    loop {
        let receive = || Ok(rustix::net::recv(socket, &mut *space, RecvFlags::empty())?.0);
        if let Some(result) = attempt(socket, Interest::READABLE, room, receive) {
            return Poll::Ready(result);
        }
        ready!(socket.poll_read_ready(context))?;
    }
}

fn poll_send(
    socket: &impl Socket,
    context: &mut Context<'_>,
    parts: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let length = parts.iter().map(|part| part.len()).sum();
    loop {
        let call = || Ok(send(socket, parts)?);
        if let Some(result) = attempt(socket, Interest::WRITABLE, length, call) {
            return Poll::Ready(result);
        }
        ready!(socket.poll_write_ready(context))?;
    }
}

/// The kernel knows nothing of TLS.
fn unsupported() -> Poll<io::Result<usize>> {
    Poll::Ready(Err(io::ErrorKind::InvalidInput.into()))
}

/// Makes a call until the socket is ready for it. Nothing is concluded from how many bytes it moved.
fn poll_by(
    socket: &impl Socket,
    context: &mut Context<'_>,
    interest: Interest,
    mut call: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        if let Some(result) = attempt(socket, interest, 0, || Ok(call(socket.as_fd())?)) {
            return Poll::Ready(result);
        }
        ready!(match interest.is_readable() {
            true => socket.poll_read_ready(context),
            false => socket.poll_write_ready(context),
        })?;
    }
}

/// A closed connection is an error of the call, not a signal.
fn send(socket: &impl AsFd, parts: &[IoSlice<'_>]) -> rustix::io::Result<usize> {
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
pub fn has_news_now(socket: &impl AsFd) -> bool {
    !matches!(
        rustix::net::recv(socket, &mut [0; 1], RecvFlags::PEEK),
        Err(Errno::AGAIN)
    )
}

/// Makes a call that moves up to `wanted` bytes, if the socket is believed ready; `None` when it has to be waited for.
fn attempt(
    socket: &impl Socket,
    interest: Interest,
    wanted: usize,
    mut call: impl FnMut() -> io::Result<usize>,
) -> Option<io::Result<usize>> {
    let mut outcome = None;
    let told = socket.try_io(interest, || {
        loop {
            match call() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                result => {
                    // Fewer bytes than asked for: nothing is left to move, and the kernel tells when that changes. The end
                    // of the stream stays known.
                    let is_drained = matches!(result, Ok(count) if 0 < count && count < wanted);
                    outcome = Some(result);
                    return if is_drained {
                        Err(io::ErrorKind::WouldBlock.into())
                    } else {
                        Ok(())
                    };
                }
            }
        }
    });
    match (outcome, told) {
        (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => Some(Err(error)),
        (outcome, _) => outcome,
    }
}
