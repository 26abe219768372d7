//! A process of a container that has replaced process 1, or one that had replaced it.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::signal::unix::{self, SignalKind};

use super::generations::exit_code;

/// This process.
#[derive(Debug)]
pub(in super::super) struct Later {
    /// The writing end of the pipe to process 1.
    pipe: OwnedFd,
    children: unix::Signal,
    /// The process that has replaced this one.
    next: Option<Pid>,
}

impl Later {
    /// # Errors
    /// No signal can be received.
    pub(super) fn new(pipe: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            pipe,
            children: unix::signal(SignalKind::child())?,
            next: None,
        })
    }

    /// The pipe for the next process.
    ///
    /// # Errors
    /// No descriptor is free.
    pub(super) fn pipe(&self) -> io::Result<OwnedFd> {
        self.pipe.try_clone()
    }

    /// Tells process 1 that this process serves.
    pub(super) fn serves(&self) {
        self.tell(std::process::id());
    }

    /// Tells process 1 that this process serves no more, but that one.
    pub(super) fn replaced_by(&mut self, process: Pid) {
        self.next = Some(process);
        self.tell(process.as_raw_nonzero().get().cast_unsigned());
    }

    /// Waits until a child has ended.
    pub(super) async fn changed(&mut self) {
        self.children.recv().await;
    }

    /// The exit code of the process that has replaced this one, if it has ended. Process 1 waits for it, once this one has ended
    /// too.
    pub(super) fn exit_code(&self) -> Option<u8> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(self.next?), options).ok()??;
        Some(exit_code(status.exit_status(), status.terminating_signal()))
    }

    fn tell(&self, process: u32) {
        if let Err(error) = rustix::io::write(&self.pipe, format!("{process}\n").as_bytes()) {
            tracing::error!(process, %error, "Could not tell process 1 of the container which process serves");
        }
    }
}
