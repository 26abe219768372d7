//! The backend with the fewest requests in flight for its weight.
//!
//! One is drawn by weight, and taken if it is idle: where few requests are in flight the weights share them, which a
//! comparison alone would not do, because the heaviest is nearly always the least loaded.
//!
//! Else, up to [`SCANNED`] candidates, all are compared. Above it two are drawn by weight and compared ("the power of two
//! choices"): that is nearly as even, costs the same for any number of backends, and workers that look at the same
//! moment do not all run to the same one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::rng::{self, Rng};

use super::sequence::Sequence;
use super::{Candidate, Cursor, PickContext, Strategy};

/// Up to so many candidates are all looked at: each is a cache line that other workers write.
const SCANNED: usize = 16;

/// How many draws there are for finding a second candidate that is another one.
const SECOND_DRAWS: usize = 4;

/// Makes the strategy for a membership.
pub(super) fn build(candidates: &[Candidate], _: &Arc<Cursor>) -> Box<dyn Strategy> {
    Box::new(LeastRequests {
        sequence: Sequence::new(candidates),
    })
}

#[derive(Debug)]
struct LeastRequests {
    sequence: Sequence,
}

impl Strategy for LeastRequests {
    fn pick(&self, context: &PickContext<'_>) -> Option<usize> {
        let mut rng = Rng::seeded(context.random);
        let one = self.sequence.draw(context, || rng.bits())?;
        let load = |index: usize| context.candidates.get(index).map(Load::of);
        if load(one)?.is_idle() {
            return Some(one);
        }
        if context.candidates.len() <= SCANNED {
            // Others may have filled all of them since.
            return least_of_all(context, rng.bits()).or(Some(one));
        }
        let other = (0..SECOND_DRAWS)
            .filter_map(|_| self.sequence.at_random(rng.bits()))
            .find(|other| *other != one && context.may_pick(*other));
        match other {
            Some(other) if load(other)?.is_below(&load(one)?) => Some(other),
            _ => Some(one),
        }
    }
}

/// Among equals each is taken by its weight, wherever it stands: a fixed order, or the first after a random start,
/// would favour some.
fn least_of_all(context: &PickContext<'_>, bits: u64) -> Option<usize> {
    let takable = || {
        let candidates = context.candidates.iter().enumerate();
        let takable = candidates.filter(|(index, _)| context.may_pick(*index));
        takable.map(|(index, candidate)| (index, Load::of(candidate)))
    };
    let mut loads = takable();
    let (first, mut least) = loads.next()?;
    let (mut best, mut equal_weight) = (first, least.weight);
    for (index, load) in loads {
        if load.is_below(&least) {
            (best, equal_weight, least) = (index, load.weight, load);
        } else if !least.is_below(&load) {
            equal_weight += load.weight;
        }
    }
    if equal_weight == least.weight {
        return Some(best);
    }
    let mut left = rng::below(bits, equal_weight);
    for (index, load) in takable() {
        if load.is_below(&least) || least.is_below(&load) {
            continue;
        }
        if left < load.weight {
            return Some(index);
        }
        left -= load.weight;
    }
    // Counts moved between the two passes.
    Some(best)
}

/// What one more request would make of a backend, relative to its weight.
struct Load {
    requests: u64,
    weight: u64,
}

impl Load {
    fn of(candidate: &Candidate) -> Self {
        let in_flight = u64::from(candidate.backend.in_flight.0.load(Ordering::Relaxed));
        Self {
            requests: in_flight + 1,
            weight: u64::from(candidate.weight.max(1)),
        }
    }

    fn is_idle(&self) -> bool {
        self.requests == 1
    }

    /// Compares the fractions by cross-multiplication; both factors are below 2^33.
    fn is_below(&self, other: &Self) -> bool {
        self.requests * other.weight < other.requests * self.weight
    }
}
