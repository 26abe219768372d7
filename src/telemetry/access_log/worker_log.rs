//! The access log of one worker: a buffer per sink.

use super::buffer::SinkBuffer;
use super::{Entry, OnFull, Options};
use crate::telemetry::Queue;

/// Collects the lines of one worker. Not shared, takes no lock, and allocates nothing in the steady state. Dropping it passes the
/// remaining lines to the writers.
#[derive(Debug, Default)]
pub struct LogBuffer {
    /// Without any, the access log is off.
    sinks: Vec<SinkBuffer>,
    needs_response: bool,
}

impl LogBuffer {
    /// A log with one sink and the default fields. Without a queue every line is discarded at no cost.
    pub fn new(queue: Option<Queue>, on_full: OnFull, options: Options) -> Self {
        let sink = queue.map(|queue| SinkBuffer::new(queue, on_full, options));
        Self::of_sinks(sink.into_iter().collect())
    }

    /// A log with these sinks.
    pub fn of_sinks(sinks: Vec<SinkBuffer>) -> Self {
        Self {
            needs_response: sinks.iter().any(SinkBuffer::needs_response),
            sinks,
        }
    }

    /// Whether entries need [`Extra::response`](super::Extra::response).
    #[inline]
    pub fn needs_response(&self) -> bool {
        self.needs_response
    }

    /// Adds the line of `entry` for each sink that logs it. May wait for a sink only with [`OnFull::Block`].
    pub fn push(&mut self, entry: &Entry<'_>) {
        for sink in &mut self.sinks {
            sink.push(entry);
        }
    }

    /// Passes all lines to the writers. The worker calls it at least every 100 ms. Never waits and loses nothing: if a queue is
    /// full, the lines stay here until the buffer is full too.
    pub fn flush(&mut self) {
        for sink in &mut self.sinks {
            sink.flush();
        }
    }
}
