//! A non-blocking descriptor of a worker, registered with the runtime only when it has to wait for the first time. A
//! connection whose only request has arrived when it is accepted never waits, which saves the system calls to register and
//! deregister it.
//!
//! Each call is tried first, unless the runtime knows that the descriptor is not ready, and waits only if it would block: the
//! usual case costs one system call and hardly anything else. System calls go to the kernel directly; those of the C library
//! are cancellation points, which cost two atomic operations each.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The data of no waker that has an owner.
const NOBODY: usize = 0;

/// A non-blocking descriptor.
#[derive(Debug)]
pub struct Socket {
    /// The registration with the runtime. Declared before the descriptor, so that it is dropped first.
    watched: OnceLock<AsyncFd<BorrowedNumber>>,
    /// The data of the waker that waits for a read, which the runtime still has while it knows of nothing to read. Many polls of a task
    /// find nothing, and need not leave the same waker again.
    reader: AtomicUsize,
    descriptor: OwnedFd,
}

/// The number of a descriptor that is owned elsewhere.
#[derive(Debug)]
struct BorrowedNumber(RawFd);

impl AsRawFd for BorrowedNumber {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl From<OwnedFd> for Socket {
    fn from(descriptor: OwnedFd) -> Self {
        Self {
            watched: OnceLock::new(),
            reader: AtomicUsize::new(NOBODY),
            descriptor,
        }
    }
}

/// Deregisters the descriptor from the runtime.
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
    /// Connects a stream socket to an address of this family.
    ///
    /// # Errors
    /// Errors of the system; [`io::ErrorKind::WouldBlock`] if the queue of a Unix socket is full.
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

    /// Whether it is registered with the runtime.
    pub(super) fn is_watched(&self) -> bool {
        self.watched.get().is_some()
    }

    /// Whether a read may succeed: the runtime knows of no reason to wait, or it is not registered.
    pub(super) fn may_be_readable(&self) -> bool {
        let watched = self.watched.get();
        watched.is_none_or(|watched| is_ready(watched.try_io(Interest::READABLE, |_| Ok(()))))
    }

    /// Whether the runtime knows of an error, such as a reset; never for an unregistered one. Costs no system call.
    pub(super) fn is_broken(&self) -> bool {
        let watched = self.watched.get();
        watched.is_some_and(|watched| is_ready(watched.try_io(Interest::ERROR, |_| Ok(()))))
    }

    /// Registers it with the runtime.
    ///
    /// # Errors
    /// The process or the system is out of memory or watches.
    pub(super) fn watch(&self) -> io::Result<()> {
        self.watched().map(drop)
    }

    /// Deregisters it from the runtime, until it has to wait again.
    pub(super) fn unwatch(&mut self) {
        drop(self.watched.take());
        self.reader = AtomicUsize::new(NOBODY);
    }

