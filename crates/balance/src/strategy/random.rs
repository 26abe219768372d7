//! Weighted random. It has no state, so workers share nothing. The distribution is even only over many requests.

use std::sync::Arc;

use crate::rng::Rng;
use crate::schema::Params;

use super::sequence::Sequence;
use super::{Candidate, Cursor, PickContext, Strategy};

/// Makes the strategy for a set of eligible backends.
pub(super) fn build(_: &Params, candidates: &[Candidate], _: &Arc<Cursor>) -> Box<dyn Strategy> {
    Box::new(Random {
        sequence: Sequence::new(candidates),
    })
}

#[derive(Debug)]
struct Random {
    sequence: Sequence,
}

impl Strategy for Random {
    fn pick(&self, candidates: &[Candidate], context: &PickContext<'_>) -> Option<usize> {
        let mut rng = Rng::seeded(context.random);
        self.sequence.draw(candidates, context, || rng.bits())
    }
}
