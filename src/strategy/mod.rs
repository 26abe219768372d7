//! Balancing strategies: a trait, one file each, and the table that names them. Pure: no clock, no sockets, no
//! global randomness; everything a decision needs is in [`PickContext`].
//!
//! A strategy is built anew for every membership (the list of eligible backends), so that `pick` never skips over
//! an ineligible one: what is left shares evenly. State that has to outlive a membership is in [`Cursor`].

mod least_requests;
mod random;
mod round_robin;
mod sequence;

#[cfg(test)]
mod conformance;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::backend::{Backend, BackendId, Padded};

/// One eligible backend, with the weight that it had when the membership was made.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The backend, for its number of requests in flight.
    pub backend: Arc<Backend>,
    /// At least 1.
    pub weight: u32,
}

/// The positions of a pool that outlive its memberships, shared by all workers.
#[derive(Debug, Default)]
pub struct Cursor {
    /// Counts first attempts.
    pub first: Padded<AtomicU64>,
    /// Counts further attempts: they take turns of their own, so that no neighbour of a failing backend inherits
    /// all of its requests.
    pub further: Padded<AtomicU64>,
}

/// What a pick may depend on.
#[derive(Debug)]
pub struct PickContext<'a> {
    /// The same slice that the strategy was built for.
    pub candidates: &'a [Candidate],
    /// Backends this request has tried already; usually empty.
    pub tried: &'a [BackendId],
    /// Bound of requests in flight of one backend.
    pub in_flight_limit: Option<u32>,
    /// Hash of what identifies the request or its client, for strategies with affinity.
    pub key: u64,
    /// Fresh uniform bits.
    pub random: u64,
    /// The monotonic now.
    pub now: Instant,
}

impl PickContext<'_> {
    /// Whether the candidate at `index` exists, was not tried yet and is below the bound of requests in flight.
    pub fn may_pick(&self, index: usize) -> bool {
        let Some(candidate) = self.candidates.get(index) else {
            return false;
        };
        let backend = &candidate.backend;
        // The usual ask has neither: it then reads nothing of the backend, which other workers write.
        (self.tried.is_empty() || !self.tried.contains(&backend.id))
            && self
                .in_flight_limit
                .is_none_or(|limit| backend.in_flight.0.load(Ordering::Relaxed) < limit)
    }
}

/// Chooses a backend for one attempt. Shared by all workers.
pub trait Strategy: Debug + Send + Sync {
    /// The index in `context.candidates` of a candidate for which [`PickContext::may_pick`] holds, or `None` when there is none.
    fn pick(&self, context: &PickContext<'_>) -> Option<usize>;
}

/// A line of the table of strategies.
pub struct Entry {
    /// As it stands in the config.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Makes the strategy for a membership.
    pub build: fn(&[Candidate], &Arc<Cursor>) -> Box<dyn Strategy>,
}

impl Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Every strategy that the config knows, in the order in which they are shown.
pub static STRATEGIES: &[Entry] = &[
    Entry {
        name: "round_robin",
        summary: "each backend in turn, exactly by weight",
        build: round_robin::build,
    },
    Entry {
        name: "least_requests",
        summary: "the backend with the fewest requests in flight for its weight",
        build: least_requests::build,
    },
    Entry {
        name: "random",
        summary: "any backend, by weight; workers share nothing",
        build: random::build,
    },
];

/// The line of the table with this name.
pub fn by_name(name: &str) -> Option<&'static Entry> {
    STRATEGIES.iter().find(|entry| entry.name == name)
}
