//! Consistent hashing: requests with the same key go to the same backend, and when a backend leaves or comes back, few of the
//! others' requests move. The table of slots is filled as in Google's Maglev load balancer (Eisenbud et al., NSDI 2016): backends
//! take turns, by weight, and each takes its next preferred slot that is free. All instances with the same backends agree.

use std::sync::Arc;

use crate::rng::{Rng, below, mix};
use crate::schema::Params;

use super::bound::Bound;
use super::hashing::{self, Places};
use super::{Candidate, Cursor, PickContext, Strategy};

/// Numbers of slots, both prime, so that every preference visits every slot. A backend gets its share of the slots to about 1 %
/// when there are a hundred slots for each. With another number of slots most requests move, so that there are only two: it happens
/// where the number of backends crosses 655.
const SIZES: [u32; 2] = [65_537, 1_048_573];
/// Slots for one backend.
const SLOTS_EACH: usize = 100;

/// Makes the strategy for a set of eligible backends.
pub(super) fn build(params: &Params, candidates: &[Candidate], _: &Arc<Cursor>) -> Box<dyn Strategy> {
    Box::new(Maglev {
        slots: Slots(slots(candidates)),
        bound: Bound::of(params, candidates),
    })
}

#[derive(Debug)]
struct Maglev {
    slots: Slots,
    bound: Option<Bound>,
}

/// Indices of candidates.
#[derive(Debug)]
struct Slots(Box<[u32]>);

impl Strategy for Maglev {
    fn pick(&self, candidates: &[Candidate], context: &PickContext<'_>) -> Option<usize> {
        hashing::pick(&self.slots, self.bound.as_ref(), candidates, context)
    }

    fn score(&self, candidates: &[Candidate], index: usize, context: &PickContext<'_>) -> Option<f64> {
        hashing::score(self.bound.as_ref(), candidates, index, context)
    }
}

impl Places for Slots {
    /// Those after the first depend on the key alone too, so that they take over the same requests each time.
    fn in_order(&self, key: u64) -> impl Iterator<Item = usize> {
        let mut rng = Rng::seeded(key);
        std::iter::from_fn(move || self.at_random(rng.bits()))
    }

    fn at_random(&self, bits: u64) -> Option<usize> {
        let slot = below(bits, self.0.len() as u64);
        self.0.get(slot as usize).map(|index| *index as usize)
    }
}

/// One candidate's preferences: every slot, in an order of its own.
struct Preference {
    next: u64,
    step: u64,
    /// Its weight is added in each round of all candidates; the weight of the heaviest is the price of a turn.
    credit: u64,
    weight: u64,
}

fn slots(candidates: &[Candidate]) -> Box<[u32]> {
    let wanted = candidates.len().saturating_mul(SLOTS_EACH);
    let fits = SIZES.iter().find(|size| **size as usize >= wanted);
    let size = fits.or(SIZES.last()).copied().unwrap_or(1);
    let heaviest = candidates
        .iter()
        .map(|candidate| u64::from(candidate.weight.max(1)))
        .max()
        .unwrap_or(1);
    let mut preferences: Vec<Preference> = candidates
        .iter()
        .map(|candidate| Preference::new(candidate, u64::from(size)))
        .collect();
    let mut slots = vec![u32::MAX; size as usize];
    let mut free = if candidates.is_empty() { 0 } else { slots.len() };
    while free > 0 {
        for (index, preference) in preferences.iter_mut().enumerate() {
            preference.credit += preference.weight;
            if preference.credit < heaviest || free == 0 {
                continue;
            }
            preference.credit -= heaviest;
            preference.take(&mut slots, index as u32);
            free -= 1;
        }
    }
    match candidates.is_empty() {
        true => Box::default(),
        false => slots.into(),
    }
}

impl Preference {
    fn new(candidate: &Candidate, size: u64) -> Self {
        let hash = mix(candidate.identity);
        Self {
            next: below(hash, size),
            step: 1 + below(mix(hash ^ candidate.identity.rotate_left(32)), size - 1),
            credit: 0,
            weight: u64::from(candidate.weight.max(1)),
        }
    }

    /// Takes the next preferred slot that is free; there is one.
    fn take(&mut self, slots: &mut [u32], index: u32) {
        let size = slots.len() as u64;
        for _ in 0..size {
            let slot = slots.get_mut(self.next as usize);
            self.next += self.step;
            if self.next >= size {
                self.next -= size;
            }
            if let Some(slot) = slot.filter(|slot| **slot == u32::MAX) {
                *slot = index;
                return;
            }
        }
    }
}
