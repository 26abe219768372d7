//! The state of one stream, and flow-control windows.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use super::super::Reason;
use super::super::frame::{FIRST_WINDOW, WINDOW};
use super::super::refused::Refused;
use super::queue::Part;
use crate::buffer::{Buffer, PIECE};
use crate::head::{Method, ResponseHead};
use crate::http1::Malformed;

/// Why a stream ended before its messages were complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetReason {
    /// It was reset, by either side.
    Reset,
    /// The other side refused it and did not process it (RFC 9113 §8.7).
    Refused,
    /// Its connection has ended.
    Broken,
}

/// A received response head.
#[derive(Debug)]
pub struct Response {
    /// The head, or why it was refused.
    pub result: Result<ResponseHead, Malformed>,
    /// The bytes that its spans point into.
    pub lines: Vec<u8>,
}

/// The state of one stream.
#[derive(Debug)]
pub(super) struct Entry {
    /// Received payload that the stream's handle has not taken, and its length in bytes.
    pub(super) received: VecDeque<Buffer>,
    pub(super) unread: u32,
    /// Received response heads that the handle has not taken.
    pub(super) responses: VecDeque<Response>,
    /// Whether the head of the final response was received.
    pub(super) has_responded: bool,
    pub(super) trailers: Vec<u8>,
    /// Why the received message was refused, and for which field.
    pub(super) refused: Option<Refused>,
    /// The method of our request.
    pub(super) asked: Method,
    /// Payload bytes still to be received, if there was a `content-length`.
    pub(super) expected: Option<u64>,
    pub(super) send_window: Window,
    pub(super) receive_window: Window,
    /// Credit that is not yet returned to the other side.
    pub(super) to_release: u32,
    /// Whether the other side sends no more (half-closed), and whether it said so itself (END_STREAM or RST_STREAM).
    pub(super) is_remote_closed: bool,
    pub(super) is_their_end: bool,
    /// Whether we send no more (half-closed).
    pub(super) is_local_closed: bool,
    pub(super) reset_reason: Option<ResetReason>,
    /// The error code with which the other side reset it.
    pub(super) reset: Option<Reason>,
    /// Whether it counts towards the concurrent streams.
    pub(super) is_open: bool,
    /// Whether it has a handle.
    pub(super) is_held: bool,
    /// The queue that it is in, and what it was granted a turn for.
    pub(super) queued: Option<Part>,
    pub(super) granted: Option<Part>,
    /// How much payload it may still send in its turn: less than a piece where the credit of the connection cut it short.
    pub(super) turn: usize,
    waker: Option<Waker>,
}

impl Entry {
    /// A new stream that has a handle.
    pub(super) fn new(send_window: i64, receive_window: u32) -> Self {
        Self {
            received: VecDeque::new(),
            unread: 0,
            responses: VecDeque::new(),
            has_responded: false,
            trailers: Vec::new(),
            refused: None,
            asked: Method::default(),
            expected: None,
            send_window: Window(send_window),
            receive_window: Window(i64::from(receive_window)),
            to_release: 0,
            is_remote_closed: false,
            is_their_end: false,
            is_local_closed: false,
            reset_reason: None,
            reset: None,
            is_open: true,
            is_held: true,
            queued: None,
            granted: None,
            turn: PIECE,
            waker: None,
        }
    }

    /// Wakes the task that waits on the handle.
    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Registers `context` to be woken when anything happens on this stream.
    pub(super) fn watch(&mut self, context: &Context<'_>) {
        watch(&mut self.waker, context);
    }

    /// Closes both directions and drops received payload that was not taken; returns how many bytes that was.
    pub(super) fn lose(&mut self, reset_reason: ResetReason) -> u32 {
        self.reset_reason = self.reset_reason.or(Some(reset_reason));
        self.is_local_closed = true;
        self.is_remote_closed = true;
        self.wake();
        self.drop_received()
    }

    /// The same, but a complete response stays available to the handle.
    pub(super) fn abort(&mut self, reset_reason: ResetReason, is_response: bool) -> u32 {
        if is_response && self.is_remote_closed && self.reset_reason.is_none() {
            self.is_local_closed = true;
            self.wake();
            return 0;
        }
        self.lose(reset_reason)
    }

    /// Returns the credit for a WINDOW_UPDATE once it is at least half of `window`, and gives it to the other side.
    pub(super) fn credit_due(&mut self, window: u32) -> Option<u32> {
        if self.to_release < window / 2 || self.is_remote_closed {
            return None;
        }
        let count = std::mem::take(&mut self.to_release);
        self.receive_window.give(count);
        Some(count)
    }

    /// Drops payload that nobody takes; returns how many bytes that was.
    pub(super) fn drop_received(&mut self) -> u32 {
        self.received = VecDeque::new();
        std::mem::take(&mut self.unread)
    }
}

/// Stores the waker of `context`.
pub(super) fn watch(waker: &mut Option<Waker>, context: &Context<'_>) {
    match waker {
        Some(waker) if waker.will_wake(context.waker()) => {}
        _ => *waker = Some(context.waker().clone()),
    }
}

/// A flow-control window (RFC 9113 §6.9). It can become negative: a setting can shrink it below what is already spent.
#[derive(Debug)]
pub(super) struct Window(i64);

impl Default for Window {
    fn default() -> Self {
        Self(FIRST_WINDOW)
    }
}

impl Window {
    pub(super) fn left(&self) -> i64 {
        self.0
    }

    /// Spends credit.
    pub(super) fn spend(&mut self, count: usize) {
        self.0 -= count as i64;
    }

    /// Spends credit; returns whether there was enough.
    #[must_use]
    pub(super) fn take(&mut self, count: usize) -> bool {
        self.spend(count);
        self.0 >= 0
    }

    /// Returns spent credit.
    pub(super) fn give(&mut self, count: u32) {
        self.0 += i64::from(count);
    }

    /// Changes the window; returns whether it is within the largest allowed size (RFC 9113 §6.9.1).
    #[must_use]
    pub(super) fn change(&mut self, by: i64) -> bool {
        self.0 += by;
        self.0 <= WINDOW
    }
}
