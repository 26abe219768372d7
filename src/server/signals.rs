//! The signals that the process acts on.

use std::io;

use rustix::process;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The action that a signal requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// `SIGTERM`, `SIGINT`
    Stop,
    /// `SIGHUP`
    Reload,
    /// `SIGUSR1`
    ReopenLogs,
    /// `SIGUSR2`
    Upgrade,
}

impl Event {
    /// The signal that requests it.
    pub(super) fn signal(self) -> process::Signal {
        match self {
            Self::Stop => process::Signal::TERM,
            Self::Reload => process::Signal::HUP,
            Self::ReopenLogs => process::Signal::USR1,
            Self::Upgrade => process::Signal::USR2,
        }
    }
}

/// The handlers of all these signals.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> Event {
        tokio::select! {
            _ = self.terminate.recv() => Event::Stop,
            _ = self.interrupt.recv() => Event::Stop,
            _ = self.hangup.recv() => Event::Reload,
            _ = self.user1.recv() => Event::ReopenLogs,
            _ = self.user2.recv() => Event::Upgrade,
        }
    }
}
