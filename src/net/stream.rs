//! One connected byte stream, polled by hand so that a single task can drive both directions of two streams.
//!
//! A read or write is tried first, as far as the runtime believes the socket ready, and only then waited for: the usual
//! case costs one system call and hardly anything beside it. The calls go to the kernel directly; those of the C library
//! are cancellation points, which costs two atomic operations each.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// A connected stream on a worker's runtime.
#[derive(Debug)]
pub struct Stream {
    tcp: TcpStream,
}

impl Stream {
    /// Takes over a connected TCP socket.
    pub fn from_tcp(tcp: TcpStream) -> Self {
        Self { tcp }
    }

    /// Ready when a read will not wait: bytes, the end or an error. Costs no system call.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp.poll_read_ready(context)
    }

    /// Reads into `space`; 0 is the end of what the other side sends.
    pub fn poll_read(&mut self, context: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        let room = space.len();
        loop {
            let receive = || Ok(rustix::net::recv(&self.tcp, &mut *space, RecvFlags::empty())?.0);
            if let Some(result) = attempt(&self.tcp, Interest::READABLE, room, receive) {
                return Poll::Ready(result);
            }
            ready!(self.tcp.poll_read_ready(context))?;
        }
    }

    /// Writes the front of `parts`, as much as the kernel takes at once.
    pub fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = parts.iter().map(|part| part.len()).sum();
        loop {
            let send = || Ok(self.send(parts)?);
            if let Some(result) = attempt(&self.tcp, Interest::WRITABLE, length, send) {
                return Poll::Ready(result);
            }
            ready!(self.tcp.poll_write_ready(context))?;
        }
    }

    /// A closed connection is an error of the call, not a signal.
    fn send(&self, parts: &[IoSlice<'_>]) -> rustix::io::Result<usize> {
        match parts {
            [one] => rustix::net::send(&self.tcp, one, SendFlags::NOSIGNAL),
            _ => rustix::net::sendmsg(
                &self.tcp,
                parts,
                &mut SendAncillaryBuffer::default(),
                SendFlags::NOSIGNAL,
            ),
        }
    }

    /// Whether anything has arrived or the other side has closed, as far as the runtime has been told: no system call
    /// when nothing has.
    pub fn has_news(&self) -> bool {
        let mut byte = [0; 1];
        match self.tcp.try_read(&mut byte) {
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
            Ok(_) => true,
        }
    }

    /// Like [`Self::has_news`], but asks the kernel.
    pub fn has_news_now(&self) -> bool {
        has_news_now(&self.tcp)
    }

    /// Takes it off the runtime, so that another one can have it.
    ///
    /// # Errors
    /// Those of the runtime's driver.
    pub fn into_std(self) -> io::Result<std::net::TcpStream> {
        self.tcp.into_std()
    }

    /// Puts a stream that came from [`Self::into_std`] on the current runtime.
    ///
    /// # Errors
    /// It cannot be watched: the process or the machine lacks something.
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<Self> {
        TcpStream::from_std(stream).map(Self::from_tcp)
    }

    /// Tells the other side that nothing more will be sent.
    pub fn shutdown_write(&self) {
        // Fails only when the connection is gone already.
        let _ = socket2::SockRef::from(&self.tcp).shutdown(std::net::Shutdown::Write);
    }

    /// Lets the close that follows be a reset: the other side cannot take what it got for a whole message.
    pub fn reset_on_close(&self) {
        // Fails only when the connection is gone already.
        let _ = socket2::SockRef::from(&self.tcp).set_linger(Some(std::time::Duration::ZERO));
    }
}

/// Whether anything has arrived on a socket or the other side has closed it, which the kernel is asked.
pub fn has_news_now(socket: &impl std::os::fd::AsFd) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit(); 1];
    match socket2::SockRef::from(socket).peek(&mut byte) {
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        Ok(_) => true,
    }
}

/// Makes a call that moves up to `wanted` bytes, if the socket is believed ready; `None` when it has to be waited for.
fn attempt(
    tcp: &TcpStream,
    interest: Interest,
    wanted: usize,
    mut call: impl FnMut() -> io::Result<usize>,
) -> Option<io::Result<usize>> {
    let mut outcome = None;
    let told = tcp.try_io(interest, || {
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
