//! What is known of one stream.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use super::super::Reason;
use super::super::frame::{FIRST_WINDOW, WINDOW};
use super::super::refused::Refused;
use crate::buffer::Buffer;
use crate::head::{Method, ResponseHead};
use crate::http1::Malformed;

/// Why nothing more comes of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum ResetReason {
    /// It was reset, by either side.
    Reset,
    /// The other side has said that it did nothing with it (RFC 9113 §8.7).
    Refused,
    /// Its connection is gone.
    Broken,
}

/// The head of an answer, as it came.
#[derive(Debug)]
pub(in super::super) struct Response {
    pub(in super::super) result: Result<ResponseHead, Malformed>,
    /// What its spans point into.
    pub(in super::super) lines: Vec<u8>,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Entry {
    /// Payload that came and was not taken, and how many bytes it is.
    pub(super) received: VecDeque<Buffer>,
    pub(super) unread: u32,
    /// Heads of answers that came and were not taken.
    pub(super) responses: VecDeque<Response>,
    /// Whether the final one has come.
    pub(super) has_responded: bool,
    pub(super) trailers: Vec<u8>,
    /// Why what came was refused, and for which field.
    pub(super) refused: Option<Refused>,
    /// The method of our request.
    pub(super) asked: Method,
    /// Bytes that have to come, where a length was announced.
    pub(super) expected: Option<u64>,
    pub(super) send_window: Window,
    pub(super) receive_window: Window,
    /// Credit that is owed to the other side.
    pub(super) to_release: u32,
    /// Whether the other side sends no more, and whether that was its own word.
    pub(super) is_remote_closed: bool,
    pub(super) is_their_end: bool,
    /// Whether we send no more.
    pub(super) is_local_closed: bool,
    pub(super) reset_reason: Option<ResetReason>,
    /// What the other side has reset it with.
    pub(super) reset: Option<Reason>,
    /// Whether it counts as open.
    pub(super) is_open: bool,
    /// Whether somebody has its handle.
    pub(super) is_held: bool,
    /// Whether it waits to be let in, and whether it was.
    pub(super) is_queued: bool,
    pub(super) is_granted: bool,
    waker: Option<Waker>,
}

impl Entry {
    /// One that has just begun and whose handle somebody gets.
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
            is_queued: false,
            is_granted: false,
            waker: None,
        }
    }

    /// Wakes whoever has the handle; whether anybody waits.
    pub(super) fn wake(&mut self) -> bool {
        self.waker.take().map(Waker::wake).is_some()
    }

    /// Wakes `context` when anything happens.
    pub(super) fn watch(&mut self, context: &Context<'_>) {
        watch(&mut self.waker, context);
    }

    /// Nothing more comes, and nothing more is sent. What came and was not taken is gone; gives how much that was.
    pub(super) fn lose(&mut self, reset_reason: ResetReason) -> u32 {
        self.reset_reason = self.reset_reason.or(Some(reset_reason));
        self.is_local_closed = true;
        self.is_remote_closed = true;
        self.wake();
        self.drop_received()
    }

    /// The same, but what came stays to be taken where it is a whole answer.
    pub(super) fn abort(&mut self, reset_reason: ResetReason, is_response: bool) -> u32 {
        if is_response && self.is_remote_closed && self.reset_reason.is_none() {
            self.is_local_closed = true;
            self.wake();
            return 0;
        }
        self.lose(reset_reason)
    }

    /// Credit that is worth a frame, of streams with such a window, from now on the other side's again.
    pub(super) fn credit_due(&mut self, window: u32) -> Option<u32> {
        if self.to_release < window / 2 || self.is_remote_closed {
            return None;
        }
        let count = std::mem::take(&mut self.to_release);
        self.receive_window.give(count);
        Some(count)
    }

    /// Forgets payload that nobody takes; gives how much that was.
    pub(super) fn drop_received(&mut self) -> u32 {
        self.received = VecDeque::new();
        std::mem::take(&mut self.unread)
    }
}

/// Has `context` woken by `waker`.
pub(super) fn watch(waker: &mut Option<Waker>, context: &Context<'_>) {
    match waker {
        Some(waker) if waker.will_wake(context.waker()) => {}
        _ => *waker = Some(context.waker().clone()),
    }
}

/// Credit (RFC 9113 §6.9). A setting can take more back than there is.
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

    /// Takes credit.
    pub(super) fn spend(&mut self, count: usize) {
        self.0 -= count as i64;
    }

    /// Takes credit; whether there was as much.
    #[must_use]
    pub(super) fn take(&mut self, count: usize) -> bool {
        self.spend(count);
        self.0 >= 0
    }

    /// Gives what was taken back.
    pub(super) fn give(&mut self, count: u32) {
        self.0 += i64::from(count);
    }

    /// Changes it; whether it is no larger than a window can be.
    #[must_use]
    pub(super) fn change(&mut self, by: i64) -> bool {
        self.0 += by;
        self.0 <= WINDOW
    }
}
