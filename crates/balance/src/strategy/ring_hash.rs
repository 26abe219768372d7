//! Consistent hashing on a ring: each backend has points on it, by its weight, and a request goes to the backend of the next point after its
//! key. When a backend leaves, only its own requests move, and they spread over all others; shares are less even than those of
//! `maglev`. Points depend on the identity of a backend alone, so all instances with the same backends agree.

use std::sync::Arc;

use crate::rng::{Rng, below, mix};
use crate::schema::Params;

use super::bound::Bound;
use super::hashing::{self, Places};
use super::{Candidate, Cursor, PickContext, Strategy};

/// Points of a backend for each unit of its weight: the share of a backend of weight 1 is exact to about 6 %.
const POINTS_EACH: u64 = 256;
/// Maximum number of points, in 3 MiB; a few more if each backend needs at least one. Above it backends have fewer, and when one
/// leaves the others get its points, so that twice as many requests move as necessary.
const MAX_POINTS: u64 = 1 << 18;

/// Builds the strategy for a set of eligible backends.
pub(super) fn build(params: &Params, candidates: &[Candidate], _: &Arc<Cursor>) -> Box<dyn Strategy> {
    Box::new(RingHash {
        ring: Ring::new(candidates),
        bound: Bound::of(params, candidates),
    })
}

#[derive(Debug)]
struct RingHash {
    ring: Ring,
    bound: Option<Bound>,
}

impl Strategy for RingHash {
    fn pick(&self, candidates: &[Candidate], context: &PickContext<'_>) -> Option<usize> {
        hashing::pick(&self.ring, self.bound.as_ref(), candidates, context)
    }

    fn score(&self, candidates: &[Candidate], index: usize, context: &PickContext<'_>) -> Option<f64> {
        hashing::score(self.bound.as_ref(), candidates, index, context)
    }
}

/// Points in the order of their positions.
#[derive(Debug)]
struct Ring {
    positions: Box<[u32]>,
    /// The candidate of each point.
    owners: Box<[u32]>,
    /// Where the points of each of the equal arcs begin, of which there are about as many as points: so that a point is found with
    /// one look-up and a step or two.
    arcs: Box<[u32]>,
    /// Bits of a position below those that choose the arc.
    shift: u32,
}

impl Ring {
    fn new(candidates: &[Candidate]) -> Self {
        let points = points(candidates);
        let bits = points.len().max(1).next_power_of_two().ilog2();
        let shift = u32::BITS - bits;
        let position = |point: &u64| (point >> 32) as u32;
        let mut arcs = Vec::with_capacity(1 << bits);
        let mut next = 0;
        for arc in 0..1_u64 << bits {
            while points
                .get(next)
                .is_some_and(|point| u64::from(position(point)) < arc << shift)
            {
                next += 1;
            }
            arcs.push(next as u32);
        }
        Self {
            positions: points.iter().map(position).collect(),
            owners: points.iter().map(|point| *point as u32).collect(),
            arcs: arcs.into(),
            shift,
        }
    }

    /// Index of the first point that is not before this position; past the last one if there is none.
    fn find(&self, position: u32) -> usize {
        let arc = (u64::from(position) >> self.shift) as usize;
        let start = self.arcs.get(arc).map_or(0, |start| *start as usize);
        let rest = self.positions.get(start..).unwrap_or_default();
        let before = rest.iter().take_while(|point| **point < position).count();
        start + before
    }
}

impl Places for Ring {
    fn in_order(&self, key: u64) -> impl Iterator<Item = usize> {
        let start = self.find((mix(key) >> 32) as u32);
        let (before, after) = self.owners.split_at_checked(start).unwrap_or_default();
        let mut last = None;
        let owners = after.iter().chain(before);
        owners.filter_map(move |owner| (last.replace(*owner) != Some(*owner)).then_some(*owner as usize))
    }

    /// Any point: shares are then exact, which those of positions are not.
    fn at_random(&self, bits: u64) -> Option<usize> {
        let point = below(bits, self.owners.len() as u64);
        self.owners.get(point as usize).map(|owner| *owner as usize)
    }
}

/// The points in their order: positions in the upper halves, and indices of candidates in the lower ones.
fn points(candidates: &[Candidate]) -> Vec<u64> {
    let weight = |candidate: &Candidate| u64::from(candidate.weight.max(1));
    let total = candidates.iter().map(weight).sum::<u64>();
    let number = |candidate: &Candidate| match total * POINTS_EACH <= MAX_POINTS {
        true => weight(candidate) * POINTS_EACH,
        false => (weight(candidate) * MAX_POINTS / total).max(1),
    };
    // The order of the candidates must not decide which of two points at the same position comes first.
    let mut by_identity: Vec<usize> = (0..candidates.len()).collect();
    by_identity.sort_unstable_by_key(|index| candidates.get(*index).map(|candidate| candidate.identity));
    let mut points = Vec::new();
    for (rank, candidate) in by_identity
        .iter()
        .filter_map(|index| candidates.get(*index))
        .enumerate()
    {
        let mut rng = Rng::seeded(mix(candidate.identity));
        let position = || rng.bits() >> 32 << 32;
        points.extend(
            std::iter::repeat_with(position)
                .take(number(candidate) as usize)
                .map(|position| position | rank as u64),
        );
    }
    points.sort_unstable();
    for point in &mut points {
        let index = by_identity
            .get(*point as u32 as usize)
            .copied()
            .unwrap_or_default();
        *point = *point >> 32 << 32 | index as u64;
    }
    points
}
