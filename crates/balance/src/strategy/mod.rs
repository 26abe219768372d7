//! Balancing strategies: a trait, one file each, and the table that names them. Pure: no clock, no sockets, no
//! global randomness; a decision depends on the candidates and a [`PickContext`] alone.
//!
//! A strategy is rebuilt whenever the set of eligible backends changes, so `pick` never skips an ineligible backend, and
//! the remaining ones share its requests evenly. State that outlives a set is in [`Cursor`].

mod bound;
mod hashing;
mod in_flight;
mod least_requests;
mod maglev;
mod peak_ewma;
mod random;
mod ring_hash;
mod round_robin;
mod sequence;
mod two_choices;

#[cfg(test)]
mod conformance;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use evenkeel_wire::instant::Instant;

pub(crate) use sequence::Sequence;

use crate::backend::{BackendId, Load, Padded};
use crate::key::Key as RequestKey;
use crate::schema::{Key, Params, Row, RowForm, Table};

/// One eligible backend, with its weight when the set was built.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The backend's id and its requests in flight.
    pub load: Arc<Load>,
    /// At least 1.
    pub weight: u32,
    /// Identifies the backend in every process that has it, for strategies with affinity.
    pub identity: u64,
}

/// The counters of a pool that outlive its sets of eligible backends, shared by all workers.
#[derive(Debug, Default)]
pub struct Cursor {
    /// Counts first attempts.
    pub first: Padded<AtomicU64>,
    /// Counts further attempts. They have their own counter, so that no neighbour of a failing backend gets all of its
    /// requests.
    pub further: Padded<AtomicU64>,
}

/// What a pick depends on beside the candidates.
#[derive(Debug, Clone, Copy)]
pub struct PickContext<'a> {
    /// Backends that this request has already tried, or that are to be avoided: in ascending order, usually empty.
    pub tried: &'a [BackendId],
    /// Maximum number of requests in flight of one backend.
    pub in_flight_limit: Option<u32>,
    /// Hash of what identifies the request or its client, for strategies with affinity; `None` when the request lacks it.
    pub key: Option<u64>,
    /// Fresh uniform bits.
    pub random: u64,
    /// The current monotonic time.
    pub now: Instant,
}

impl PickContext<'_> {
    /// Whether the candidate was not tried yet and is below the limit of requests in flight.
    pub fn may_pick(&self, candidate: &Candidate) -> bool {
        // The usual pick has neither: it then does not read the backend's cache lines, which other workers write.
        (self.tried.is_empty() || !contains(self.tried, candidate.load.id))
            && self
                .in_flight_limit
                .is_none_or(|limit| candidate.load.has_room(limit))
    }
}

/// Whether a backend is one of these, which are in ascending order. Few of many backends are usually tried, but many may have to be
/// avoided.
pub fn contains(backends: &[BackendId], backend: BackendId) -> bool {
    debug_assert!(backends.is_sorted(), "{backends:?}");
    backends.binary_search(&backend).is_ok()
}

/// Chooses a backend for one attempt. Shared by all workers.
pub trait Strategy: Debug + Send + Sync {
    /// The index of a candidate for which [`PickContext::may_pick`] holds, or `None` when there is none. `candidates` is the
    /// slice that the strategy was built for.
    fn pick(&self, candidates: &[Candidate], context: &PickContext<'_>) -> Option<usize>;

    /// What a pick would compare of the candidate at `index`: [`Entry::score`] says what it is, and less is better. `None` for
    /// strategies that compare nothing. For explanations: a pick does not need it.
    fn score(&self, candidates: &[Candidate], index: usize, context: &PickContext<'_>) -> Option<f64> {
        let _ = (candidates, index, context);
        None
    }
}

/// Builds a strategy from its parameters, which are validated and have their defaults, for a set of eligible backends.
pub type Build = fn(&Params, &[Candidate], &Arc<Cursor>) -> Box<dyn Strategy>;

/// What picks read of the backends. What nothing reads is not counted, or not for all workers together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reads {
    /// [`Load::in_flight`].
    pub in_flight: bool,
    /// The average of [`Load::latency`], with this time constant.
    pub latency: Option<Duration>,
}

impl Reads {
    /// Nothing: workers share at most a cursor.
    const NOTHING: fn(&Params) -> Self = |_| Self {
        in_flight: false,
        latency: None,
    };
    /// How many requests are in flight.
    const IN_FLIGHT: fn(&Params) -> Self = |_| Self {
        in_flight: true,
        latency: None,
    };
}

