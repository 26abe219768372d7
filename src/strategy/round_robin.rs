//! Weighted round robin, exact under concurrency: one shared count, and every value of it is somebody's turn.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::chance;

use super::sequence::Sequence;
use super::{Ask, Candidate, Strategy, Turn};

/// Makes the strategy for a membership.
pub(super) fn build(candidates: &[Candidate], turn: &Arc<Turn>) -> Box<dyn Strategy> {
    Box::new(RoundRobin {
        sequence: Sequence::new(candidates),
        turn: Arc::clone(turn),
    })
}

#[derive(Debug)]
struct RoundRobin {
    sequence: Sequence,
    turn: Arc<Turn>,
}

impl Strategy for RoundRobin {
    fn pick(&self, ask: &Ask<'_>) -> Option<usize> {
        if ask.tried.is_empty() {
            let count = self.turn.first.0.fetch_add(1, Ordering::Relaxed);
            let due = self.sequence.at_turn(count)?;
            if ask.may_take(due) {
                return Some(due);
            }
        }
        // Not the next in line: it would get all that its neighbour cannot take. Nor the plain count: which backends
        // are left depends on the count, and the two can fall into step.
        let further = || self.turn.further.0.fetch_add(1, Ordering::Relaxed);
        self.sequence.draw(ask, || chance::spread(further()))
    }
}
