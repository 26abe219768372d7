//! Weighted round robin, exact under concurrency: all workers share one counter, and each of its values selects one slot of
//! the sequence.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::rng;
use crate::schema::Params;

use super::sequence::Sequence;
use super::{Candidate, Cursor, PickContext, Strategy};

/// Makes the strategy for a set of eligible backends.
pub(super) fn build(_: &Params, candidates: &[Candidate], cursor: &Arc<Cursor>) -> Box<dyn Strategy> {
    Box::new(RoundRobin {
        sequence: Sequence::new(candidates),
        cursor: Arc::clone(cursor),
    })
}

#[derive(Debug)]
struct RoundRobin {
    sequence: Sequence,
    cursor: Arc<Cursor>,
}

impl Strategy for RoundRobin {
    fn pick(&self, candidates: &[Candidate], context: &PickContext<'_>) -> Option<usize> {
        if context.tried.is_empty() {
            let count = self.cursor.first.0.fetch_add(1, Ordering::Relaxed);
            let due = self.sequence.at_position(count)?;
            if candidates
                .get(due)
                .is_some_and(|candidate| context.may_pick(candidate))
            {
                return Some(due);
            }
        }
        // Not the next backend in the sequence: it would get all requests that its neighbour refuses. Nor the plain counter:
        // which backends are left depends on it, and the two can fall into step.
        let further = || self.cursor.further.0.fetch_add(1, Ordering::Relaxed);
        self.sequence.draw(candidates, context, || rng::spread(further()))
    }
}
