//! Expands weights into a list of slots, so that a weighted choice is one lookup. Each backend has as many slots as its
//! weight, spread as evenly as possible. Also draws another candidate when the first choice may not be picked, for all
//! strategies.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::rng;

use super::{Candidate, PickContext};

/// Maximum number of slots: 1,024 backends of the highest weight fit exactly, in 1 MiB. Above it weights are scaled down.
const MAX_SLOTS: u64 = 1 << 18;

/// Draws for a second candidate that differs from the first.
const SECOND_DRAWS: usize = 4;

/// Draws before all candidates are scanned instead. If half of them may not be picked, the scan is needed once in 65,536
/// picks.
const MAX_DRAWS: usize = 16;

/// A slot that was not placed yet: its time, the index of its backend, its number, and the share of the backend.
type Next = (u64, u32, u64, u64);

/// Indices of candidates, each as often as its weight.
#[derive(Debug)]
pub(crate) struct Sequence {
    slots: Box<[u32]>,
}

impl Sequence {
    /// The sequence of backends by their weights.
    pub(super) fn new(candidates: &[Candidate]) -> Self {
        let weights: Vec<u32> = candidates.iter().map(|candidate| candidate.weight).collect();
        Self::of_weights(&weights)
    }

    /// Orders the slots so that after every number of picks, each backend has its exact part of them to less than one pick: slot
    /// number `k` of a backend of weight `w` may come after `k / w` of a round, and is due after `(k + 1) / w`. Of those that may come,
    /// the earliest deadline is next, which keeps all deadlines (Baruah et al., "Proportionate Progress", 1996).
    pub(crate) fn of_weights(weights: &[u32]) -> Self {
        let shares = shares(weights);
        let total: u64 = shares.iter().sum();
        let from = |number: u64, share: u64| number * total / share;
        let due = |number: u64, share: u64| ((number + 1) * total).div_ceil(share);
        let mut slots = Vec::with_capacity(total as usize);
        // The next slot of each backend is in one of them: by the time from which it may come, or by its deadline.
        let (mut later, mut ready) = (BinaryHeap::<Reverse<Next>>::new(), BinaryHeap::new());
        let backends = shares.iter().zip(0_u32..);
        ready.extend(backends.map(|(share, index)| Reverse((due(0, *share), index, 0, *share))));
        for now in 0..total {
            while let Some(Reverse((_, index, number, share))) = pop_until(&mut later, now) {
                ready.push(Reverse((due(number, share), index, number, share)));
            }
            let Some(Reverse((_, index, number, share))) = ready.pop() else {
                break;
            };
            slots.push(index);
            let next = number + 1;
            if next < share {
                later.push(Reverse((from(next, share), index, next, share)));
            }
        }
        Self { slots: slots.into() }
    }

    /// The candidate of the slot that this count selects.
    pub(crate) fn at_position(&self, count: u64) -> Option<usize> {
        let slot = count.checked_rem(self.slots.len() as u64)?;
        self.slots.get(slot as usize).map(|index| *index as usize)
    }

    /// The candidate of the slot that these random bits select; uniform bits respect the weights.
    pub(super) fn at_random(&self, bits: u64) -> Option<usize> {
        let slot = rng::below(bits, self.slots.len() as u64);
        self.slots.get(slot as usize).map(|index| *index as usize)
    }

    /// Draws a candidate that may be picked, with new `bits` for each draw. Redrawing keeps the proportions among the remaining
    /// candidates, so none inherits the share of a neighbour.
    pub(super) fn draw(
        &self,
        candidates: &[Candidate],
        context: &PickContext<'_>,
        mut bits: impl FnMut() -> u64,
    ) -> Option<usize> {
        let may_pick = |index: &usize| {
            candidates
                .get(*index)
                .is_some_and(|candidate| context.may_pick(candidate))
        };
        let drawn = (0..MAX_DRAWS)
            .filter_map(|_| self.at_random(bits()))
            .find(may_pick);
        drawn.or_else(|| draw_by_scan(candidates, context, bits()))
    }

