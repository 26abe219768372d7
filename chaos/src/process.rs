//! A child process that does not outlive its owner.

use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::clock;
use crate::error::{Error, Explain, Result};

/// A child. When dropped, also by a panic, it is killed and waited for.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts it.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let child = command.spawn();
        child
            .map(Self)
            .explain(format_args!("cannot start {}", command.get_program().display()))
    }

    /// The child as the standard library shows it.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.id()?, signal).explain("cannot signal a child")
    }

    /// Its process id.
    pub(crate) fn id(&self) -> Result<Pid> {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        pid.ok_or_else(|| Error::new("a child has no process id"))
    }

    /// Its exit status, once it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Waits for its end, at most this long. It polls: nothing else tells with a limit.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = clock::now() + clock::micros(limit);
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if clock::now() > deadline {
                return Err(Error::new(format!("a child did not end within {limit:?}")));
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended already. SIGKILL ends a stopped process too.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The children of a process.
pub(crate) fn children(parent: Pid) -> Vec<Pid> {
    let number = parent.as_raw_nonzero();
    let text = std::fs::read_to_string(format!("/proc/{number}/task/{number}/children")).unwrap_or_default();
    let numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
    numbers.filter_map(Pid::from_raw).collect()
}
