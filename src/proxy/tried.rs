//! Which backends a request was sent to, which of them it may be sent to again, and what its attempts have cost.

use smallvec::SmallVec;

use crate::backend::BackendId;
use crate::pool::EligibleSet;
use crate::retry::{Cause, ConnectionEvent, Failure, Outcome};
use crate::strategy;

/// Backends that a request may try before the list of them takes memory of its own.
const INLINE: usize = 4;

pub(super) type Backends = SmallVec<[BackendId; INLINE]>;

/// The attempts of one request so far. Each goes to a backend that was not tried yet, as long as there is one. After that
/// come those whose attempt failed by an event of the connection, which tells nothing of the backend.
#[derive(Debug, Default)]
pub(super) struct Tried {
    /// Backends that were asked since the last of them had been. Both lists are in ascending order.
    this_round: Backends,
    /// Backends that have failed: they are not asked again.
    failed: Backends,
    attempts: u32,
    stale: u32,
    unprocessed: u32,
    /// Waits before backends that were asked again.
    waits: u32,
    /// Tokens that were taken from the budget.
    pub(super) tokens: u32,
}

impl Tried {
    /// Takes down an attempt that has ended.
    pub(super) fn add(&mut self, outcome: &Outcome) {
        let backend = outcome.backend;
        self.attempts += 1;
        if strategy::contains(&self.this_round, backend) {
            self.this_round.clone_from(&self.failed);
        }
        insert(&mut self.this_round, backend);
        match outcome.event {
            Some(ConnectionEvent::Stale) => self.stale += 1,
            Some(ConnectionEvent::Closing | ConnectionEvent::Unprocessed) => self.unprocessed += 1,
            Some(ConnectionEvent::Unconnectable) | None => insert(&mut self.failed, backend),
        }
    }

    /// All backends have failed, and may have come back since: each of them may be asked again.
    pub(super) fn begin_again(&mut self) {
        self.this_round.clear();
        self.failed.clear();
        self.attempts = 0;
        self.unprocessed = 0;
    }

    /// An attempt that failed for `cause`, as the retry policy sees it, with all that was counted. The rest says that nothing was
    /// sent and nothing may be sent twice.
    pub(super) fn failure(&self, cause: Cause, eligible: &EligibleSet) -> Failure {
        Failure {
            cause,
            is_idempotent: false,
            was_sent: false,
            event: None,
            is_replayable: false,
            has_response_begun: true,
            attempts: self.attempts,
            stale: self.stale,
            unprocessed: self.unprocessed,
            backends: self.backends(eligible),
        }
    }

    /// The backends that all attempts may go to: those of the pool, and those that have failed before they were removed from it.
    fn backends(&self, eligible: &EligibleSet) -> u32 {
        let roster = eligible.roster();
        let removed = self.failed.iter().filter(|&&id| roster.member(id).is_none());
        (roster.members().len() + removed.count()) as u32
    }

    /// All attempts, since all backends had failed.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Backends that are not asked as long as there are others.
    pub(super) fn this_round(&self) -> &Backends {
        &self.this_round
    }

    /// Those, and the backends that have become ineligible meanwhile.
    pub(super) fn avoided(&self, eligible: &EligibleSet) -> Backends {
        let mut avoided = self.this_round.clone();
        avoided.extend(eligible.no_longer_eligible());
        avoided.sort_unstable();
        avoided
    }

    /// Backends that are not asked again.
    pub(super) fn failed(&self) -> &[BackendId] {
        &self.failed
    }

    /// The next attempt goes to `next`. Returns how many such waits there were before if the request has to wait first: another
    /// backend is asked at once, and so is the same one after the end of a connection, which says nothing of it. But what a
    /// backend refused or failed to do a moment ago needs a pause.
    pub(super) fn wait_before(&mut self, next: BackendId, last: &Outcome) -> Option<u32> {
        let is_end_of_connection = match last.event {
            Some(ConnectionEvent::Stale) => true,
            Some(ConnectionEvent::Closing) => self.unprocessed <= 1,
            _ => false,
        };
        if is_end_of_connection || !(self.this_round.contains(&next) || self.failed.contains(&next)) {
            return None;
        }
        self.waits += 1;
        Some(self.waits - 1)
    }

    /// Whether the next attempt has to use a new connection. What closed one idle connection, such as a restart or an idle
    /// timeout, has often closed the others too, and those to other backends.
    pub(super) fn needs_new_connection(&self) -> bool {
        self.stale > 0
    }
}

/// Adds a backend at its place.
fn insert(backends: &mut Backends, backend: BackendId) {
    if let Err(place) = backends.binary_search(&backend) {
        backends.insert(place, backend);
    }
}
