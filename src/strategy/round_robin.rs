//! Weighted round robin, exact under concurrency: all workers share one counter, and each of its values selects one slot of
//! the sequence.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::chance;

use super::sequence::Sequence;
use super::{Ask, Candidate, Strategy, Turn};

/// Makes the strategy for a set of eligible backends.
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
        // Not the next backend in the sequence: it would get all requests that its neighbour refuses. Nor the plain counter:
        // which backends are left depends on it, and the two can fall into step.
        let further = || self.turn.further.0.fetch_add(1, Ordering::Relaxed);
        self.sequence.draw(ask, || chance::spread(further()))
    }
}
