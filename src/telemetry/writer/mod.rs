//! The thread that writes a log, and its bounded queue. Only this thread waits for the sink.
//!
//! The queue takes two kinds of messages: batches of access log lines from the workers, and single urgent lines of the operations
//! log, which have their own queue and are written first. Both consist of whole lines and one thread writes them, so lines never
//! mix. A failed write is retried until it succeeds, so that no line is left half written while others follow.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use crate::clock::{self, Instant};

use super::log_file::LogError;
use super::sink::Sink;
use super::target::Target;

/// Maximum number of queued batches. With 64 KiB each that is 8 MiB: a quarter of a second at 100,000 lines a second, or a longer
/// stall of the disk at a lower rate.
const QUEUED_BATCHES: usize = 128;

/// Maximum number of queued lines of the operations log.
const URGENT_LINES: usize = 256;

/// Pause between two attempts to write to a failing sink. Well below the one second within which a log must resume.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Minimum interval between two messages about a failing or slow log.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// A buffer with more capacity is freed instead of recycled.
const RECYCLED_CAPACITY: usize = 128 * 1024;

/// A batch of whole lines from one worker.
#[derive(Debug)]
pub(super) struct Batch {
    /// The lines, each with its newline.
    pub(super) bytes: Vec<u8>,
    /// The number of lines.
    pub(super) lines: u64,
    /// Returns the emptied buffer to its worker.
    pub(super) recycle: SyncSender<Vec<u8>>,
}

/// The owner of a writing thread. When it and all its queues are dropped, the thread writes the remaining lines and ends.
#[derive(Debug)]
pub struct Writer {
    queue: Queue,
    ended: Receiver<()>,
}

impl Writer {
    /// Opens `target` and starts the thread; `None` when the target is off. Fails if the file cannot be opened or the thread cannot
    /// be started.
    pub fn start(target: &Target) -> Result<Option<Self>, LogError> {
        Sink::open(target)?.map(Self::start_on).transpose()
    }

    fn start_on(sink: Sink) -> Result<Self, LogError> {
        let (batches, queued_batches) = sync_channel(QUEUED_BATCHES);
        let (urgent, queued_urgent) = sync_channel(URGENT_LINES);
        let (alive, ended) = sync_channel(1);
        let shared = Arc::new(Shared::new(sink.name()));
        let thread = WriterThread {
            batches: queued_batches,
            urgent: queued_urgent,
            sink,
            shared: Arc::clone(&shared),
            is_failing: false,
            failure_reported: None,
            drops_reported: None,
            lines_reported: 0,
        };
        thread::Builder::new()
            .name("evenkeel-log".to_owned())
            .spawn(move || {
                thread.run();
                drop(alive);
            })
            .map_err(|source| LogError::System {
                what: "a thread",
                source,
            })?;
        Ok(Self {
            queue: Queue {
                batches,
                urgent,
                shared,
            },
            ended,
        })
    }

    /// The writer's queue, for a worker or the operations log.
    pub fn queue(&self) -> Queue {
        self.queue.clone()
    }

    /// Writes all lines queued before this call and ends the thread. Returns whether all of them were written within `limit`.
    /// Otherwise the rest is dropped, and a thread that is blocked in a pipe ends with the process.
    pub fn close(self, limit: Duration) -> bool {
        let shared = &self.queue.shared;
        self.queue.stop_waiting();
        shared.is_closing.store(true, Ordering::Release);
        self.queue.wake();
        let has_ended = matches!(
            self.ended.recv_timeout(limit),
            Err(RecvTimeoutError::Disconnected)
        );
        shared.is_abandoned.store(true, Ordering::Release);
        has_ended
    }
}

/// The queue of a writer; cheap to clone.
#[derive(Debug, Clone)]
pub struct Queue {
    batches: SyncSender<Message>,
    urgent: SyncSender<Vec<u8>>,
    shared: Arc<Shared>,
}

impl Queue {
    /// Makes the thread reopen the file soon, as after a rotation. Does not affect streams.
    pub fn reopen(&self) {
        self.shared.is_reopen_wanted.store(true, Ordering::Release);
        self.wake();
    }

    /// The name of the sink: `stdout`, a path or a syslog server.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Number of lines dropped since the start because the sink was too slow or away.
    pub fn lines_dropped(&self) -> u64 {
        self.shared.lines_dropped.load(Ordering::Relaxed)
    }

    /// From now on no worker waits for the sink, even with `on_full: block`: a process that stops must not hang on its log.
    pub fn stop_waiting(&self) {
        self.shared.is_waiting_over.store(true, Ordering::Release);
    }

