//! What a client costs: below the `h2` crate frames are looked at as they come, also those that cost work and do none: PING,
//! SETTINGS, WINDOW_UPDATE, PRIORITY, CONTINUATION, empty DATA, resets. A connection has a budget of them that time and
//! honest work refill; who overdraws it is told to calm down (RFC 9113 §10.5).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Frames;
use super::hpack::ROOM;
use crate::clock::Wheel;
use crate::http1::{Limits, Malformed};
use crate::net::Stream;

/// Frames that a connection may send at once without doing anything.
const BUDGET: i64 = 2_000;
/// What a second gives back.
const A_SECOND: i64 = 200;
/// What a request gives back: it may be cancelled, and its answer may need windows.
const A_REQUEST: i64 = 6;
/// What a piece of an answer gives back that the windows let through whole. Clients of gRPC measure the way by a PING for each
/// that comes alone, and open both windows again. Pieces that a client has cut small by its windows give nothing.
const A_PIECE: i64 = 3;
/// What a reset costs: more than its request gave.
const A_RESET: i64 = 10;
/// Resets that a connection may send at once, and those that a second gives back. Work gives back none: a request that is
/// cancelled may have had a body.
const RESETS: i64 = 500;
const RESETS_A_SECOND: i64 = 200;
/// Bytes of ours that the other side may answer with a window, or measure with a PING.
const A_WINDOW: usize = 1 << 10;
/// Flawed requests that are remembered until they are taken up: twice as many as may be under way at once.
const REFUSED: usize = 256;
/// Bytes that are read and dropped after the last word, so that it arrives: closing at once would reset the connection.
const LINGER: usize = 256 << 10;

/// The budgets of one connection, and what is known of it that the crate does not tell.
#[derive(Debug)]
pub struct Glitches {
    wheel: Rc<Wheel>,
    work: Budget,
    resets: Budget,
    /// Bytes sent since the last window that was not charged.
    sent: Cell<usize>,
    /// All bytes sent.
    total: Cell<u64>,
    /// Whether the socket takes no more for now, so that bytes wait.
    is_blocked: Cell<bool>,
    /// What was wrong with a frame that did not get through.
    violation: Cell<Option<Reason>>,
    /// Streams whose heads had a flaw.
    refused: RefCell<VecDeque<(u32, Malformed)>>,
    /// Whether the tables of both sides are no longer the same.
    is_spoiled: Cell<bool>,
    is_closing: Cell<bool>,
}

/// What is spent, and comes back with time.
#[derive(Debug)]
struct Budget {
    left: Cell<i64>,
    refilled: Cell<Instant>,
    most: i64,
    a_second: i64,
}

impl Glitches {
    /// A full one.
    pub fn new(wheel: &Rc<Wheel>) -> Rc<Self> {
        Rc::new(Self {
            work: Budget::new(BUDGET, A_SECOND, wheel.now()),
            resets: Budget::new(RESETS, RESETS_A_SECOND, wheel.now()),
            wheel: Rc::clone(wheel),
            sent: Cell::new(0),
            total: Cell::new(0),
            is_blocked: Cell::new(false),
            violation: Cell::new(None),
            refused: RefCell::default(),
            is_spoiled: Cell::new(false),
            is_closing: Cell::new(false),
        })
    }

    /// Why the connection has to end, if it has to: a frame that the crate would take for an error of another kind, or too
    /// many that do nothing.
    pub fn verdict(&self) -> Option<Reason> {
        let is_overdrawn = self.work.is_overdrawn() || self.resets.is_overdrawn();
        self.violation
            .get()
            .or(is_overdrawn.then_some(Reason::ENHANCE_YOUR_CALM))
    }

    /// Takes down that a piece of an answer has gone out whole.
    pub(super) fn answered(&self) {
        self.earn(A_PIECE);
    }

    /// What was wrong with the head of a stream, if anything was: what the crate gives of it is made up.
    pub fn flaw(&self, stream: u32) -> Option<Malformed> {
        let mut refused = self.refused.borrow_mut();
        // Streams are taken up in the order in which they came: one before it will not be, and nobody asks for it.
        while refused.front().is_some_and(|(its, _)| *its < stream) {
            refused.pop_front();
        }
        refused
            .pop_front_if(|(its, _)| *its == stream)
            .map(|(_, flaw)| flaw)
    }

