//! The thread that writes a log, and the bounded queue before it. It waits for the sink so that nobody else has to.
//!
//! Two kinds of messages come in: pieces of many lines from the workers, and single urgent lines of the operations log,
//! which go first and cannot be crowded out. Both are whole lines, and one thread writes them: lines never mix. What a
//! sink refuses is tried again until it takes it, so that a line is never left half written while more follows.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::clock;

use super::access_log::Target;
use super::log_file::LogError;
use super::sink::Sink;

/// Pieces that wait for the sink. At 64 KiB each it is 8 MiB: a quarter of a second of 100,000 lines a second, or
/// a disk that stalls for longer under less.
const BATCHES: usize = 128;

/// Lines of the operations log that wait for the sink.
const URGENT_LINES: usize = 256;

/// From one try to the next while the sink refuses. Well below the second within which a log resumes.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The operations log tells of a failing or slow log at most this often.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// A buffer that grew beyond this is freed rather than given back.
const KEPT_CAPACITY: usize = 128 * 1024;

/// Some whole lines on their way from a worker to the sink.
#[derive(Debug)]
pub(super) struct Batch {
    /// The lines, each with its newline.
    pub(super) bytes: Vec<u8>,
    /// How many they are.
    pub(super) lines: u64,
    /// Takes the emptied buffer back to where it came from.
    pub(super) home: SyncSender<Vec<u8>>,
}

/// The owner of a writing thread. When it and all its queues are dropped the thread writes what is left and ends.
#[derive(Debug)]
pub struct Writer {
    queue: Queue,
    ended: Receiver<()>,
}

impl Writer {
    /// Opens `target` and starts the thread; `None` when the target is off. Errors are those of opening the file or of
    /// starting a thread.
    pub fn start(target: &Target) -> Result<Option<Self>, LogError> {
        Sink::open(target)?.map(Self::start_on).transpose()
    }