    /// Queues a batch. Returns it if the queue is full.
    pub(super) fn offer(&self, batch: Batch) -> Result<(), Batch> {
        match self.batches.try_send(Message::Batch(batch)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(Message::Batch(batch))) => Err(batch),
            Err(TrySendError::Disconnected(Message::Batch(batch))) => {
                self.stop_waiting();
                Err(batch)
            }
            // Only a batch was sent.
            Err(_) => Ok(()),
        }
    }

    /// Queues one line of the operations log. If the queue is full, the line is dropped and counted.
    pub(super) fn urgent(&self, line: Vec<u8>) {
        match self.urgent.try_send(line) {
            Ok(()) => self.wake(),
            Err(_) => {
                self.shared.lines_dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Counts dropped lines, and warns in the operations log if the last warning is long enough ago.
    pub(super) fn count_dropped(&self, lines: u64) {
        let total = self.shared.lines_dropped.fetch_add(lines, Ordering::Relaxed) + lines;
        if self.shared.is_warning_due(clock::now()) {
            tracing::warn!(
                log = self.name(),
                lines_dropped_total = total,
                "Access log sink is too slow; dropping lines"
            );
        }
    }

    /// Whether workers must no longer wait for the sink.
    pub(super) fn is_waiting_over(&self) -> bool {
        self.shared.is_waiting_over.load(Ordering::Acquire)
    }

    /// Makes the thread check its flags. If the queue is full, the thread is awake and checks them after every batch.
    fn wake(&self) {
        let _ = self.batches.try_send(Message::Wake);
    }
}

#[derive(Debug)]
enum Message {
    Batch(Batch),
    Wake,
}

/// State shared by the queue and the thread.
#[derive(Debug)]
struct Shared {
    /// The name of the sink.
    name: Box<str>,
    started: Instant,
    is_reopen_wanted: AtomicBool,
    is_waiting_over: AtomicBool,
    is_closing: AtomicBool,
    is_abandoned: AtomicBool,
    lines_dropped: AtomicU64,
    /// When workers last warned, in milliseconds since `started`, plus one; 0 for never.
    warned: AtomicU64,
}

impl Shared {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            started: clock::now(),
            is_reopen_wanted: AtomicBool::new(false),
            is_waiting_over: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
            is_abandoned: AtomicBool::new(false),
            lines_dropped: AtomicU64::new(0),
            warned: AtomicU64::new(0),
        }
    }

    fn is_abandoned(&self) -> bool {
        self.is_abandoned.load(Ordering::Acquire)
    }

    /// Whether a warning is due. Returns true to only one of the workers.
    fn is_warning_due(&self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.started);
        let mark = u64::try_from(elapsed.as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        let last = self.warned.load(Ordering::Relaxed);
        let interval = u64::try_from(REPORT_INTERVAL.as_millis()).unwrap_or(u64::MAX);
        (last == 0 || mark.saturating_sub(last) >= interval)
            && self
                .warned
                .compare_exchange(last, mark, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

/// The state of the writing thread.
#[derive(Debug)]
struct WriterThread {
    batches: Receiver<Message>,
    urgent: Receiver<Vec<u8>>,
    sink: Sink,
    shared: Arc<Shared>,
    /// The sink failed, this was logged, and no write has succeeded since.
    is_failing: bool,
    failure_reported: Option<Instant>,
    drops_reported: Option<Instant>,
    lines_reported: u64,
}

impl WriterThread {
    fn run(mut self) {
        while let Some(message) = self.next() {
            self.reopen_if_wanted(&[], 0);
            self.write_urgent();
            if let Message::Batch(mut batch) = message {
                self.write(&batch.bytes, batch.lines);
                batch.bytes.clear();
                if batch.bytes.capacity() <= RECYCLED_CAPACITY {
                    // Freed if the worker has enough of them.
                    let _ = batch.recycle.try_send(batch.bytes);
                }
            }
        }
        self.write_urgent();
    }

    /// Waits for the next message. `None` when the queue is empty and closed.
    fn next(&mut self) -> Option<Message> {
        match self.batches.try_recv() {
            Ok(message) => return Some(message),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => {}
        }
        if self.shared.is_closing.load(Ordering::Acquire) {
            // Messages sent before the flag was set are visible now.
            return self.batches.try_recv().ok();
        }
        match self.report_dropped() {
            Some(pause) => match self.batches.recv_timeout(pause) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => Some(Message::Wake),
                Err(RecvTimeoutError::Disconnected) => None,
            },
            None => self.batches.recv().ok(),
        }
    }

    fn write_urgent(&mut self) {
        // Bounded by the queue's length, so that a flood of events does not delay batches forever.
        for _ in 0..URGENT_LINES {
            let Ok(line) = self.urgent.try_recv() else {
                return;
            };
            self.write(&line, 1);
        }
    }

    /// Writes whole lines, however long the sink takes, unless the writer is abandoned.
    fn write(&mut self, bytes: &[u8], lines: u64) {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if self.shared.is_abandoned() {
                self.shared.lines_dropped.fetch_add(lines, Ordering::Relaxed);
                return;
            }
            match self.sink.write(rest) {
                Ok(0) => self.fail(&io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    at += written;
                    self.succeed();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.sink.wait_writable(RETRY_PAUSE)
                }
                Err(error) => self.fail(&error),
            }
            let lost = self.sink.take_lost();
            if lost > 0 {
                self.shared.lines_dropped.fetch_add(lost, Ordering::Relaxed);
            }
            at = self.reopen_if_wanted(bytes, at);
        }
    }

    /// Logs a failed write and waits before the next attempt.
    fn fail(&mut self, error: &io::Error) {
        let now = clock::now();
        if !self.is_failing && is_due(&mut self.failure_reported, now).is_none() {
            let log = self.sink.name();
            tracing::warn!(log, %error, "Could not write the log; retrying until it succeeds");
            self.is_failing = true;
        }
        thread::sleep(RETRY_PAUSE);
    }

    fn succeed(&mut self) {
        if self.is_failing && self.sink.is_confirmed() {
            self.is_failing = false;
            let log = self.sink.name();
            tracing::info!(log, "Log is writable again");
        }
    }

    /// Reopens the file if requested. The first `at` bytes of `bytes` are written; returns the position to continue at. A line that
    /// is half written is completed in the old file, or written whole to the new one if the old file accepts no more.
    fn reopen_if_wanted(&mut self, bytes: &[u8], at: usize) -> usize {
        if !self.shared.is_reopen_wanted.swap(false, Ordering::AcqRel) || self.sink.is_stream() {
            return at;
        }
        let at = self.end_line(bytes, at);
        match self.sink.reopen() {
            Ok(()) => line_start(bytes, at),
            Err(error) => {
                tracing::error!(%error, "Could not reopen the log file; still writing to the old one");
                at
            }
        }
    }

    /// Writes the rest of a half-written line, as far as the sink accepts it immediately. Returns the new position.
    fn end_line(&mut self, bytes: &[u8], at: usize) -> usize {
        let (mut at, mut rest) = (at, &[][..]);
        if line_start(bytes, at) < at {
            rest = bytes.get(at..).unwrap_or_default();
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |newline| newline + 1);
            rest = rest.get(..end).unwrap_or(rest);
        }
        while !rest.is_empty() {
            match self.sink.write(rest) {
                Ok(written) if written > 0 => {
                    at += written;
                    rest = rest.get(written..).unwrap_or_default();
                }
                _ => break,
            }
        }
        at
    }

    /// Logs how many lines were dropped, once no more are being dropped. Returns how long to wait if it is too early.
    fn report_dropped(&mut self) -> Option<Duration> {
        let total = self.shared.lines_dropped.load(Ordering::Relaxed);
        let dropped = total - self.lines_reported;
        // What a failing sink loses is reported with the write that ends the failure.
        if dropped == 0 || self.is_failing {
            return None;
        }
        let pause = is_due(&mut self.drops_reported, clock::now());
        if pause.is_none() {
            self.lines_reported = total;
            let log = self.sink.name();
            tracing::warn!(
                log,
                lines_dropped = dropped,
                lines_dropped_total = total,
                "Log sink keeps up again; lines were dropped"
            );
        }
        pause
    }
}

/// The start of the line that the byte before `at` belongs to; `at` itself when that byte is a newline.
fn line_start(bytes: &[u8], at: usize) -> usize {
    let done = bytes.get(..at).unwrap_or(bytes);
    memchr::memrchr(b'\n', done).map_or(0, |newline| newline + 1)
}

/// Returns `None` and sets `last` to now if `last` is at least an interval ago; otherwise returns the remaining time.
fn is_due(last: &mut Option<Instant>, now: Instant) -> Option<Duration> {
    let remaining = last
        .map(|last| REPORT_INTERVAL.saturating_sub(now.saturating_duration_since(last)))
        .filter(|remaining| !remaining.is_zero());
    if remaining.is_none() {
        *last = Some(now);
    }
    remaining
}

#[cfg(test)]
mod tests;