    /// Bytes sent since the connection began.
    pub fn total(&self) -> u64 {
        self.total.get()
    }

    /// Whether bytes wait for the socket. Those that wait for windows stand with their streams, which have bounds of their own.
    pub fn is_blocked(&self) -> bool {
        self.is_blocked.get()
    }

    /// Whether honest requests could be refused for what a flawed one has left: the connection should take no more.
    pub fn is_spoiled(&self) -> bool {
        self.is_spoiled.get()
    }

    /// Whether the last word was said, and the connection waits for the other side to have read it.
    pub fn is_closing(&self) -> bool {
        self.is_closing.get()
    }

    /// Takes down what is wrong with the head of a stream. Whether there is room for it: what stands for a head must not be
    /// taken for one.
    #[must_use]
    pub(super) fn refuse(&self, stream: u32, flaw: Malformed) -> bool {
        let mut refused = self.refused.borrow_mut();
        let has_room = refused.len() < REFUSED;
        if has_room {
            refused.push_back((stream, flaw));
        }
        has_room
    }

    pub(super) fn spoil(&self) {
        self.is_spoiled.set(true);
    }

    pub(super) fn accuse(&self, reason: Reason) {
        self.violation.set(Some(reason));
    }

    pub(super) fn worked(&self) {
        self.earn(1);
    }

    pub(super) fn asked(&self) {
        self.earn(A_REQUEST);
    }

    pub(super) fn reset(&self) {
        self.spend(A_RESET);
        self.resets.spend(1, &self.wheel);
    }

    pub(super) fn did_nothing(&self) {
        self.spend(1);
    }

    /// A window or a PING: owed for what we have sent, else it does nothing.
    pub(super) fn acknowledged(&self) {
        match self.sent.get().checked_sub(A_WINDOW) {
            Some(left) => self.sent.set(left),
            None => self.spend(1),
        }
    }

    fn sent(&self, count: usize) {
        // More than a window's worth of them is never owed.
        self.sent.set((self.sent.get() + count).min(1 << 30));
        self.total.set(self.total.get() + count as u64);
    }

    fn earn(&self, count: i64) {
        self.work.earn(count);
    }

    fn spend(&self, count: i64) {
        self.work.spend(count, &self.wheel);
    }
}

impl Budget {
    fn new(most: i64, a_second: i64, now: Instant) -> Self {
        Self {
            left: Cell::new(most),
            refilled: Cell::new(now),
            most,
            a_second,
        }
    }

    fn is_overdrawn(&self) -> bool {
        self.left.get() < 0
    }

    fn earn(&self, count: i64) {
        self.left.set((self.left.get() + count).min(self.most));
    }

    fn spend(&self, count: i64, wheel: &Wheel) {
        self.left.set(self.left.get() - count);
        if self.is_overdrawn() {
            let now = wheel.now();
            let seconds = now.saturating_duration_since(self.refilled.get()).as_secs();
            self.refilled.set(now);
            let refill = i64::try_from(seconds)
                .unwrap_or(i64::MAX)
                .saturating_mul(self.a_second);
            self.earn(refill.min(self.most));
        }
    }
}

/// A stream whose frames are looked at.
#[derive(Debug)]
pub struct Counted {
    stream: Stream,
    frames: Frames,
    glitches: Rc<Glitches>,
    /// Received and not looked at to their end.
    held: Vec<u8>,
    /// Looked at, and not given to the crate yet.
    ready: Vec<u8>,
    /// Bytes that may still come after the last word.
    linger: usize,
}

impl Counted {
    /// Looks at what comes by `stream`, of which `before` has been read, from the preface on.
    pub fn new(stream: Stream, before: Vec<u8>, limits: &Limits, glitches: Rc<Glitches>) -> Self {
        let mut counted = Self {
            stream,
            frames: Frames::new(limits),
            glitches,
            held: before,
            ready: Vec::new(),
            linger: LINGER,
        };
        counted.release();
        counted
    }

    /// Looks at what just came and stands from `start` on in `buffer`. What cannot be said yet is taken out of it.
    fn examine(&mut self, buffer: &mut ReadBuf<'_>, start: usize) {
        let came = buffer.filled().get(start..).unwrap_or_default();
        let mut passed = 0;
        if self.held.is_empty() {
            let examined = self.frames.examine(came, &self.glitches, &mut self.ready);
            passed = examined.passed;
            let rest = passed + examined.replaced;
            self.held.extend_from_slice(came.get(rest..).unwrap_or_default());
        } else {
            self.held.extend_from_slice(came);
        }
        buffer.set_filled(start + passed);
        self.release();
    }

