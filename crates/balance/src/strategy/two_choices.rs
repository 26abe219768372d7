//! Power of two choices: draws two backends by weight, and picks the one with fewer requests in flight for its weight. The cost does not
//! depend on the number of backends, and workers or instances that pick at the same moment do not all pick the same one.

use std::sync::Arc;

use crate::rng::Rng;
use crate::schema::Params;

use super::in_flight::{self, RelativeLoad, pick_of_two};
use super::sequence::Sequence;
use super::{Candidate, Cursor, PickContext, Strategy};

/// Builds the strategy for a set of eligible backends.
pub(super) fn build(_: &Params, candidates: &[Candidate], _: &Arc<Cursor>) -> Box<dyn Strategy> {
    Box::new(TwoChoices {
        sequence: Sequence::new(candidates),
    })
}

#[derive(Debug)]
struct TwoChoices {
    sequence: Sequence,
}

impl Strategy for TwoChoices {
    fn pick(&self, candidates: &[Candidate], context: &PickContext<'_>) -> Option<usize> {
        let mut rng = Rng::seeded(context.random);
        let one = self.sequence.draw(candidates, context, || rng.bits())?;
        // No other can be less loaded. A comparison would prefer the heavier of two idle ones, so that weights would count twice.
        if candidates.get(one).map(RelativeLoad::of)?.is_idle() {
            return Some(one);
        }
        let other = self.sequence.draw_other(candidates, context, one, || rng.bits());
        Some(pick_of_two(candidates, one, other))
    }

    fn score(&self, candidates: &[Candidate], index: usize, _: &PickContext<'_>) -> Option<f64> {
        candidates.get(index).map(in_flight::score)
    }
}
