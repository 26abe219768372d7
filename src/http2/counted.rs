//! Counts frames as their bytes pass, below the `h2` crate, which does not count those that cost work and do none: PING,
//! SETTINGS, WINDOW_UPDATE, PRIORITY, CONTINUATION, empty DATA, resets. A connection has a budget of them that time and
//! honest work refill; who overdraws it is told to calm down (RFC 9113 §10.5).

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::Wheel;
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
/// Bytes of ours that the other side may acknowledge with a window of its own.
const A_WINDOW: usize = 1 << 10;
/// Length of a frame's head (RFC 9113 §4.1).
const HEAD: usize = 9;
/// Length of one setting (RFC 9113 §6.5.1), and the one that has a bound of its own: the window of streams.
const SETTING: usize = 6;
const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];
/// Length of the connection preface (RFC 9113 §3.4).
const PREFACE: usize = 24;

/// The budget of one connection.
#[derive(Debug)]
pub struct Glitches {
    wheel: Rc<Wheel>,
    left: Cell<i64>,
    refilled: Cell<Instant>,
    /// What was wrong with a frame that did not get through.
    violation: Cell<Option<Reason>>,
}

impl Glitches {
    /// A full one.
    pub fn new(wheel: &Rc<Wheel>) -> Rc<Self> {
        Rc::new(Self {
            refilled: Cell::new(wheel.now()),
            wheel: Rc::clone(wheel),
            left: Cell::new(BUDGET),
            violation: Cell::new(None),
        })
    }

    /// Why the connection has to end, if it has to: a frame that the crate would take for an error of another kind, or too
    /// many that do nothing.
    pub fn verdict(&self) -> Option<Reason> {
        let is_overdrawn = self.left.get() < 0;
        self.violation
            .get()
            .or(is_overdrawn.then_some(Reason::ENHANCE_YOUR_CALM))
    }

    /// Takes down that a piece of an answer has gone out whole.
    pub(super) fn answered(&self) {
        self.earn(A_PIECE);
    }

    fn earn(&self, count: i64) {
        self.left.set((self.left.get() + count).min(BUDGET));
    }

    fn spend(&self, count: i64) {
        self.left.set(self.left.get() - count);
        if self.left.get() < 0 {
            let now = self.wheel.now();
            let seconds = now.saturating_duration_since(self.refilled.get()).as_secs();
            self.refilled.set(now);
            let refill = i64::try_from(seconds)
                .unwrap_or(i64::MAX)
                .saturating_mul(A_SECOND);
            self.earn(refill.min(BUDGET));
        }
    }
}

/// A stream whose frames are counted.
#[derive(Debug)]
pub struct Counted {
    stream: Stream,
    /// Bytes that were read before.
    before: Vec<u8>,
    glitches: Rc<Glitches>,
    /// Bytes that belong to no head of a frame: of the preface, or of the frame under way.
    skip: usize,
    /// Bytes of settings that are left of the frame under way.
    settings: usize,
    head: [u8; HEAD],
    filled: usize,
    /// Bytes sent since the last window that was not charged.
    sent: usize,
}

impl Counted {
    /// Counts what comes by `stream`, of which `before` has been read, from the preface on.
    pub fn new(stream: Stream, before: Vec<u8>, glitches: Rc<Glitches>) -> Self {
        Self {
            stream,
            before,
            glitches,
            skip: PREFACE,
            settings: 0,
            head: [0; HEAD],
            filled: 0,
            sent: 0,
        }
    }

    fn count(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let wanted = if self.settings > 0 { SETTING } else { HEAD };
            let taken = (wanted - self.filled).min(bytes.len());
            if let (Some(to), Some(from)) = (
                self.head.get_mut(self.filled..self.filled + taken),
                bytes.get(..taken),
            ) {
                to.copy_from_slice(from);
            }
            self.filled += taken;
            bytes = bytes.get(taken..).unwrap_or_default();
            if self.filled == wanted {
                self.filled = 0;
                match self.settings {
                    0 => self.frame(),
                    _ => self.setting(),
                }
            }
        }
    }

    /// RFC 9113 §6.5.2: a window has at most 31 bits.
    fn setting(&mut self) {
        self.settings -= SETTING;
        let [a, b, high, ..] = self.head;
        if [a, b] == INITIAL_WINDOW_SIZE && high > 0x7f {
            self.glitches.violation.set(Some(Reason::FLOW_CONTROL_ERROR));
        }
    }

    /// Charges the frame whose head is there.
    fn frame(&mut self) {
        let [a, b, c, kind, flags, ..] = self.head;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.skip = length;
        let is_end = flags & 1 != 0;
        // RFC 9113 §§6.4, 6.5, 6.7, 6.9: these have one length.
        let is_misshapen = match kind {
            0x3 | 0x8 => length != 4,
            0x4 => length % SETTING != 0 || is_end && length > 0,
            0x6 => length != 8,
            _ => false,
        };
        if is_misshapen {
            self.glitches.violation.set(Some(Reason::FRAME_SIZE_ERROR));
            return;
        }
        if kind == 0x4 {
            (self.skip, self.settings) = (0, length);
        }
        match kind {
            // DATA
            0x0 if length > 0 || is_end => self.glitches.earn(1),
            // HEADERS
            0x1 => self.glitches.earn(A_REQUEST),
            // RST_STREAM
            0x3 => self.glitches.spend(A_RESET),
            // WINDOW_UPDATE
            0x8 if self.sent >= A_WINDOW => self.sent -= A_WINDOW,
            _ => self.glitches.spend(1),
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.glitches.verdict().is_some() {
            // Nothing more is looked at; the owner of the connection ends it.
            return Poll::Pending;
        }
        let start = buffer.filled().len();
        if self.before.is_empty() {
            let space = buffer.initialize_unfilled();
            let count = ready!(self.stream.poll_read(context, space))?;
            buffer.advance(count);
        } else {
            let count = self.before.len().min(buffer.remaining());
            buffer.put_slice(self.before.get(..count).unwrap_or_default());
            self.before.drain(..count);
        }
        let this = &mut *self;
        this.count(buffer.filled().get(start..).unwrap_or_default());
        if this.glitches.violation.get().is_some() {
            buffer.set_filled(start);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
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
        let count = ready!(self.stream.poll_write(context, parts))?;
        // More than a window's worth of them is never owed.
        self.sent = (self.sent + count).min(1 << 30);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.shutdown_write();
        Poll::Ready(Ok(()))
    }
}
