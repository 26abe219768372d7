//! Process groups of balancers: a balancer may consist of several processes, some of which are no children of this one.
//! All of them end with the run, also when a signal ends it.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Explain, Result};

/// The status of a program that a signal has ended, as shells show that of SIGINT.
const INTERRUPTED: i32 = 130;

/// The groups that run.
static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// A group. When dropped, all of its processes are killed.
#[derive(Debug)]
pub(crate) struct Group(Option<Pid>);

impl Group {
    /// The group of a child that was started as its leader.
    pub(crate) fn new(leader: Pid) -> Self {
        groups().push(leader);
        Self(Some(leader))
    }

    /// Kills its processes. To be called soon after the leader has ended: its number is free as soon as the last process is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(leader) = self.0.take() {
            // Without processes there is no such group.
            let _ = kill_process_group(leader, Signal::KILL);
            groups().retain(|known| *known != leader);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// From now on SIGINT and SIGTERM end this program and all groups.
///
/// # Errors
/// The thread that waits for signals cannot be started.
pub fn end_on_signals() -> Result<()> {
    let builder = thread::Builder::new().name("signals".to_owned());
    let thread = builder.spawn(|| {
        if wait().is_ok() {
            for leader in groups().iter() {
                let _ = kill_process_group(*leader, Signal::KILL);
            }
            std::process::exit(INTERRUPTED);
        }
    });
    thread.map(drop).explain("cannot wait for signals")
}

/// Waits for one of the signals.
fn wait() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    })
}

fn groups() -> MutexGuard<'static, Vec<Pid>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::process::Process;

    #[test]
    fn grandchildren_end_with_their_group() {
        let mut command = Command::new("sh");
        command
            .args(["-c", "sleep 1000 & exec sleep 1000"])
            .process_group(0)
            .stdout(Stdio::piped());
        let mut process = Process::start(&mut command).unwrap();
        let mut stdout = process.child().stdout.take().unwrap();
        let mut group = Group::new(process.id().unwrap());
        group.kill();
        // It ends when the last process that has it open has ended.
        assert_eq!(stdout.read(&mut [0]).unwrap(), 0);
    }
}
