//! Both logs of a process and their writers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::clock;

use super::access_log::{LogBuffer, Settings, SinkBuffer, SinkSettings, Target};
use super::feed::Feed;
use super::log::OperationsLog;
use super::log_file::LogError;
use super::log_level::LogLevel;
use super::metrics::DroppedLines;
use super::writer::{Queue, Writer};

/// Lines of the operations log that are kept as events.
const EVENTS_KEPT: usize = 512;

/// The writers of the operations log, which goes to standard output, and of the sinks of the access log. If one of these is standard
/// output too, it shares the writer of the operations log, so that their lines never mix.
#[derive(Debug)]
pub struct Logs {
    operations: Writer,
    sinks: Vec<AccessSink>,
    /// Lines that were dropped by writers that have been replaced.
    dropped_before: u64,
    events: Arc<Feed>,
    level: LogLevel,
}

/// A sink of the access log.
#[derive(Debug)]
struct AccessSink {
    settings: SinkSettings,
    /// `None` when it is off or standard output.
    writer: Option<Writer>,
}

/// An access log that is open and not in use yet.
#[derive(Debug)]
pub struct NewAccessLog {
    /// A sink that goes where one of the present ones goes has no writer of its own.
    sinks: Vec<AccessSink>,
}

/// The writer of a sink that was replaced. It writes what buffers still pass to it, and ends with the last of them.
#[derive(Debug)]
pub struct ReplacedSink(Queue);

impl ReplacedSink {
    /// From now on no worker waits for it: a sink that takes nothing must not hold up a worker that has a new one.
    pub fn stop_waiting(&self) {
        self.0.stop_waiting();
    }
}

impl Logs {
    /// Opens the sinks of `settings` and starts the writing threads. Fails if a file cannot be opened or a thread cannot be
    /// started.
    pub fn start(settings: &Settings) -> Result<Self, LogError> {
        let operations = Writer::start(&Target::Stdout)?.ok_or_else(|| LogError::System {
            what: "stdout",
            source: io::ErrorKind::NotFound.into(),
        })?;
        let sinks = settings.sinks.iter().map(AccessSink::start);
        Ok(Self {
            operations,
            sinks: sinks.collect::<Result<_, _>>()?,
            dropped_before: 0,
            events: Arc::new(Feed::new(EVENTS_KEPT)),
            level: tracing::Level::INFO.into(),
        })
    }

    /// A layer that writes `tracing` events as the operations log: those of `level` and above, until [`Logs::level`] is changed.
    pub fn layer(&self, level: tracing::Level) -> OperationsLog {
        self.level.set(level);
        OperationsLog::new(
            self.operations.queue(),
            self.level.clone(),
            Arc::clone(&self.events),
        )
    }

    /// The level of the operations log.
    pub fn level(&self) -> LogLevel {
        self.level.clone()
    }

    /// The latest lines of the operations log, of INFO and above.
    pub fn events(&self) -> Arc<Feed> {
        Arc::clone(&self.events)
    }

    /// A new access log buffer for one worker, with the current settings.
    pub fn buffer(&self) -> LogBuffer {
        let sinks = self.sinks.iter().filter_map(|sink| {
            let queue = sink.queue(&self.operations)?;
            Some(SinkBuffer::of_sink(queue, &sink.settings))
        });
        LogBuffer::of_sinks(sinks.collect())
    }

    /// Opens the access log of other settings. `None` if they are the present ones.
    ///
    /// # Errors
    /// A file cannot be opened, or a thread cannot be started.
    pub fn open(&self, settings: &Settings) -> Result<Option<NewAccessLog>, LogError> {
        let present = self.sinks.iter().map(|sink| &sink.settings);
        if settings.sinks.iter().eq(present) {
            return Ok(None);
        }
        let is_open = |wanted: &SinkSettings| {
            self.sinks
                .iter()
                .any(|sink| sink.settings.target == wanted.target)
        };
        let sinks = settings.sinks.iter().map(|wanted| match is_open(wanted) {
            true => Ok(AccessSink {
                settings: wanted.clone(),
                writer: None,
            }),
            false => AccessSink::start(wanted),
        });
        Ok(Some(NewAccessLog {
            sinks: sinks.collect::<Result<_, _>>()?,
        }))
    }

    /// Puts an access log into use: buffers that are made from now on write to it. Returns the writers that are not used any more.
    pub fn replace(&mut self, log: NewAccessLog) -> Vec<ReplacedSink> {
        let mut before = std::mem::replace(&mut self.sinks, log.sinks);
        for sink in &mut self.sinks {
            let same = |before: &AccessSink| before.settings.target == sink.settings.target;
            if let Some(same) = before.iter().position(same) {
                sink.writer = before.swap_remove(same).writer;
            }
        }
        let replaced = before.into_iter().filter_map(|sink| sink.writer);
        let replaced: Vec<ReplacedSink> = replaced.map(|writer| ReplacedSink(writer.queue())).collect();
        self.dropped_before += replaced.iter().map(|sink| sink.0.lines_dropped()).sum::<u64>();
        replaced
    }

    /// Reopens log files, as after a rotation (`SIGUSR1`).
    pub fn reopen(&self) {
        for writer in self.access_writers() {
            writer.queue().reopen();
        }
    }

    /// Lines that were dropped because a sink was too slow or away, of the operations log first. Its entry includes the access log's
    /// lines to standard output. The last one is of sinks that a reload has replaced.
    pub fn lines_dropped(&self) -> Vec<DroppedLines> {
        let writers = [&self.operations].into_iter().chain(self.access_writers());
        let dropped = writers.map(|writer| {
            let queue = writer.queue();
            DroppedLines {
                log: queue.name().to_owned(),
                lines: queue.lines_dropped(),
            }
        });
        let replaced = (self.dropped_before > 0).then(|| DroppedLines {
            log: "replaced".to_owned(),
            lines: self.dropped_before,
        });
        dropped.chain(replaced).collect()
    }

    /// From now on no worker waits for a sink. Call it at a stop before waiting for the workers.
    pub fn stop_waiting(&self) {
        for writer in self.access_writers() {
            writer.queue().stop_waiting();
        }
        self.operations.queue().stop_waiting();
    }

    /// Writes all queued lines, for at most `limit`, and ends the threads. The workers' buffers must have been flushed or dropped.
    /// Returns whether everything was written.
    pub fn close(self, limit: Duration) -> bool {
        let deadline = clock::now() + limit;
        let remaining = || deadline.saturating_duration_since(clock::now());
        let mut is_complete = true;
        for writer in self.sinks.into_iter().filter_map(|sink| sink.writer) {
            is_complete &= writer.close(remaining());
        }
        self.operations.close(remaining()) && is_complete
    }

    fn access_writers(&self) -> impl Iterator<Item = &Writer> {
        self.sinks.iter().filter_map(|sink| sink.writer.as_ref())
    }
}

impl AccessSink {
    fn start(settings: &SinkSettings) -> Result<Self, LogError> {
        let writer = match &settings.target {
            Target::Off | Target::Stdout => None,
            target => Writer::start(target)?,
        };
        Ok(Self {
            settings: settings.clone(),
            writer,
        })
    }

    /// The queue of its writer; `None` when it is off.
    fn queue(&self, operations: &Writer) -> Option<Queue> {
        match self.settings.target {
            Target::Off => None,
            Target::Stdout => Some(operations.queue()),
            _ => self.writer.as_ref().map(Writer::queue),
        }
    }
}
