//! Least requests: picks the backend with the fewest requests in flight for its weight.
//!
//! First one candidate is drawn by weight, and picked if it is idle. So weights hold when few requests are in flight; a
//! comparison alone would nearly always pick the heaviest, because it is the least loaded.
//!
//! Otherwise all candidates are compared if there are at most [`MAX_SCANNED`]. If there are more, two are drawn by weight and
//! compared ("power of two choices"): that is nearly as even, costs the same for any number of backends, and workers that
//! pick at the same moment do not all pick the same backend.

use std::sync::Arc;

use crate::rng::{self, Rng};
use crate::schema::Params;

use super::in_flight::{self, RelativeLoad, pick_of_two};
use super::sequence::Sequence;
use super::{Candidate, Cursor, PickContext, Strategy};

/// Maximum number of candidates that are all compared. Each costs a read of a cache line that other workers write.
const MAX_SCANNED: usize = 16;

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
        let load = |index: usize| candidates.get(index).map(RelativeLoad::of);
        if load(one)?.is_idle() {
            return Some(one);
        }
        if candidates.len() <= MAX_SCANNED {
            // Other workers may have filled all of them to the limit since the draw.
            return pick_least(candidates, context, rng.bits()).or(Some(one));
        }
        let other = self.sequence.draw_other(candidates, context, one, || rng.bits());
        Some(pick_of_two(candidates, one, other))
    }

    fn score(&self, candidates: &[Candidate], index: usize, _: &PickContext<'_>) -> Option<f64> {
        candidates.get(index).map(in_flight::score)
    }
}

/// Picks the least loaded of all candidates. Equally loaded candidates are drawn by weight: a fixed order, or the first after a
/// random start, would favour some of them.
fn pick_least(candidates: &[Candidate], context: &PickContext<'_>, bits: u64) -> Option<usize> {
    let loads = || {
        let candidates = candidates.iter().enumerate();
        let allowed = candidates.filter(|(_, candidate)| context.may_pick(candidate));
        allowed.map(|(index, candidate)| (index, RelativeLoad::of(candidate)))
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
