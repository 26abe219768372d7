//! Counts requests in flight at backends.

use std::ops::Deref;

use crate::backend::Shared;
use crate::pool::Member;

/// Counts a request as in flight at a backend for as long as it lives.
pub(super) struct InFlight<M: Deref<Target = Member>> {
    member: M,
    worker: usize,
    shared: Shared,
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
        }
    }
}

impl<M: Deref<Target = Member>> Drop for InFlight<M> {
    #[inline]
    fn drop(&mut self) {
        self.member.backend.load.end(self.worker, self.shared);
    }
}
