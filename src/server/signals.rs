//! The signals that the process acts on.

use std::io;

use rustix::process::{self, Pid};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The action that a signal requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// `SIGTERM`, `SIGINT`, `SIGQUIT`
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

/// Stops another process: its first stop signal, or as well the second one, which aborts requests. They are different signals, because
/// the kernel delivers two of the same kind as one.
pub(super) fn stop(process: Pid, is_second: bool) {
    // It may have ended.
    let _ = process::kill_process(process, process::Signal::TERM);
    if is_second {
        let _ = process::kill_process(process, process::Signal::INT);
    }
}

/// The handlers of all these signals.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> Event {
        tokio::select! {
            () = next_stop(&mut self.terminate, &mut self.interrupt, &mut self.quit) => Event::Stop,
            _ = self.hangup.recv() => Event::Reload,
            _ = self.user1.recv() => Event::ReopenLogs,
            _ = self.user2.recv() => Event::Upgrade,
        }
    }

    /// Waits for a stop signal. The others are kept until [`Self::next`].
    pub(super) async fn stop(&mut self) {
        next_stop(&mut self.terminate, &mut self.interrupt, &mut self.quit).await;
    }
}

async fn next_stop(terminate: &mut Signal, interrupt: &mut Signal, quit: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = quit.recv() => {}
    }
}
