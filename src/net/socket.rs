//! One descriptor of a worker, which its runtime watches from the moment when something has to be waited for. A connection
//! whose only request is there when it is accepted is never waited for, which saves the calls that begin and end the
//! watching.
//!
//! A call is tried first, as far as the runtime believes the descriptor ready, and only then waited for: the usual case
//! costs one system call and hardly anything beside it. The calls go to the kernel directly; those of the C library are
//! cancellation points, which costs two atomic operations each.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor that does not block.
#[derive(Debug)]
pub struct Socket {
    /// Before the descriptor: what watches it goes first.
    watched: OnceLock<AsyncFd<Number>>,
    descriptor: OwnedFd,
}

/// A descriptor that somebody else owns.
#[derive(Debug)]
struct Number(RawFd);

impl AsRawFd for Number {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl From<OwnedFd> for Socket {
    fn from(descriptor: OwnedFd) -> Self {
        Self {
            watched: OnceLock::new(),
            descriptor,
        }
    }
}

/// Off the runtime again.
impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        drop(socket.watched);
        socket.descriptor
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Socket {
    /// Connects a stream to an address of this family.
    ///
    /// # Errors
    /// Those of the system; [`io::ErrorKind::WouldBlock`] when the queue of a socket file is full.
    pub(super) async fn connect(family: AddressFamily, address: &impl SocketAddrArg) -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = Self::from(rustix::net::socket_with(family, SocketType::STREAM, flags, None)?);
        match rustix::net::connect(&socket, address) {
            Ok(()) => return Ok(socket),
            Err(Errno::INPROGRESS | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        std::future::poll_fn(|context| socket.poll_write_ready(context)).await?;
        rustix::net::sockopt::socket_error(&socket)??;
        Ok(socket)
    }

    /// Whether the runtime watches it.
    pub(super) fn is_watched(&self) -> bool {
        self.watched.get().is_some()
    }

    /// Whether a read is worth the try: the runtime believes it ready, or has been told nothing yet.
    pub(super) fn may_be_readable(&self) -> bool {
        let watched = self.watched.get();
        watched.is_none_or(|watched| watched.try_io(Interest::READABLE, |_| Ok(())).is_ok())
    }

    /// Whether an error has come, a reset for example, as far as the runtime has been told; nothing that is not watched has
    /// one. Costs no system call.
    pub(super) fn is_broken(&self) -> bool {
        let watched = self.watched.get();
        watched.is_some_and(|watched| watched.try_io(Interest::ERROR, |_| Ok(())).is_ok())
    }

    /// Lets the runtime watch it from now on.
    ///
    /// # Errors
    /// The process or the machine lacks something.
    pub(super) fn watch(&self) -> io::Result<()> {
        self.watched().map(drop)
    }

    fn watched(&self) -> io::Result<&AsyncFd<Number>> {
        if let Some(watched) = self.watched.get() {
            return Ok(watched);
        }
        let number = Number(self.descriptor.as_raw_fd());
        let interest = Interest::READABLE.add(Interest::WRITABLE);
        #[allow(
            unsafe_code,
            reason = "the safe ways are deprecated, and those types of tokio that do it themselves begin with it at once"
        )]
        // SAFETY: the descriptor is open, and the same, until it is dropped or given away, and both happen after the
        // `AsyncFd` is gone.
        let registered = unsafe { AsyncFd::register_with_interest(number, interest) }?;
        Ok(self.watched.get_or_init(|| registered))
    }

    /// Ready when a read will not wait: something can be had, the end or an error.
    pub(super) fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watched()?.poll_read_ready(context).map_ok(drop)
    }

    /// Ready when a write will not wait.
    pub(super) fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watched()?.poll_write_ready(context).map_ok(drop)
    }

    /// Makes a call until the descriptor is ready for it. `wanted` is how many bytes it would move at most; of 0 nothing is
    /// concluded from how many it moved.
    pub(super) fn poll_by(
        &self,
        context: &mut Context<'_>,
        interest: Interest,
        wanted: usize,
        mut call: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        // Fewer bytes than asked for: nothing is left to move, and the kernel tells when that changes. The end of a stream
        // stays known.
        let is_drained = |&count: &usize| 0 < count && count < wanted;
        loop {
            if let Some(result) = self.attempt(interest, &mut call, is_drained) {
                return Poll::Ready(result);
            }
            ready!(match interest.is_readable() {
                true => self.poll_read_ready(context),
                false => self.poll_write_ready(context),
            })?;
        }
    }

    /// Makes a call, if the descriptor is believed ready or is not watched; `None` when it has to be waited for.
    /// `is_drained` tells of what a call gave whether the next one would have to wait.
    pub(super) fn attempt<T>(
        &self,
        interest: Interest,
        mut call: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<T>,
        is_drained: impl Fn(&T) -> bool,
    ) -> Option<io::Result<T>> {
        let mut outcome = None;
        let mut attempt = || {
            loop {
                match call(self.descriptor.as_fd()) {
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => return Err(io::ErrorKind::WouldBlock.into()),
                    result => {
                        let is_drained = result.as_ref().is_ok_and(&is_drained);
                        outcome = Some(result.map_err(io::Error::from));
                        return if is_drained {
                            Err(io::ErrorKind::WouldBlock.into())
                        } else {
                            Ok(())
                        };
                    }
                }
            }
        };
        let told = match self.watched.get() {
            Some(watched) => watched.try_io(interest, |_| attempt()),
            None => attempt(),
        };
        match (outcome, told) {
            (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => Some(Err(error)),
            (outcome, _) => outcome,
        }
    }
}
