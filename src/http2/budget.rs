//! What a client costs: frames that make work and do none are counted: PING, SETTINGS, WINDOW_UPDATE, PRIORITY, CONTINUATION,
//! empty DATA, resets. A connection has a budget of them that time and honest work refill; who overdraws it is told to calm
//! down (RFC 9113 §10.5).

use std::time::Instant;

/// Frames that a connection may send at once without doing anything.
const WORK: i64 = 2_000;
/// What a second gives back.
const WORK_A_SECOND: i64 = 200;
/// What a request gives back: it may be cancelled, and its answer may need windows.
const A_REQUEST: i64 = 6;
/// What a piece of an answer gives back that the windows let through whole. Clients of gRPC measure the way by a PING for each
/// that comes alone, and open both windows again. Pieces that a client has cut small by its windows give nothing.
const A_PIECE: i64 = 3;
/// What a reset costs: more than its request gave.
const A_RESET: i64 = 10;
/// Resets that a connection may send, or provoke, at once, and those that a second gives back. Work gives back none: a request
/// that is cancelled may have had a body.
const RESETS: i64 = 500;
const RESETS_A_SECOND: i64 = 200;
/// Bytes of ours that the other side may answer with a window, or measure with a PING.
const A_WINDOW: usize = 1 << 10;
/// Windows that are owed at most, in bytes of ours.
const OWED: usize = 1 << 30;

/// The budgets of one connection.
#[derive(Debug)]
pub(super) struct Budget {
    work: Purse,
    resets: Purse,
    /// Bytes sent since the last window that was not charged.
    sent: usize,
    /// As late as the owner of the connection has said it is.
    now: Instant,
}

/// What is spent, and comes back with time.
#[derive(Debug)]
struct Purse {
    left: i64,
    refilled: Instant,
    most: i64,
    a_second: i64,
}

impl Budget {
    /// A full one.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            work: Purse::new(WORK, WORK_A_SECOND, now),
            resets: Purse::new(RESETS, RESETS_A_SECOND, now),
            sent: 0,
            now,
        }
    }

    /// Says how late it is.
    pub(super) fn observe(&mut self, now: Instant) {
        self.now = now;
    }

    /// Whether more was spent than there was.
    pub(super) fn is_overdrawn(&self) -> bool {
        self.work.left < 0 || self.resets.left < 0
    }

    /// A frame with payload that goes on.
    pub(super) fn worked(&mut self) {
        self.work.earn(1);
    }

    /// The head of a request, or its trailers.
    pub(super) fn asked(&mut self) {
        self.work.earn(A_REQUEST);
    }

    /// A piece of an answer has gone out whole.
    pub(super) fn responded(&mut self) {
        self.work.earn(A_PIECE);
    }

    /// A stream was reset, by either side.
    pub(super) fn reset(&mut self) {
        self.work.spend(A_RESET, self.now);
        self.resets.spend(1, self.now);
    }

    /// A frame that does nothing.
    pub(super) fn did_nothing(&mut self) {
        self.work.spend(1, self.now);
    }

    /// A window or a PING: owed for what we have sent, else it does nothing.
    pub(super) fn acknowledged(&mut self) {
        match self.sent.checked_sub(A_WINDOW) {
            Some(left) => self.sent = left,
            None => self.did_nothing(),
        }
    }

    /// Bytes have left.
    pub(super) fn sent(&mut self, count: usize) {
        self.sent = (self.sent + count).min(OWED);
    }
}

impl Purse {
    fn new(most: i64, a_second: i64, now: Instant) -> Self {
        Self {
            left: most,
            refilled: now,
            most,
            a_second,
        }
    }

    fn earn(&mut self, count: i64) {
        self.left = (self.left + count).min(self.most);
    }

    fn spend(&mut self, count: i64, now: Instant) {
        self.left -= count;
        if self.left < 0 {
            let seconds = now.saturating_duration_since(self.refilled).as_secs();
            self.refilled = now;
            let refill = i64::try_from(seconds)
                .unwrap_or(i64::MAX)
                .saturating_mul(self.a_second);
            self.earn(refill.min(self.most));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    /// A request with a body in four frames that is cancelled.
    fn cancelled(budget: &mut Budget) -> bool {
        budget.asked();
        (0..4).for_each(|_| budget.worked());
        budget.reset();
        budget.is_overdrawn()
    }

    /// CVE-2023-44487, with bodies that would pay for it.
    #[test]
    fn work_does_not_pay_for_resets() {
        let mut budget = Budget::new(clock::now());
        let count = (0..10_000).position(|_| cancelled(&mut budget));
        assert_eq!(count, Some(RESETS as usize));
    }

    #[test]
    fn who_cancels_now_and_then_may() {
        let start = clock::now();
        let mut budget = Budget::new(start);
        for second in 0..1_000 {
            budget.observe(start + Duration::from_secs(second));
            assert!(!(0..100).any(|_| cancelled(&mut budget)), "second {second}");
        }
    }
}
