//! Compares backends by their requests in flight, relative to their weights.

use std::sync::atomic::Ordering;

use super::Candidate;

/// What the score of these strategies is.
pub(super) const SCORE: &str = "in flight / weight";

/// The load that a backend would have with one more request, relative to its weight.
pub(super) struct RelativeLoad {
    requests: u64,
    pub(super) weight: u64,
}

impl RelativeLoad {
    #[inline]
    pub(super) fn of(candidate: &Candidate) -> Self {
        Self {
            requests: u64::from(in_flight(candidate)) + 1,
            weight: u64::from(candidate.weight.max(1)),
        }
    }

    /// Whether it has nothing to do now.
    pub(super) fn is_idle(&self) -> bool {
        self.requests == 1
    }

    /// The load as a number.
    #[inline]
    pub(super) fn requests_for_weight(&self) -> f32 {
        self.requests as f32 / self.weight as f32
    }

    /// Compares the fractions by cross-multiplication; both factors are below 2^33.
    pub(super) fn is_below(&self, other: &Self) -> bool {
        self.requests * other.weight < other.requests * self.weight
    }
}

/// The less loaded of two candidates; the first if they are equal, because it was drawn by weight.
pub(super) fn pick_of_two(candidates: &[Candidate], one: usize, other: Option<usize>) -> usize {
    let load = |index: usize| candidates.get(index).map(RelativeLoad::of);
    match other.and_then(|other| Some((other, load(other)?, load(one)?))) {
        Some((other, its, first)) if its.is_below(&first) => other,
        _ => one,
    }
}

/// The requests in flight of a candidate for its weight.
pub(super) fn score(candidate: &Candidate) -> f64 {
    f64::from(in_flight(candidate)) / f64::from(candidate.weight.max(1))
}

#[inline]
pub(super) fn in_flight(candidate: &Candidate) -> u32 {
    candidate.load.in_flight.0.load(Ordering::Relaxed)
}