    fn watched(&self) -> io::Result<&AsyncFd<BorrowedNumber>> {
        if let Some(watched) = self.watched.get() {
            return Ok(watched);
        }
        let number = BorrowedNumber(self.descriptor.as_raw_fd());
        let interest = Interest::READABLE.add(Interest::WRITABLE);
        #[allow(
            unsafe_code,
            reason = "the safe functions are deprecated, and the socket types of tokio register at once"
        )]
        // SAFETY: the descriptor stays open, and is the same, until it is dropped or moved out; both happen after the
        // `AsyncFd` is dropped.
        let registered = unsafe { AsyncFd::register_with_interest(number, interest) }?;
        Ok(self.watched.get_or_init(|| registered))
    }

    /// Ready when a read will not block: there are bytes, the end or an error.
    pub(super) fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let watched = self.watched()?;
        let reader = context.waker().data().addr();
        if reader != NOBODY && self.reader.load(Ordering::Relaxed) == reader && !self.may_be_readable() {
            return Poll::Pending;
        }
        // Without a budget the runtime takes no waker: it has the task polled again.
        let is_taken = tokio::task::coop::has_budget_remaining();
        let polled = watched.poll_read_ready(context).map_ok(drop);
        let is_waiting = is_taken && polled.is_pending();
        self.reader
            .store(if is_waiting { reader } else { NOBODY }, Ordering::Relaxed);
        polled
    }

    /// Ready when a write will not block.
    pub(super) fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watched()?.poll_write_ready(context).map_ok(drop)
    }

    /// Repeats a call until it does not block. `wanted` is the maximum number of bytes that it moves; with 0 a short count does
    /// not clear the readiness.
    pub(super) fn poll_by(
        &self,
        context: &mut Context<'_>,
        interest: Interest,
        wanted: usize,
        mut call: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        // A short count: nothing is left to move, and the kernel reports when that changes. The end of a stream keeps the
        // readiness.
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

    /// Makes a call, unless the runtime knows that the descriptor is not ready; `None` if the call would block. `is_drained`
    /// decides from the result whether the next call would block.
    pub(super) fn attempt<T>(
        &self,
        interest: Interest,
        mut call: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<T>,
        is_drained: impl Fn(&T) -> bool,
    ) -> Option<io::Result<T>> {
        let mut outcome = None;
        let mut attempt = || {
            // The runtime has given the waker back when it learned that the call may succeed.
            if interest.is_readable() {
                self.reader.store(NOBODY, Ordering::Relaxed);
            }
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
        let readiness = match self.watched.get() {
            Some(watched) => watched.try_io(interest, |_| attempt()),
            None => attempt(),
        };
        match readiness {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Some(Err(error)),
            Err(error) => forget(error),
            Ok(()) => {}
        }
        outcome
    }
}

/// Whether the runtime says that the descriptor is ready.
fn is_ready(asked: io::Result<()>) -> bool {
    asked.map_err(forget).is_ok()
}

/// Drops an error that says that a call would block. It owns nothing, and a request has several of them: the usual way to drop one is a
/// call that finds that out.
#[inline]
fn forget(would_block: io::Error) {
    std::mem::forget(would_block);
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::task::{Wake, Waker};
    use std::time::Duration;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Count {
        /// Waits until it was woken so often.
        async fn reaches(&self, times: usize) {
            let woken = async {
                while self.0.load(Ordering::Relaxed) < times {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(DEADLINE, woken).await.unwrap();
        }
    }

    /// Reads into more room than there are bytes.
    fn read(socket: &Socket, waker: &Arc<Count>) -> Poll<usize> {
        let waker = Waker::from(Arc::clone(waker));
        let mut room = [0; 16];
        let call = |socket: BorrowedFd<'_>| {
            Ok(rustix::net::recv(socket, &mut room, rustix::net::RecvFlags::empty())?.0)
        };
        let polled = socket.poll_by(&mut Context::from_waker(&waker), Interest::READABLE, 16, call);
        polled.map(Result::unwrap)
    }

    #[tokio::test]
    async fn who_polls_again_and_again_is_woken_whenever_there_is_something_to_read() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let socket = Socket::from(OwnedFd::from(ours));
        let task = Arc::<Count>::default();
        for round in 1..4 {
            for _ in 0..3 {
                assert!(read(&socket, &task).is_pending());
            }
            theirs.write_all(b"x").unwrap();
            task.reaches(round).await;
            // Also for who asks only whether there is something.
            let waker = Waker::from(Arc::clone(&task));
            let context = &mut Context::from_waker(&waker);
            assert!(socket.poll_read_ready(context).is_ready());
            assert_eq!(read(&socket, &task), Poll::Ready(1));
        }
    }

    #[tokio::test]
    async fn the_task_that_polled_last_is_woken() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let socket = Socket::from(OwnedFd::from(ours));
        let (one, other) = (Arc::<Count>::default(), Arc::<Count>::default());
        for task in [&one, &other, &one] {
            assert!(read(&socket, task).is_pending());
        }
        theirs.write_all(b"x").unwrap();
        one.reaches(1).await;
        assert_eq!(other.0.load(Ordering::Relaxed), 0);
    }
}
