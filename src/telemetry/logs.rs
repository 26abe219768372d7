//! Both logs of a process and their writers.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock;

use super::access_log::{LogBuffer, Options, Settings, Target};
use super::feed::Feed;
use super::log::OperationsLog;
use super::log_file::LogError;
use super::writer::{Queue, Writer};

/// Lines of the operations log that are kept as events.
const EVENTS_KEPT: usize = 512;

/// The writers of the operations log, which goes to standard output, and of the access log. If both go to standard output, they
/// share one writer, so that their lines never mix.
#[derive(Debug)]
pub struct Logs {
    operations: Writer,
    /// `None` when the access log is off or goes to standard output.
    access: Option<Writer>,
    settings: Settings,
    events: Arc<Feed>,
}

impl Logs {
    /// Opens the access log of `settings` and starts the writing threads. Fails if a file cannot be opened or a thread cannot be
    /// started.
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
            events: Arc::new(Feed::new(EVENTS_KEPT)),
        })
    }

    /// A layer that writes `tracing` events of `level` and above as the operations log.
    pub fn layer(&self, level: tracing::Level) -> OperationsLog {
        OperationsLog::new(self.operations.queue(), level, Arc::clone(&self.events))
    }

    /// The latest lines of the operations log, of INFO and above.
    pub fn events(&self) -> Arc<Feed> {
        Arc::clone(&self.events)
    }

    /// A new access log buffer for one worker, with the current settings.
    pub fn buffer(&self) -> LogBuffer {
        let options = Options {
            query: self.settings.query,
        };
        LogBuffer::new(self.access_queue(), self.settings.on_full, options)
    }

    /// Reopens log files, as after a rotation (`SIGUSR1`).
    pub fn reopen(&self) {
        if let Some(access) = &self.access {
            access.queue().reopen();
        }
    }

    /// Lines of either log that were dropped because a sink was too slow.
    pub fn lines_dropped(&self) -> u64 {
        let access = self
            .access
            .as_ref()
            .map_or(0, |access| access.queue().lines_dropped());
        access + self.operations.queue().lines_dropped()
    }

    /// From now on no worker waits for a sink. Call it at a stop before waiting for the workers.
    pub fn stop_waiting(&self) {
        if let Some(access) = &self.access {
            access.queue().stop_waiting();
        }
        self.operations.queue().stop_waiting();
    }

    /// Writes all queued lines, for at most `limit`, and ends the threads. The workers' buffers must have been flushed or dropped.
    /// Returns whether everything was written.
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
