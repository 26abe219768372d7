//! Weighted random. It has no state, so workers share nothing. The distribution is even only over many requests.

use std::sync::Arc;

use crate::chance::Chance;

use super::sequence::Sequence;
use super::{Ask, Candidate, Strategy, Turn};

/// Makes the strategy for a set of eligible backends.
pub(super) fn build(candidates: &[Candidate], _: &Arc<Turn>) -> Box<dyn Strategy> {
    Box::new(Random {
        sequence: Sequence::new(candidates),
    })
}

#[derive(Debug)]
struct Random {
    sequence: Sequence,
}

impl Strategy for Random {
    fn pick(&self, ask: &Ask<'_>) -> Option<usize> {
        let mut chance = Chance::seeded(ask.random);
        self.sequence.draw(ask, || chance.bits())
    }
}
