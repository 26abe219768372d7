//! Flood protection for one client connection: a budget of frames that cause work but carry no message (PING, SETTINGS,
//! WINDOW_UPDATE, PRIORITY, CONTINUATION, empty DATA) and of resets. Time and useful frames refill it; a connection that overdraws
//! it is ended with ENHANCE_YOUR_CALM (RFC 9113 §10.5).

use crate::instant::Instant;

/// Frames without use that a connection may send in one burst.
const WORK: i64 = 2_000;
/// Refill per second.
const WORK_A_SECOND: i64 = 200;
/// Refill per request: the client may cancel it, and may send WINDOW_UPDATE for its response.
const A_REQUEST: i64 = 6;
/// Refill per chunk of a response that we sent whole. gRPC clients send a PING for each chunk that arrives alone, to measure the
/// round trip, and update both windows. Chunks that a client's small windows have cut refill nothing.
const A_CHUNK: i64 = 3;
/// Cost of a reset: more than its request has refilled.
const A_RESET: i64 = 10;
/// Resets that a connection may send, or provoke, in one burst, and their refill per second. Useful frames refill none: a
/// cancelled request may have had a body.
const RESETS: i64 = 500;
const RESETS_A_SECOND: i64 = 200;
/// Bytes that we send for each free WINDOW_UPDATE or PING of the other side.
const A_WINDOW: usize = 1 << 10;
/// Most bytes sent that are remembered for free WINDOW_UPDATE and PING frames.
const OWED: usize = 1 << 30;

/// The budgets of one connection.
#[derive(Debug)]
pub(super) struct Budget {
    work: TokenBucket,
    resets: TokenBucket,
    /// Bytes sent that no free WINDOW_UPDATE or PING was counted against yet.
    sent: usize,
    /// The current time, as set by `observe`.
    now: Instant,
}

/// Tokens that frames spend and time refills.
#[derive(Debug)]
struct TokenBucket {
    left: i64,
    refilled: Instant,
    most: i64,
    a_second: i64,
}

impl Budget {
    /// A full budget.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            work: TokenBucket::new(WORK, WORK_A_SECOND, now),
            resets: TokenBucket::new(RESETS, RESETS_A_SECOND, now),
            sent: 0,
            now,
        }
    }

    /// Sets the current time.
    pub(super) fn observe(&mut self, now: Instant) {
        self.now = now;
    }

    /// Whether the connection has overdrawn its budget.
    pub(super) fn is_overdrawn(&self) -> bool {
        self.work.left < 0 || self.resets.left < 0
    }

    /// Counts a DATA frame that carries a message on.
    pub(super) fn worked(&mut self) {
        self.work.earn(1);
    }

    /// Counts the head of a request, or its trailers.
    pub(super) fn asked(&mut self) {
        self.work.earn(A_REQUEST);
    }

    /// Counts a chunk of a response that was sent whole.
    pub(super) fn responded(&mut self) {
        self.work.earn(A_CHUNK);
    }

    /// Counts a reset of a stream, by either side.
    pub(super) fn reset(&mut self) {
        self.work.spend(A_RESET, self.now);
        self.resets.spend(1, self.now);
    }

    /// Counts a frame without use.
    pub(super) fn did_nothing(&mut self) {
        self.work.spend(1, self.now);
    }

    /// Counts a WINDOW_UPDATE or PING: free if we have sent enough bytes for it, else a frame without use.
    pub(super) fn acknowledged(&mut self) {
        match self.sent.checked_sub(A_WINDOW) {
            Some(left) => self.sent = left,
            None => self.did_nothing(),
        }
    }

    /// Counts sent bytes.
    pub(super) fn sent(&mut self, count: usize) {
        self.sent = (self.sent + count).min(OWED);
    }
}

impl TokenBucket {
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

    /// Counts a cancelled request with a body in four frames.
    fn cancelled(budget: &mut Budget) -> bool {
        budget.asked();
        (0..4).for_each(|_| budget.worked());
        budget.reset();
        budget.is_overdrawn()
    }

    /// CVE-2023-44487 (rapid reset), with bodies that refill the other budget.
    #[test]
    fn useful_frames_do_not_refill_resets() {
        let mut budget = Budget::new(clock::now());
        let count = (0..10_000).position(|_| cancelled(&mut budget));
        assert_eq!(count, Some(RESETS as usize));
    }

    #[test]
    fn occasional_cancellations_are_allowed() {
        let start = clock::now();
        let mut budget = Budget::new(start);
        for second in 0..1_000 {
            budget.observe(start + Duration::from_secs(second));
            assert!(!(0..100).any(|_| cancelled(&mut budget)), "second {second}");
        }
    }
}