/// A row of the table of strategies.
pub struct Entry {
    /// Its name in the config.
    pub name: &'static str,
    /// One line for the docs.
    pub summary: &'static str,
    /// Its parameters.
    pub keys: &'static [Key],
    /// What a pick with these parameters reads of the backends.
    pub reads: fn(&Params) -> Reads,
    /// The meaning of [`Strategy::score`], such as `in flight / weight`; empty if it has none.
    pub score: &'static str,
    /// Builds the strategy.
    pub build: Build,
}

/// The strategy of a pool: a row of the table and its parameters.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The row.
    pub entry: &'static Entry,
    /// Its parameters, validated.
    pub params: Params,
}

impl Settings {
    /// Its name in the config.
    pub fn name(&self) -> &'static str {
        self.entry.name
    }

    /// The part of a request that chooses its backend, for strategies with affinity.
    pub fn key(&self) -> Option<RequestKey> {
        self.params.text("key")?.parse().ok()
    }

    /// What picks read of the backends.
    pub fn reads(&self) -> Reads {
        (self.entry.reads)(&self.params)
    }

    /// Builds the strategy for a set of eligible backends, and lets them keep what it reads of them.
    pub fn build(&self, candidates: &[Candidate], cursor: &Arc<Cursor>) -> Box<dyn Strategy> {
        let Reads { latency, .. } = self.reads();
        for candidate in candidates {
            candidate.load.latency.set_decay(latency);
        }
        (self.entry.build)(&self.params, candidates, cursor)
    }
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.params == other.params
    }
}

impl Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// All strategies that the config accepts, in the order in which the docs list them.
pub static STRATEGIES: &[Entry] = &[
    Entry {
        name: "round_robin",
        summary: "each backend in turn, exactly by weight",
        keys: &[],
        reads: Reads::NOTHING,
        score: "",
        build: round_robin::build,
    },
    Entry {
        name: "least_requests",
        summary: "the backend with the fewest requests in flight for its weight",
        keys: &[],
        reads: Reads::IN_FLIGHT,
        score: in_flight::SCORE,
        build: least_requests::build,
    },
    Entry {
        name: "random",
        summary: "any backend, by weight; workers share nothing",
        keys: &[],
        reads: Reads::NOTHING,
        score: "",
        build: random::build,
    },
    Entry {
        name: "two_choices",
        summary: "the less loaded of two backends drawn by weight; as cheap for thousands of backends",
        keys: &[],
        reads: Reads::IN_FLIGHT,
        score: in_flight::SCORE,
        build: two_choices::build,
    },
    Entry {
        name: "peak_ewma",
        summary: "of two backends drawn by weight the one that is likely to respond sooner, by latency and requests in flight",
        keys: peak_ewma::KEYS,
        reads: peak_ewma::reads,
        score: peak_ewma::SCORE,
        build: peak_ewma::build,
    },
    Entry {
        name: "ring_hash",
        summary: "the same backend for the same client, or for another part of the request; only those of a backend that leaves move",
        keys: hashing::KEYS,
        reads: hashing::reads,
        score: hashing::SCORE,
        build: ring_hash::build,
    },
    Entry {
        name: "maglev",
        summary: "as `ring_hash`, with shares that follow the weights exactly; a few more move when a backend leaves",
        keys: hashing::KEYS,
        reads: hashing::reads,
        score: hashing::SCORE,
        build: maglev::build,
    },
];

/// The table as the config describes it.
pub const TABLE: Table = Table {
    what: "strategy",
    form: RowForm::Kind,
    rows: || {
        let row = |entry: &Entry| Row {
            name: entry.name,
            summary: entry.summary,
            keys: entry.keys,
        };
        STRATEGIES.iter().map(row).collect()
    },
};

/// The strategy for pools that are sticky by a header: the same backend for the same key, without state.
pub fn consistent(candidates: &[Candidate], cursor: &Arc<Cursor>) -> Box<dyn Strategy> {
    maglev::build(&Params::default(), candidates, cursor)
}

/// The strategy with this name.
pub fn by_name(name: &str) -> Option<&'static Entry> {
    STRATEGIES.iter().find(|entry| entry.name == name)
}
