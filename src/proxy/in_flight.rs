//! Counts requests in flight at backends, and those of them that wait for their response.

use std::ops::Deref;
use std::time::Instant;

use evenkeel_balance::latency::Waiting;

use crate::backend::Shared;
use crate::pool::Member;

/// Counts a request as in flight at a backend for as long as it lives.
pub(super) struct InFlight<M: Deref<Target = Member>> {
    member: M,
    worker: usize,
    shared: Shared,
    /// Its part in the age of the requests that wait.
    waiting: Option<Waiting>,
}

impl<M: Deref<Target = Member>> InFlight<M> {
    /// Begins to count a request of this worker.
    #[inline]
    pub(super) fn new(member: M, worker: usize, shared: Shared) -> Self {
        member.backend.load.begin(worker, shared);
        Self {
            member,
            worker,
            shared,
            waiting: None,
        }
    }

    /// The same, which waits for its response from now on.
    #[inline]
    pub(super) fn waiting(mut self, now: Instant) -> Self {
        self.waiting = self.member.backend.load.latency.begin_wait(now);
        self
    }

    /// The response has begun, or there will be none.
    #[inline]
    pub(super) fn end_wait(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            self.member.backend.load.latency.end_wait(waiting);
        }
    }
}

impl<M: Deref<Target = Member>> Drop for InFlight<M> {
    #[inline]
    fn drop(&mut self) {
        self.end_wait();
        self.member.backend.load.end(self.worker, self.shared);
    }
}
