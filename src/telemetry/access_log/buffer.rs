//! A worker's own end of the access log: lines gather here and leave in large pieces.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use crate::telemetry::writer::Batch;
use crate::telemetry::{Queue, Timestamp};

use super::{Entry, OnFull, Options, encode};

/// A buffer with more than this is handed over: large enough that waking the writer and its write call cost nothing a
/// line, small enough to stay in a core's cache.
const HAND_OVER: usize = 64 * 1024;

/// What a buffer is made for: a piece and the line that fills it, unless that one is extraordinary.
const CAPACITY: usize = HAND_OVER + 4 * 1024;

/// Emptied buffers that wait to be used again.
const SPARE_BUFFERS: usize = 8;

/// From one try to the next while a worker waits for the sink.
const BLOCKED_PAUSE: Duration = Duration::from_millis(1);

/// Gathers the lines of one worker. Not shared, takes no lock, and in the steady state allocates nothing. What is left in
/// it is handed over when it is dropped.
#[derive(Debug)]
pub struct LogBuffer {
    pending: Vec<u8>,
    lines: u64,
    timestamp: Timestamp,
    options: Options,
    on_full: OnFull,
    /// `None`: the access log is off.
    queue: Option<Queue>,
    home: SyncSender<Vec<u8>>,
    spare: Receiver<Vec<u8>>,
}

impl LogBuffer {
    /// Makes an empty buffer before `queue`; without one every line goes nowhere and costs nothing.
    pub fn new(queue: Option<Queue>, on_full: OnFull, options: Options) -> Self {
        let (home, spare) = sync_channel(SPARE_BUFFERS);
        let capacity = if queue.is_some() { CAPACITY } else { 0 };
        let pending = Vec::with_capacity(capacity);
        Self {
            pending,
            lines: 0,
            timestamp: Timestamp::default(),
            options,
            on_full,
            queue,
            home,
            spare,
        }
    }

    /// Adds the line of `entry`. Hands the buffer over when it is full: then, and only with [`OnFull::Block`], it may wait.
    pub fn push(&mut self, entry: &Entry<'_>) {
        if self.queue.is_none() {
            return;
        }
        encode(entry, &mut self.timestamp, self.options, &mut self.pending);
        self.lines += 1;
        if self.pending.len() > HAND_OVER {
            self.hand_over(WhenFull::Settle);
        }
    }

    /// Hands over what there is. The worker calls it at least every 100 ms. It never waits and loses nothing: when the
    /// queue is full the lines stay until there are too many.
    pub fn flush(&mut self) {
        if !self.pending.is_empty() {
            self.hand_over(WhenFull::Keep);
        }
    }

    fn hand_over(&mut self, when_full: WhenFull) {
        let Some(queue) = &self.queue else {
            return;
        };
        let bytes = std::mem::take(&mut self.pending);
        let mut batch = Batch {
            bytes,
            lines: self.lines,
            home: self.home.clone(),
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
            .spare
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

/// What becomes of a piece when the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WhenFull {
    /// It stays here.
    Keep,
    /// The settings decide: it is dropped or waited for.
    Settle,
}

impl Drop for LogBuffer {
    fn drop(&mut self) {
        if !self.pending.is_empty() {
            self.hand_over(WhenFull::Settle);
        }
    }
}
