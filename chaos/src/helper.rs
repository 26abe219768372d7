//! The helper of a run: this program started again, as a backend, or to start a balancer that ends when the run ends. It
//! is the program `evenkeel-fault-backend`, or a test binary, which needs no other program to be built.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, exit};

use clap::Parser as _;
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::backend;

/// The variable with the arguments of a backend, one a line.
const BACKEND: &str = "EVENKEEL_CHAOS_BACKEND";
/// The variable with the words of a command, one a line, that ends with whoever has started it.
const BOUND: &str = "EVENKEEL_CHAOS_BOUND";

/// How the helper is started.
#[derive(Debug, Clone)]
pub enum Helper {
    /// The program `evenkeel-fault-backend` at this path.
    Binary(PathBuf),
    /// The test with this name in this test binary, which calls [`help`].
    Test(PathBuf, String),
}

/// Does what this process was started for as a helper, and never returns then. Returns at once in every other process.
pub fn help() {
    if let Ok(arguments) = std::env::var(BACKEND) {
        let words = std::iter::once("evenkeel-fault-backend").chain(arguments.lines());
        let outcome = backend::Options::parse_from(words).run();
        exit(i32::from(outcome.is_err()));
    }
    if let Ok(command) = std::env::var(BOUND) {
        let mut words = command.lines();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).env_remove(BOUND);
        // SIGTERM, so that a balancer of several processes ends them all. The setting survives `exec`.
        if set_parent_process_death_signal(Some(Signal::TERM)).is_ok() {
            // It returns only when it fails, which whoever waits for the balancer sees as its end.
            drop(command.exec());
        }
        exit(127);
    }
}

impl Helper {
    /// The command that runs a backend.
    pub(crate) fn backend(&self, arguments: &[String]) -> Command {
        self.with(BACKEND, &arguments.join("\n"))
    }

    /// The command that runs another one, and ends it when the calling thread ends.
    pub(crate) fn bound(&self, command: &Command) -> Command {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
        self.with(BOUND, &words.join("\n"))
    }

    fn with(&self, variable: &str, value: &str) -> Command {
        let mut command = match self {
            Self::Binary(path) => Command::new(path),
            Self::Test(path, name) => {
                let mut command = Command::new(path);
                command.args(["--exact", name, "--nocapture"]);
                command
            }
        };
        command.env(variable, value);
        command
    }
}