    /// Looks at what is held.
    fn release(&mut self) {
        self.release_all();
        self.held.shrink_to(ROOM);
    }

    fn release_all(&mut self) {
        while !self.held.is_empty() && self.glitches.verdict().is_none() {
            let mut instead = Vec::new();
            let examined = self.frames.examine(&self.held, &self.glitches, &mut instead);
            let passed = self.held.get(..examined.passed).unwrap_or_default();
            self.ready.extend_from_slice(passed);
            self.ready.append(&mut instead);
            self.held.drain(..examined.passed + examined.replaced);
            if examined.replaced == 0 {
                return;
            }
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let start = buffer.filled().len();
        loop {
            if buffer.filled().len() > start {
                return Poll::Ready(Ok(()));
            }
            if !self.ready.is_empty() {
                let count = self.ready.len().min(buffer.remaining());
                buffer.put_slice(self.ready.get(..count).unwrap_or_default());
                self.ready.drain(..count);
                self.ready.shrink_to(ROOM);
                return Poll::Ready(Ok(()));
            }
            if self.glitches.verdict().is_some() {
                // Nothing more is looked at. The owner of the connection, who asks for the verdict when nothing more comes, ends
                // it.
                return Poll::Pending;
            }
            ready!(AsyncRead::poll_read(Pin::new(&mut self.stream), context, buffer))?;
            if buffer.filled().len() == start {
                return Poll::Ready(Ok(()));
            }
            self.examine(buffer, start);
        }
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = self.stream.poll_write(context, parts);
        self.glitches.is_blocked.set(result.is_pending());
        let count = ready!(result)?;
        self.glitches.sent(count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(context)
    }

    /// Says that nothing more comes, and waits until the other side has heard it. The owner of the connection bounds the time.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.glitches.is_closing.replace(true) {
            self.stream.shutdown_write();
            context.waker().wake_by_ref();
        }
        let mut space = [0; 4096];
        while self.linger > 0 {
            match ready!(self.stream.poll_read(context, &mut space)) {
                Ok(count @ 1..) => self.linger = self.linger.saturating_sub(count),
                Ok(0) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    /// A request with a body in four frames that is cancelled.
    fn cancelled(glitches: &Glitches) -> bool {
        glitches.asked();
        (0..4).for_each(|_| glitches.worked());
        glitches.reset();
        glitches.verdict().is_some()
    }

    /// CVE-2023-44487, with bodies that would pay for it.
    #[test]
    fn work_does_not_pay_for_resets() {
        let glitches = Glitches::new(&Wheel::new(clock::now()));
        let count = (0..10_000).position(|_| cancelled(&glitches));
        assert_eq!(count, Some(RESETS as usize));
        assert_eq!(glitches.verdict(), Some(Reason::ENHANCE_YOUR_CALM));
    }

    #[test]
    fn who_cancels_now_and_then_may() {
        let start = clock::now();
        let wheel = Wheel::new(start);
        let glitches = Glitches::new(&wheel);
        for second in 0..1_000 {
            wheel.observe(start + Duration::from_secs(second));
            assert!(!(0..100).any(|_| cancelled(&glitches)), "second {second}");
        }
    }

    /// What stands for a head must not be taken for one.
    #[test]
    fn flaws_are_remembered_until_they_are_taken_up() {
        let glitches = Glitches::new(&Wheel::new(clock::now()));
        let streams = (0..REFUSED as u32).map(|at| 2 * at + 1);
        let flaw = Malformed::ControlByte;
        assert!(streams.clone().all(|stream| glitches.refuse(stream, flaw)));
        assert!(!glitches.refuse(9_999, flaw));
        assert_eq!(glitches.flaw(5), Some(flaw));
        assert_eq!(glitches.flaw(6), None);
        // 1 and 3 were not taken up, and will not be.
        assert!(
            [9_001, 9_003, 9_005]
                .iter()
                .all(|stream| glitches.refuse(*stream, flaw))
        );
        assert!(!glitches.refuse(9_999, flaw));
    }
}