    fn start_on(sink: Sink) -> Result<Self, LogError> {
        let (batches, waiting_pieces) = sync_channel(BATCHES);
        let (urgent, waiting_urgent) = sync_channel(URGENT_LINES);
        let (alive, ended) = sync_channel(1);
        let shared = Arc::new(Shared::new());
        let turn = Turn {
            batches: waiting_pieces,
            urgent: waiting_urgent,
            sink,
            shared: Arc::clone(&shared),
            is_failing: false,
            failure_reported: None,
            losses_reported: None,
            lines_reported: 0,
        };
        thread::Builder::new()
            .name("evenkeel-log".to_owned())
            .spawn(move || {
                turn.run();
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

    /// A way in, for a worker or the operations log.
    pub fn queue(&self) -> Queue {
        self.queue.clone()
    }

    /// Writes what was handed over before this call and ends the thread. True when all of it was written within `limit`.
    /// Otherwise the rest is given up, and a thread that is stuck in a blocked pipe is left to the end of the process.
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

/// The way into a writer; cheap to clone.
#[derive(Debug, Clone)]
pub struct Queue {
    batches: SyncSender<Message>,
    urgent: SyncSender<Vec<u8>>,
    shared: Arc<Shared>,
}

impl Queue {
    /// Opens the file anew, soon, as after a rotation. Streams are not affected.
    pub fn reopen(&self) {
        self.shared.is_reopen_wanted.store(true, Ordering::Release);
        self.wake();
    }

    /// Lines that were lost since the start because the sink did not keep up.
    pub fn lines_dropped(&self) -> u64 {
        self.shared.lines_dropped.load(Ordering::Relaxed)
    }

    /// From now on nobody waits for the sink, whatever the settings say: a process that stops must not hang on its log.
    pub fn stop_waiting(&self) {
        self.shared.is_waiting_over.store(true, Ordering::Release);
    }

    /// Takes a piece unless the queue is full; then gives it back.
    pub(super) fn offer(&self, batch: Batch) -> Result<(), Batch> {
        match self.batches.try_send(Message::Batch(batch)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(Message::Batch(batch))) => Err(batch),
            Err(TrySendError::Disconnected(Message::Batch(batch))) => {
                self.stop_waiting();
                Err(batch)
            }
            // Only a piece was sent.
            Err(_) => Ok(()),
        }
    }

    /// Takes one line of the operations log unless 256 of them wait already; then it is counted as lost.
    pub(super) fn urgent(&self, line: Vec<u8>) {
        match self.urgent.try_send(line) {
            Ok(()) => self.wake(),
            Err(_) => {
                self.shared.lines_dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Counts lines that were lost, and says so in the operations log if that has not been said just now.
    pub(super) fn count_dropped(&self, lines: u64) {
        let total = self.shared.lines_dropped.fetch_add(lines, Ordering::Relaxed) + lines;
        if self.shared.is_warning_due(clock::now()) {
            tracing::warn!(
                lines_dropped_total = total,
                "Access log sink is too slow; dropping lines"
            );
        }
    }

    /// Whether waiting for the sink is no longer allowed.
    pub(super) fn is_waiting_over(&self) -> bool {
        self.shared.is_waiting_over.load(Ordering::Acquire)
    }

    /// Makes the thread look at its flags. When the queue is full it is awake and looks after every piece.
    fn wake(&self) {
        let _ = self.batches.try_send(Message::Wake);
    }
}

#[derive(Debug)]
enum Message {
    Batch(Batch),
    Wake,
}

/// What both sides of the queue know.
#[derive(Debug)]
struct Shared {
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
    fn new() -> Self {
        Self {
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

    /// Whether this caller, of all workers, is to warn now.
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

/// The thread's own side.
#[derive(Debug)]
struct Turn {
    batches: Receiver<Message>,
    urgent: Receiver<Vec<u8>>,
    sink: Sink,
    shared: Arc<Shared>,
    /// The sink failed, that was told, and it has not worked since.
    is_failing: bool,
    failure_reported: Option<Instant>,
    losses_reported: Option<Instant>,
    lines_reported: u64,
}

impl Turn {
    fn run(mut self) {
        while let Some(message) = self.next() {
            self.reopen_if_wanted(&[], 0);
            self.write_urgent();
            if let Message::Batch(mut batch) = message {
                self.write(&batch.bytes, batch.lines);
                batch.bytes.clear();
                if batch.bytes.capacity() <= KEPT_CAPACITY {
                    // No place at home: freed.
                    let _ = batch.home.try_send(batch.bytes);
                }
            }
        }
        self.write_urgent();
    }

    /// The next message; waits for it. `None` when nothing is left and nothing will come.
    fn next(&mut self) -> Option<Message> {
        match self.batches.try_recv() {
            Ok(message) => return Some(message),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => {}
        }
        if self.shared.is_closing.load(Ordering::Acquire) {
            // What was sent before the flag was set is seen now at the latest.
            return self.batches.try_recv().ok();
        }
        match self.report_losses() {
            Some(pause) => match self.batches.recv_timeout(pause) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => Some(Message::Wake),
                Err(RecvTimeoutError::Disconnected) => None,
            },
            None => self.batches.recv().ok(),
        }
    }

    fn write_urgent(&mut self) {
        // Bounded by what may wait, so that pieces get their turn under a storm of events.
        for _ in 0..URGENT_LINES {
            let Ok(line) = self.urgent.try_recv() else {
                return;
            };
            self.write(&line, 1);
        }
    }

    /// Writes whole lines, however long the sink takes, unless the writer is given up.
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
            at = self.reopen_if_wanted(bytes, at);
        }
    }

    /// Waits before the next try, and says why.
    fn fail(&mut self, error: &io::Error) {
        if !self.is_failing && is_due(&mut self.failure_reported, clock::now()).is_none() {
            let log = self.sink.name();
            tracing::warn!(log, %error, "Could not write the log; retrying until it succeeds");
            self.is_failing = true;
        }
        thread::sleep(RETRY_PAUSE);
    }

    fn succeed(&mut self) {
        if self.is_failing {
            self.is_failing = false;
            let log = self.sink.name();
            tracing::info!(log, "Log is writable again");
        }
    }

    /// Reopens the file if that was asked for. `bytes` are being written and `at` of them are; returns where to go on. A
    /// line that is half in the old file is ended there, or written whole to the new one if the old takes no more.
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

    /// Writes what is left of a line that was begun, as far as the sink takes it at once. Returns how far it came.
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

    /// Tells how many lines were lost, once they are no longer being lost. Returns how long to wait when it is too early.
    fn report_losses(&mut self) -> Option<Duration> {
        let total = self.shared.lines_dropped.load(Ordering::Relaxed);
        let lost = total - self.lines_reported;
        if lost == 0 {
            return None;
        }
        let pause = is_due(&mut self.losses_reported, clock::now());
        if pause.is_none() {
            self.lines_reported = total;
            tracing::warn!(
                lines_dropped = lost,
                lines_dropped_total = total,
                "Log sink keeps up again; lines were dropped"
            );
        }
        pause
    }
}

/// Where the line begins of which the byte before `at` is part; `at` itself when that byte is a newline.
fn line_start(bytes: &[u8], at: usize) -> usize {
    let done = bytes.get(..at).unwrap_or(bytes);
    memchr::memrchr(b'\n', done).map_or(0, |newline| newline + 1)
}

/// `None`, and `last` set to now, when `last` is at least an interval ago; else what remains of it.
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
