//! A process of a container that has replaced process 1, or one that had replaced it.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{self, Mode, OFlags};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::signal::unix::{self, SignalKind};

use super::generations::exit_code;

/// This process.
#[derive(Debug)]
pub(in super::super) struct Later {
    pipe: End,
    children: unix::Signal,
    /// The process that has replaced this one.
    next: Option<Pid>,
}

/// An end of the pipe to process 1.
#[derive(Debug)]
enum End {
    /// Of a process that serves, or may begin to.
    Writing(OwnedFd),
    /// Of a process that was replaced. It reads nothing: the kernel tells it that no process is left that serves or may begin to. A
    /// process that holds the writing end cannot know that.
    Reading(OwnedFd),
}

impl Later {
    /// # Errors
    /// No signal can be received.
    pub(super) fn new(pipe: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            pipe: End::Writing(pipe),
            children: unix::signal(SignalKind::child())?,
            next: None,
        })
    }

    /// The pipe for the next process.
    ///
    /// # Errors
    /// No descriptor is free.
    pub(super) fn pipe(&self) -> io::Result<OwnedFd> {
        match &self.pipe {
            End::Writing(pipe) | End::Reading(pipe) => pipe.try_clone(),
        }
    }

    /// Tells process 1 that this process serves.
    pub(super) fn serves(&self) {
        self.tell(std::process::id());
    }

    /// Tells process 1 that this process serves no more, but that one.
    pub(super) fn replaced_by(&mut self, process: Pid) {
        self.next = Some(process);
        self.tell(process.as_raw_nonzero().get().cast_unsigned());
        match self.reading_end() {
            Ok(pipe) => self.pipe = End::Reading(pipe),
            Err(error) => {
                tracing::warn!(%error, "Could not open the pipe to process 1 of the container for reading; \
                 if the process that serves fails, this one drains to its end")
            }
        }
    }

    /// The other end of the pipe. The path leads to the pipe itself, which has no name.
    fn reading_end(&self) -> io::Result<OwnedFd> {
        let (End::Writing(pipe) | End::Reading(pipe)) = &self.pipe;
        let path = format!("/proc/self/fd/{}", pipe.as_fd().as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(fs::open(path, flags, Mode::empty())?)
    }

    /// Waits until a child has ended.
    pub(super) async fn changed(&mut self) {
        self.children.recv().await;
    }

    /// The exit code of the process that has replaced this one, if it has ended and no other serves or may begin to: one that was
    /// replaced itself leaves the service as it is. Process 1 waits for it, once this one has ended too.
    pub(super) fn exit_code(&self) -> Option<u8> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(self.next?), options).ok()??;
        self.is_last()
            .then(|| exit_code(status.exit_status(), status.terminating_signal()))
    }

    /// Whether no process is left that serves or may begin to.
    fn is_last(&self) -> bool {
        let End::Reading(pipe) = &self.pipe else {
            return false;
        };
        let mut entry = [PollFd::new(pipe, PollFlags::empty())];
        poll(&mut entry, Some(&Timespec::default())).is_ok()
            && entry.iter().any(|entry| entry.revents().contains(PollFlags::HUP))
    }

    fn tell(&self, process: u32) {
        let End::Writing(pipe) = &self.pipe else { return };
        if let Err(error) = rustix::io::write(pipe, format!("{process}\n").as_bytes()) {
            tracing::error!(process, %error, "Could not tell process 1 of the container which process serves");
        }
    }
}
