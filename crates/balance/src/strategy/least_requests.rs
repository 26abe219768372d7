//! Least requests: picks the backend with the fewest requests in flight for its weight.
//!
//! First one candidate is drawn by weight, and picked if it is idle. So weights hold when few requests are in flight; a
//! comparison alone would nearly always pick the heaviest, because it is the least loaded.
//!
//! Otherwise all candidates are compared if there are at most [`MAX_SCANNED`]. If there are more, two are drawn by weight and
//! compared ("power of two choices"): that is nearly as even, costs the same for any number of backends, and workers that
//! pick at the same moment do not all pick the same backend.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::rng::{self, Rng};
use crate::schema::Params;

use super::sequence::Sequence;
use super::{Candidate, Cursor, PickContext, Strategy};

/// Maximum number of candidates that are all compared. Each costs a read of a cache line that other workers write.
const MAX_SCANNED: usize = 16;

/// Maximum number of draws for a second candidate that differs from the first.
const SECOND_DRAWS: usize = 4;

/// Builds the strategy for a set of eligible backends.
pub(super) fn build(_: &Params, candidates: &[Candidate], _: &Arc<Cursor>) -> Box<dyn Strategy> {
    Box::new(LeastRequests {
        sequence: Sequence::new(candidates),
    })
}

#[derive(Debug)]
struct LeastRequests {
    sequence: Sequence,
}

impl Strategy for LeastRequests {
    fn pick(&self, candidates: &[Candidate], context: &PickContext<'_>) -> Option<usize> {
        let mut rng = Rng::seeded(context.random);
        let one = self.sequence.draw(candidates, context, || rng.bits())?;
        let load = |index: usize| candidates.get(index).map(Load::of);
        if load(one)?.is_idle() {
            return Some(one);
        }
        if candidates.len() <= MAX_SCANNED {
            // Other workers may have filled all of them to the limit since the draw.
            return pick_least(candidates, context, rng.bits()).or(Some(one));
        }
        let may_pick = |index: usize| {
            candidates
                .get(index)
                .is_some_and(|candidate| context.may_pick(candidate))
        };
        let other = (0..SECOND_DRAWS)
            .filter_map(|_| self.sequence.at_random(rng.bits()))
            .find(|other| *other != one && may_pick(*other));
        match other {
            Some(other) if load(other)?.is_below(&load(one)?) => Some(other),
            _ => Some(one),
        }
    }
}

/// Picks the least loaded of all candidates. Equally loaded candidates are drawn by weight: a fixed order, or the first after a
/// random start, would favour some of them.
fn pick_least(candidates: &[Candidate], context: &PickContext<'_>, bits: u64) -> Option<usize> {
    let loads = || {
        let candidates = candidates.iter().enumerate();
        let allowed = candidates.filter(|(_, candidate)| context.may_pick(candidate));
        allowed.map(|(index, candidate)| (index, Load::of(candidate)))
    };
    let mut rest = loads();
    let (first, mut least) = rest.next()?;
    let (mut best, mut equal_weight) = (first, least.weight);
    for (index, load) in rest {
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
    for (index, load) in loads() {
        if load.is_below(&least) || least.is_below(&load) {
            continue;
        }
        if left < load.weight {
            return Some(index);
        }
        left -= load.weight;
    }
    // The counts changed between the two passes.
    Some(best)
}

/// The load that a backend would have with one more request, relative to its weight.
struct Load {
    requests: u64,
    weight: u64,
}

impl Load {
    fn of(candidate: &Candidate) -> Self {
        let in_flight = u64::from(candidate.load.in_flight.0.load(Ordering::Relaxed));
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
