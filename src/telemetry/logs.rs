//! Both logs of a process: which writers there are, and who shares one.

use std::io;
use std::time::{Duration, Instant};

use crate::clock;

use super::access_log::{LogBuffer, Options, Settings, Target};
use super::log::OperationsLog;
use super::log_file::LogError;
use super::writer::{Queue, Writer};

/// The writers behind the operations log, which is on standard output, and the access log. When both go there they share
/// one, so that their lines never mix.
#[derive(Debug)]
pub struct Logs {
    operations: Writer,
    /// `None` when the access log is off or goes to standard output.
    access: Option<Writer>,
    settings: Settings,
    /// Lines lost by writers that a change of settings replaced.
    dropped_before: u64,
}

impl Logs {
    /// Opens what `settings` name and starts the writing threads. Errors are those of opening the file or of starting a
    /// thread.
    pub fn start(settings: &Settings) -> Result<Self, LogError> {
        let operations = Writer::start(&Target::Stdout)?.ok_or_else(|| LogError::System {
            what: "stdout",
            source: io::ErrorKind::NotFound.into(),
        })?;
        let access = own_writer(&settings.target)?;
        Ok(Self {
            operations,
            access,
            settings: settings.clone(),
            dropped_before: 0,
        })
    }

    /// A layer that writes `tracing` events of `level` and above as the operations log.
    pub fn layer(&self, level: tracing::Level) -> OperationsLog {
        OperationsLog::new(self.operations.queue(), level)
    }

    /// A new end of the access log for one worker, as the settings say now.
    pub fn buffer(&self) -> LogBuffer {
        let options = Options {
            query: self.settings.query,
        };
        LogBuffer::new(self.access_queue(), self.settings.on_full, options)
    }

    /// Puts other settings in force for buffers made from now on, as at a reload. Buffers made before keep the old writer
    /// alive until they are dropped. Errors are those of opening the new file; then nothing has changed.
    pub fn change(&mut self, settings: &Settings) -> Result<(), LogError> {
        if settings.target != self.settings.target {
            let access = own_writer(&settings.target)?;
            if let Some(replaced) = std::mem::replace(&mut self.access, access) {
                self.dropped_before += replaced.queue().lines_dropped();
            }
        }
        self.settings = settings.clone();
        Ok(())
    }

    /// Opens log files anew, as after a rotation (`SIGUSR1`).
    pub fn reopen(&self) {
        if let Some(access) = &self.access {
            access.queue().reopen();
        }
    }

    /// Lines of either log that were lost because a sink did not keep up.
    pub fn lines_dropped(&self) -> u64 {
        let access = self
            .access
            .as_ref()
            .map_or(0, |access| access.queue().lines_dropped());
        self.dropped_before + access + self.operations.queue().lines_dropped()
    }

    /// From now on no worker waits for a sink. To be called before the workers are waited for at a stop.
    pub fn stop_waiting(&self) {
        if let Some(access) = &self.access {
            access.queue().stop_waiting();
        }
        self.operations.queue().stop_waiting();
    }

    /// Writes what was handed over, for at most `limit`, and ends the threads. The buffers of the workers must have been
    /// flushed or dropped. True when nothing was given up.
    pub fn close(self, limit: Duration) -> bool {
        let deadline: Instant = clock::now() + limit;
        let access = self.access.is_none_or(|access| access.close(limit));
        let remaining = deadline.saturating_duration_since(clock::now());
        self.operations.close(remaining) && access
    }

    fn access_queue(&self) -> Option<Queue> {
        match self.settings.target {
            Target::Off => None,
            Target::Stdout => Some(self.operations.queue()),
            Target::Stderr | Target::File(_) => self.access.as_ref().map(Writer::queue),
        }
    }
}

fn own_writer(target: &Target) -> Result<Option<Writer>, LogError> {
    match target {
        Target::Off | Target::Stdout => Ok(None),
        Target::Stderr | Target::File(_) => Writer::start(target),
    }
}
