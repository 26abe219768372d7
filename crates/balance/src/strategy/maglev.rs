//! Consistent hashing: requests with the same key go to the same backend, and when a backend leaves or comes back, few of the
//! others' requests move. The table of slots is filled as in Google's Maglev load balancer (Eisenbud et al., NSDI 2016): backends
//! take turns, by weight, and each takes its next preferred slot that is free. All instances with the same backends agree.

use std::sync::Arc;

use super::{Candidate, Cursor, PickContext, Strategy};
use crate::key::{FORM, Key as RequestKey};
use crate::rng::{Rng, below, mix};
use crate::schema::{Form, Key, Kind, Params};

pub(super) const KEYS: &[Key] = &[Key::new(
    "key",
    Kind::Text(Form::new(FORM).checked(|text| text.parse::<RequestKey>().is_ok())),
    "The part of a request that chooses its backend. Requests without it go to any backend.",
)
.default("client_ip")];

/// Numbers of slots, all prime, so that every preference visits every slot. A backend gets its share of the slots to about 1 %
/// when there are a hundred slots for each.
const SIZES: [u32; 4] = [1_021, 16_381, 131_071, 1_048_573];
/// Slots for one backend.
const SLOTS_EACH: usize = 100;
/// Draws of other slots before all candidates are scanned instead.
const MAX_DRAWS: usize = 16;

/// Makes the strategy for a set of eligible backends.
pub(super) fn build(_: &Params, candidates: &[Candidate], _: &Arc<Cursor>) -> Box<dyn Strategy> {
    Box::new(Maglev {
        slots: slots(candidates),
    })
}

#[derive(Debug)]
struct Maglev {
    /// Indices of candidates.
    slots: Box<[u32]>,
}

impl Strategy for Maglev {
    fn pick(&self, candidates: &[Candidate], context: &PickContext<'_>) -> Option<usize> {
        let may_pick = |index: &usize| {
            let candidate = candidates.get(*index);
            candidate.is_some_and(|candidate| context.may_pick(candidate))
        };
        // The order of the others depends on the key alone too, so that they take over the same requests each time.
        let mut rng = Rng::seeded(context.key.unwrap_or(context.random));
        let mut drawn = (0..MAX_DRAWS).filter_map(|_| self.at(rng.bits()));
        drawn.find(may_pick).or_else(|| {
            let start = below(rng.bits(), candidates.len() as u64) as usize;
            (start..candidates.len()).chain(0..start).find(may_pick)
        })
    }
}

impl Maglev {
    fn at(&self, bits: u64) -> Option<usize> {
        let slot = below(bits, self.slots.len() as u64);
        self.slots.get(slot as usize).map(|index| *index as usize)
    }
}

/// One candidate's preferences: every slot, in an order of its own.
struct Preference {
    next: u64,
    step: u64,
    /// Turns that it has in a round of all candidates, in thousandths.
    turns: u64,
    credit: u64,
}

fn slots(candidates: &[Candidate]) -> Box<[u32]> {
    let wanted = candidates.len().saturating_mul(SLOTS_EACH);
    let fits = SIZES.iter().find(|size| **size as usize >= wanted);
    let size = fits.or(SIZES.last()).copied().unwrap_or(1);
    let heaviest = candidates
        .iter()
        .map(|candidate| candidate.weight)
        .max()
        .unwrap_or(1);
    let mut preferences: Vec<Preference> = candidates
        .iter()
        .map(|candidate| Preference::new(candidate, u64::from(size), heaviest))
        .collect();
    let mut slots = vec![u32::MAX; size as usize];
    let mut free = if candidates.is_empty() { 0 } else { slots.len() };
    while free > 0 {
        for (index, preference) in preferences.iter_mut().enumerate() {
            preference.credit += preference.turns;
            if preference.credit < 1_000 || free == 0 {
                continue;
            }
            preference.credit -= 1_000;
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
    fn new(candidate: &Candidate, size: u64, heaviest: u32) -> Self {
        let hash = mix(candidate.identity);
        Self {
            next: below(hash, size),
            step: 1 + below(mix(hash ^ candidate.identity.rotate_left(32)), size - 1),
            turns: u64::from(candidate.weight.max(1)) * 1_000 / u64::from(heaviest.max(1)),
            credit: 0,
        }
    }

    /// Takes the next preferred slot that is free; there is one.
    fn take(&mut self, slots: &mut [u32], index: u32) {
        let size = slots.len() as u64;
        for _ in 0..size {
            let slot = slots.get_mut(self.next as usize);
            self.next = (self.next + self.step) % size;
            if let Some(slot) = slot.filter(|slot| **slot == u32::MAX) {
                *slot = index;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::candidates;
    use super::*;

    fn picks(candidates: &[Candidate], keys: u64) -> Vec<u64> {
        let strategy = build(&Params::default(), candidates, &Arc::default());
        let pick = |key: u64| {
            let context = PickContext {
                tried: &[],
                in_flight_limit: None,
                key: Some(mix(key)),
                random: 0,
                now: crate::clock::now(),
            };
            let index = strategy.pick(candidates, &context).unwrap();
            candidates[index].identity
        };
        (0..keys).map(pick).collect()
    }

    #[test]
    fn a_key_stays_with_its_backend_and_few_others_move_when_one_leaves() {
        let mut candidates = candidates(&[1; 10]);
        let before = picks(&candidates, 10_000);
        assert_eq!(before, picks(&candidates, 10_000));
        let gone = candidates.remove(4).identity;
        let after = picks(&candidates, 10_000);
        let pairs = || before.iter().zip(&after).filter(|(before, _)| **before != gone);
        let moved = pairs().filter(|(before, after)| before != after).count();
        assert!(
            moved * 100 < pairs().count() * 5,
            "{moved} of {}",
            pairs().count()
        );
    }

    #[test]
    fn the_order_of_backends_hardly_matters() {
        let mut candidates = candidates(&[1; 10]);
        let before = picks(&candidates, 10_000);
        candidates.reverse();
        let after = picks(&candidates, 10_000);
        let moved = before.iter().zip(&after).filter(|(one, other)| one != other);
        assert!(moved.count() < 500);
    }

    #[test]
    fn a_backend_that_cannot_be_picked_is_replaced_by_the_same_one_each_time() {
        let candidates = candidates(&[1; 5]);
        let strategy = build(&Params::default(), &candidates, &Arc::default());
        for key in 0..200 {
            let pick = |tried: &[crate::backend::BackendId]| {
                let context = PickContext {
                    tried,
                    in_flight_limit: None,
                    key: Some(key),
                    random: key * 31,
                    now: crate::clock::now(),
                };
                strategy.pick(&candidates, &context).unwrap()
            };
            let first = candidates[pick(&[])].load.id;
            assert_eq!(pick(&[first]), pick(&[first]));
            assert_ne!(candidates[pick(&[first])].load.id, first);
        }
    }
}
