//! A worker's access log buffer: collects lines and passes them to the writer in large batches.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use crate::telemetry::writer::Batch;
use crate::telemetry::{Queue, Timestamp};

use super::{Entry, OnFull, Options, encode};

/// A buffer with more bytes is passed to the writer. Large enough that waking the writer and its write call cost next to nothing per
/// line, small enough to stay in a core's cache.
const BATCH_SIZE: usize = 64 * 1024;

/// Initial capacity of a buffer: a batch and the line that completes it, unless that line is very long.
const CAPACITY: usize = BATCH_SIZE + 4 * 1024;

/// Maximum number of emptied buffers kept for reuse.
const RECYCLED_BUFFERS: usize = 8;

/// Pause between two attempts while a worker waits for the sink.
const BLOCKED_PAUSE: Duration = Duration::from_millis(1);

/// Collects the lines of one worker. Not shared, takes no lock, and allocates nothing in the steady state. Dropping it passes the
/// remaining lines to the writer.
#[derive(Debug)]
pub struct LogBuffer {
    pending: Vec<u8>,
    lines: u64,
    timestamp: Timestamp,
    options: Options,
    on_full: OnFull,
    /// `None`: the access log is off.
    queue: Option<Queue>,
    recycle: SyncSender<Vec<u8>>,
    recycled: Receiver<Vec<u8>>,
}

impl LogBuffer {
    /// Makes an empty buffer that passes lines to `queue`. Without a queue every line is discarded at no cost.
    pub fn new(queue: Option<Queue>, on_full: OnFull, options: Options) -> Self {
        let (recycle, recycled) = sync_channel(RECYCLED_BUFFERS);
        let capacity = if queue.is_some() { CAPACITY } else { 0 };
        let pending = Vec::with_capacity(capacity);
        Self {
            pending,
            lines: 0,
            timestamp: Timestamp::default(),
            options,
            on_full,
            queue,
            recycle,
            recycled,
        }
    }

    /// Adds the line of `entry`. Passes a full buffer to the writer; only then, and only with [`OnFull::Block`], it may wait.
    pub fn push(&mut self, entry: &Entry<'_>) {
        if self.queue.is_none() {
            return;
        }
        encode(entry, &mut self.timestamp, self.options, &mut self.pending);
        self.lines += 1;
        if self.pending.len() > BATCH_SIZE {
            self.send(WhenFull::ApplySetting);
        }
    }

    /// Passes all lines to the writer. The worker calls it at least every 100 ms. Never waits and loses nothing: if the queue is
    /// full, the lines stay here until the buffer is full too.
    pub fn flush(&mut self) {
        if !self.pending.is_empty() {
            self.send(WhenFull::Keep);
        }
    }

    fn send(&mut self, when_full: WhenFull) {
        let Some(queue) = &self.queue else {
            return;
        };
        let bytes = std::mem::take(&mut self.pending);
        let mut batch = Batch {
            bytes,
            lines: self.lines,
            recycle: self.recycle.clone(),
        };
        while let Err(refused) = queue.offer(batch) {
            if when_full == WhenFull::Keep {
                self.pending = refused.bytes;
                return;
            }
            if self.on_full == OnFull::Drop || queue.is_waiting_over() {
                queue.count_dropped(refused.lines);
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

impl Drop for LogBuffer {
    fn drop(&mut self) {
        if !self.pending.is_empty() {
            self.send(WhenFull::ApplySetting);
        }
    }
}