    /// Draws a candidate that may be picked and differs from the one that was drawn first. If a few draws by weight find none, because
    /// there are few candidates or the first is heavy, one of the others gets a chance whatever its weight. `None` if that one may not
    /// be picked either.
    #[inline]
    pub(super) fn draw_other(
        &self,
        candidates: &[Candidate],
        context: &PickContext<'_>,
        first: usize,
        mut bits: impl FnMut() -> u64,
    ) -> Option<usize> {
        let may_pick = |other: &usize| {
            *other != first
                && candidates
                    .get(*other)
                    .is_some_and(|candidate| context.may_pick(candidate))
        };
        let drawn = (0..SECOND_DRAWS)
            .filter_map(|_| self.at_random(bits()))
            .find(may_pick);
        drawn.or_else(|| {
            let others = candidates.len().checked_sub(1)?;
            let other = first + 1 + rng::below(bits(), others as u64) as usize;
            Some(other % candidates.len()).filter(may_pick)
        })
    }
}

/// The next slot whose time has come.
fn pop_until(later: &mut BinaryHeap<Reverse<Next>>, now: u64) -> Option<Reverse<Next>> {
    let Reverse((time, ..)) = later.peek()?;
    if *time <= now { later.pop() } else { None }
}

/// Scans all candidates and chooses by weight among those that may be picked: for when few of many are left.
fn draw_by_scan(candidates: &[Candidate], context: &PickContext<'_>, bits: u64) -> Option<usize> {
    let weights = || {
        let candidates = candidates.iter().enumerate();
        candidates
            .filter(|(_, candidate)| context.may_pick(candidate))
            .map(|(index, candidate)| (index, u64::from(candidate.weight.max(1))))
    };
    let mut left = rng::below(bits, weights().map(|(_, weight)| weight).sum());
    // In-flight counts can change between the two passes; the last candidate seen is then as good as any.
    let mut last = None;
    for (index, weight) in weights() {
        if left < weight {
            return Some(index);
        }
        left -= weight;
        last = Some(index);
    }
    last
}

/// The weights in lowest terms, scaled down if they exceed [`MAX_SLOTS`] together. Each is at least 1.
fn shares(weights: &[u32]) -> Vec<u64> {
    let weights = || weights.iter().map(|weight| u64::from((*weight).max(1)));
    let divisor = weights().fold(0, greatest_common_divisor).max(1);
    let total = weights().sum::<u64>() / divisor;
    weights()
        .map(|weight| {
            let share = weight / divisor;
            if total <= MAX_SLOTS {
                share
            } else {
                ((u128::from(share) * u128::from(MAX_SLOTS) / u128::from(total)) as u64).max(1)
            }
        })
        .collect()
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::super::conformance::candidates;
    use super::*;

    fn slots(weights: &[u32]) -> Vec<u32> {
        Sequence::new(&candidates(weights)).slots.into_vec()
    }

    #[test]
    fn equal_weights_get_one_slot_each() {
        assert_eq!(slots(&[7, 7, 7]), [0, 1, 2]);
    }

    #[test]
    fn slots_of_a_heavy_backend_are_spread_out() {
        assert_eq!(slots(&[4, 2, 2]), [0, 1, 0, 2]);
        assert_eq!(slots(&[1, 5]), [1, 1, 1, 1, 0, 1]);
        assert_eq!(slots(&[3, 1, 1, 1]), [0, 1, 0, 2, 0, 3]);
    }

    #[test]
    fn no_backends_make_no_slots() {
        let sequence = Sequence::new(&[]);
        assert_eq!((sequence.at_position(5), sequence.at_random(5)), (None, None));
    }

    #[test]
    fn scales_down_too_many_slots_and_keeps_every_backend() {
        let mut weights = vec![1_000_003; 40];
        weights.extend([1; 40]);
        let slots = slots(&weights);
        assert!(slots.len() as u64 <= MAX_SLOTS + weights.len() as u64);
        for index in 0..weights.len() as u32 {
            assert!(slots.contains(&index), "{index}");
        }
    }
}
