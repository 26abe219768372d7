//! A timer of the kernel, for which a worker waits as it does for a socket.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;

use super::Socket;

/// A timer that expires once.
#[derive(Debug)]
pub struct KernelTimer(Socket);

impl KernelTimer {
    /// Makes one that is not set, and registers it with the current runtime.
    ///
    /// # Errors
    /// The process or the system is out of descriptors, memory or watches.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let socket = Socket::from(timerfd_create(TimerfdClockId::Monotonic, flags)?);
        socket.watch()?;
        Ok(Self(socket))
    }

    /// Sets it to expire `after` from now, in place of any other time.
    pub fn set(&self, after: Duration) {
        // Zero would clear it.
        let after = after.max(Duration::from_nanos(1));
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: after.subsec_nanos().into(),
            },
        };
        // Fails only for what is no timer, or no time.
        let _ = timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once);
    }

    /// Ready once after it has expired.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub fn poll_expired(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is read is the number of expirations. More would fit, so that nothing is left after one read.
        let mut space = [0; 9];
        let read = |timer: std::os::fd::BorrowedFd<'_>| rustix::io::read(timer, &mut space);
        ready!(self.0.poll_by(context, Interest::READABLE, 9, read))?;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::clock;

    #[tokio::test]
    async fn expires_once_at_its_time() {
        let timer = KernelTimer::new().unwrap();
        let started = clock::now();
        let after = Duration::from_millis(10);
        timer.set(Duration::from_secs(3600));
        timer.set(after);
        poll_fn(|context| timer.poll_expired(context)).await.unwrap();
        assert!(clock::now() - started >= after);
        let again = poll_fn(|context| Poll::Ready(timer.poll_expired(context).is_ready())).await;
        assert!(!again);
        timer.set(Duration::ZERO);
        poll_fn(|context| timer.poll_expired(context)).await.unwrap();
    }
}
