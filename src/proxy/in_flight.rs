//! Counts requests in flight at backends and those of them that wait for their response, and holds their slots where backends have
//! limits.

use std::ops::Deref;

use evenkeel_balance::latency::Waiting;

use crate::backend::Shared;
use crate::clock::Instant;
use crate::pool::{Member, Pool, Queue};

/// Counts a request as in flight at a backend for as long as it lives.
pub(super) struct InFlight<'p, M: Deref<Target = Member>> {
    pub(super) member: M,
    worker: usize,
    shared: Shared,
    /// The requests of its pool that may wait for its slot, if backends have limits.
    queue: Option<&'p Queue>,
    /// Its part in the age of the requests that wait.
    waiting: Option<Waiting>,
}

/// A request in flight at a member that it does not own.
pub(super) type Slot<'a> = InFlight<'a, &'a Member>;

impl<'p, M: Deref<Target = Member>> InFlight<'p, M> {
    /// Begins to count a request of this worker, if the backend may have another one.
    #[inline]
    pub(super) fn begin(member: M, worker: usize, pool: &'p Pool) -> Option<Self> {
        let load = &member.backend.load;
        let queue = match pool.in_flight_limit {
            None => {
                load.begin(worker, pool.shares_in_flight);
                None
            }
            Some(limit) => {
                if !load.try_begin(worker, limit) {
                    return None;
                }
                Some(&*pool.queue)
            }
        };
        Some(Self {
            member,
            worker,
            shared: pool.shares_in_flight,
            queue,
            waiting: None,
        })
    }

    /// Counts another attempt of the request at the same backend.
    pub(super) fn again(&self) {
        self.member.backend.load.again(self.worker);
    }

    /// The same, which waits for its response from now on.
    #[inline]
    pub(super) fn waiting(mut self, now: Instant) -> Self {
        self.end_wait();
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

impl Slot<'_> {
    /// The same slot, of the same member and pool as they are in another snapshot.
    pub(super) fn moved_to<'q>(mut self, member: &'q Member, pool: &'q Pool) -> Slot<'q> {
        let slot = InFlight {
            member,
            worker: self.worker,
            shared: self.shared,
            queue: self.queue.map(|_| &*pool.queue),
            waiting: self.waiting.take(),
        };
        // The new one counts in its place.
        std::mem::forget(self);
        slot
    }
}

impl<M: Deref<Target = Member>> Drop for InFlight<'_, M> {
    #[inline]
    fn drop(&mut self) {
        self.end_wait();
        self.member.backend.load.end(self.worker, self.shared);
        if let Some(queue) = self.queue {
            queue.freed();
        }
    }
}
