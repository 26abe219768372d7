//! Upgrades in a container, which ends with the process that was started first. If that is Evenkeel, it stays after an upgrade, holds
//! nothing any more, and passes signals on to the processes that have replaced it: a [`Supervisor`]. Before an upgrade there is no second
//! process. Usually it is process 1 of the container, and is called so here also where it runs under an init program.

mod first;
mod generations;
mod later;
mod supervisor;

use std::os::fd::OwnedFd;
use std::{future, io, mem};

use rustix::process::Pid;

use super::signals::Event;
use super::start_error::StartError;
use later::Later;
pub(super) use supervisor::Supervisor;

/// What this process is in its container.
#[derive(Debug)]
pub(super) struct Role {
    place: Place,
    /// Whether the next stop signal is meant for the process that has replaced this one.
    ignores_stop: bool,
}

#[derive(Debug)]
enum Place {
    /// It is in no container, or in one whose process 1 is another program.
    None,
    /// It is process 1.
    First(Supervisor),
    /// It has replaced process 1, or one that had replaced it.
    Later(Later),
}

/// What a new process gets in a container.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// The pipe to process 1.
    pub(super) pipe: Option<OwnedFd>,
    /// Whether it gets a process group of its own. A terminal signals all processes of its group; process 1 passes signals on, and a
    /// second one would cut requests.
    pub(super) has_own_group: bool,
}

impl Role {
    /// The role of this process. `pipe` is the pipe to process 1, if the process that this one replaces has passed it.
    pub(super) fn of_this_process(pipe: Option<OwnedFd>) -> Result<Self, StartError> {
        let error = StartError::system("receive signals");
        let place = match pipe {
            Some(pipe) => Place::Later(Later::new(pipe).map_err(error)?),
            None if first::is_first_of_container() => Place::First(Supervisor::new().map_err(error)?),
            None => Place::None,
        };
        Ok(Self {
            place,
            ignores_stop: false,
        })
    }

    /// Whether process 1 is Evenkeel.
    pub(super) fn is_supervised(&self) -> bool {
        !matches!(self.place, Place::None)
    }

    /// What the next process gets.
    ///
    /// # Errors
    /// No descriptor is free.
    pub(super) fn pass(&mut self) -> io::Result<Passed> {
        let (pipe, has_own_group) = match &mut self.place {
            Place::None => (None, false),
            Place::First(supervisor) => (Some(supervisor.pipe()?), true),
            Place::Later(later) => (Some(later.pipe()?), false),
        };
        Ok(Passed { pipe, has_own_group })
    }

    /// Tells process 1 that this process serves: the one that it replaces may have ended without saying so.
    pub(super) fn serving(&self) {
        if let Place::Later(later) = &self.place {
            later.serves();
        }
    }

    /// That process serves from now on. `is_stopping` tells whether this one has received a stop signal already.
    pub(super) fn replaced_by(&mut self, process: u32, is_stopping: bool) {
        let Some(process) = Pid::from_raw(process.cast_signed()) else {
            return;
        };
        self.ignores_stop = self.is_supervised() && !is_stopping;
        match &mut self.place {
            Place::None => {}
            Place::First(supervisor) => {
                supervisor.serves(process);
                if is_stopping {
                    supervisor.pass_on(Event::Stop);
                }
            }
            // Process 1 stops the other one, if it has stopped this one.
            Place::Later(later) => later.replaced_by(process),
        }
    }

    /// Acts on a signal during the drain: process 1 passes it on. Returns whether it ends the drain. The first stop signal after
    /// an upgrade in a container does not, because it is meant for the process that serves.
    pub(super) fn ends_drain(&mut self, event: Event) -> bool {
        if let Place::First(supervisor) = &mut self.place {
            supervisor.pass_on(event);
        }
        if event != Event::Stop {
            return false;
        }
        let ends = !mem::take(&mut self.ignores_stop);
        if !ends {
            tracing::info!("Stop requested; this process drains already");
        }
        ends
    }

    /// Waits until a child has ended, or, in process 1, another process serves. Process 1 waits for its children here, so no
    /// other code may do so meanwhile. Forever in no container.
    pub(super) async fn changed(&mut self) {
        match &mut self.place {
            Place::None => future::pending().await,
            Place::First(supervisor) => supervisor.changed().await,
            Place::Later(later) => later.changed().await,
        }
    }

    /// Whether the process that has replaced this one has failed, so that nobody serves.
    pub(super) fn has_failed(&self) -> bool {
        let code = match &self.place {
            Place::None => None,
            Place::First(supervisor) => supervisor.exit_code(),
            Place::Later(later) => later.exit_code(),
        };
        if let Some(code) = code.filter(|&code| code != 0) {
            tracing::error!(
                code,
                "The process that served has failed, so the container ends with its exit code"
            );
            return true;
        }
        false
    }

    /// What remains of process 1.
    pub(super) fn supervisor(self) -> Option<Supervisor> {
        match self.place {
            Place::First(supervisor) => Some(supervisor),
            _ => None,
        }
    }
}
