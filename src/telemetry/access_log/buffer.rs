//! A worker's buffer of one sink: collects lines and passes them to the writer in large batches.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use crate::telemetry::Queue;
use crate::telemetry::writer::Batch;

use super::line::LineEncoder;
use super::sample::Sample;
use super::{Entry, OnFull, Options, SinkSettings};

/// A buffer with more bytes is passed to the writer. Large enough that waking the writer and its write call cost next to nothing per
/// line, small enough to stay in a core's cache.
const BATCH_SIZE: usize = 64 * 1024;

/// Initial capacity of a buffer: a batch and the line that completes it, unless that line is very long.
const CAPACITY: usize = BATCH_SIZE + 4 * 1024;

/// Maximum number of emptied buffers kept for reuse.
const RECYCLED_BUFFERS: usize = 8;

/// Pause between two attempts while a worker waits for the sink.
const BLOCKED_PAUSE: Duration = Duration::from_millis(1);

/// Collects the lines of one worker for one sink. Not shared, takes no lock, and allocates nothing in the steady state. Dropping it
/// passes the remaining lines to the writer.
#[derive(Debug)]
pub struct SinkBuffer {
    pending: Vec<u8>,
    lines: u64,
    encoder: LineEncoder,
    /// `None`: every request is logged.
    sample: Option<Sample>,
    on_full: OnFull,
    queue: Queue,
    recycle: SyncSender<Vec<u8>>,
    recycled: Receiver<Vec<u8>>,
}

impl SinkBuffer {
    /// Makes an empty buffer that passes lines with the default fields to `queue`.
    pub fn new(queue: Queue, on_full: OnFull, options: Options) -> Self {
        Self::with(queue, on_full, LineEncoder::new(options))
    }

    /// Makes an empty buffer of a sink, whose writer has this queue.
    pub fn of_sink(queue: Queue, settings: &SinkSettings) -> Self {
        let mut buffer = Self::with(queue, settings.on_full, LineEncoder::of_sink(settings));
        buffer.sample = (!settings.sample.is_all()).then_some(settings.sample);
        buffer
    }

    fn with(queue: Queue, on_full: OnFull, encoder: LineEncoder) -> Self {
        let (recycle, recycled) = sync_channel(RECYCLED_BUFFERS);
        Self {
            pending: Vec::with_capacity(CAPACITY),
            lines: 0,
            encoder,
            sample: None,
            on_full,
            queue,
            recycle,
            recycled,
        }
    }

    /// Whether entries need [`Extra::response`](super::Extra::response).
    pub(super) fn needs_response(&self) -> bool {
        self.encoder.needs_response()
    }

    /// Adds the line of `entry`, unless the sample leaves it out. Passes a full buffer to the writer; only then, and only with
    /// [`OnFull::Block`], it may wait.
    #[inline]
    pub(super) fn push(&mut self, entry: &Entry<'_>) {
        if self.sample.as_ref().is_some_and(|sample| !sample.keeps(entry)) {
            return;
        }
        self.encoder.encode(entry, &mut self.pending);
        self.lines += 1;
        if self.pending.len() > BATCH_SIZE {
            self.send(WhenFull::ApplySetting);
        }
    }

    /// Passes all lines to the writer. Never waits and loses nothing: if the queue is full, the lines stay here until the buffer is
    /// full too.
    pub(super) fn flush(&mut self) {
        if !self.pending.is_empty() {
            self.send(WhenFull::Keep);
        }
    }

    fn send(&mut self, when_full: WhenFull) {
        let bytes = std::mem::take(&mut self.pending);
        let mut batch = Batch {
            bytes,
            lines: self.lines,
            recycle: self.recycle.clone(),
        };
        while let Err(refused) = self.queue.offer(batch) {
            if when_full == WhenFull::Keep {
                self.pending = refused.bytes;
                return;
            }
            if self.on_full == OnFull::Drop || self.queue.is_waiting_over() {
                self.queue.count_dropped(refused.lines);
                self.reset(refused.bytes);
                return;
            }
            thread::sleep(BLOCKED_PAUSE);
            batch = refused;
        }
        let next = self
            .recycled
            .try_recv()
            .unwrap_or_else(|_| Vec::with_capacity(CAPACITY));
        self.reset(next);
    }

    fn reset(&mut self, mut empty: Vec<u8>) {
        empty.clear();
        self.pending = empty;
        self.lines = 0;
    }
}

/// What to do with a batch when the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WhenFull {
    /// Keep it in the buffer.
    Keep,
    /// `on_full` decides: drop it or wait.
    ApplySetting,
}

impl Drop for SinkBuffer {
    fn drop(&mut self) {
        if !self.pending.is_empty() {
            self.send(WhenFull::ApplySetting);
        }
    }
}
