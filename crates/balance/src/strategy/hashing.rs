//! What strategies with affinity have in common: their parameters, and the choice among the backends in the order that a
//! request's key gives, which skips those that may not be picked or have their part of the load.

use crate::key::{FORM, Key as RequestKey};
use crate::rng::{Rng, below};
use crate::schema::{Form, Key, Kind, Params};

use super::bound::Bound;
use super::{Candidate, PickContext, Reads};

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "key",
        Kind::Text(Form::new(FORM).checked(|text| text.parse::<RequestKey>().is_ok())),
        "The part of a request that chooses its backend. Requests without it are distributed evenly.",
    )
    .default("client_ip"),
    Key::new(
        "load_factor",
        Kind::Decimal {
            least: 1_010,
            most: 10_000,
        },
        "How much more than the average a backend may have in flight for its weight, such as `1.25`. A backend at this bound is skipped, so \
         that a key with many requests does not overload it.",
    )
    .otherwise("no bound: a key stays with its backend whatever its load"),
];

/// What the score is.
pub(super) const SCORE: &str = "in flight / bound";

/// Backends that are asked in the order of the key. If none of these may be picked, what the key is for is lost anyway.
const MAX_STEPS: usize = 16;
/// Draws of any backend after that, before all candidates are scanned. Where a few keys have most requests, four of five backends may
/// be at a bound of 1.25, and 32 draws miss the fifth once in a thousand picks.
const MAX_DRAWS: usize = 32;

/// What picks read: nothing of the backends without a bound.
pub(super) fn reads(params: &Params) -> Reads {
    Reads {
        in_flight: Bound::factor(params).is_some(),
        latency: None,
    }
}

/// Where the keys of requests lead.
pub(super) trait Places {
    /// The candidates in the order that a key gives, the owner of the key first. Any of them may occur several times.
    fn in_order(&self, key: u64) -> impl Iterator<Item = usize>;

    /// The candidate that these random bits choose, by weight.
    fn at_random(&self, bits: u64) -> Option<usize>;
}

/// The candidate for a request: the first one in the order of its key that may be picked and is below the bound. If all are at the
/// bound, the first that may be picked.
pub(super) fn pick(
    places: &impl Places,
    bound: Option<&Bound>,
    candidates: &[Candidate],
    context: &PickContext<'_>,
) -> Option<usize> {
    let share = bound.map(|bound| bound.share(candidates, context.now));
    let mut second = None;
    let mut is_right = |index: &usize| {
        let Some(candidate) = candidates.get(*index).filter(|one| context.may_pick(one)) else {
            return false;
        };
        let is_below = share.is_none_or(|share| share.is_above(candidate));
        if !is_below {
            second.get_or_insert(*index);
        }
        is_below
    };
    let mut rng = Rng::seeded(context.random);
    let keyed = context.key.and_then(|key| {
        let mut first = places.in_order(key).take(MAX_STEPS);
        first.find(&mut is_right)
    });
    let found = keyed.or_else(|| {
        let mut drawn = (0..MAX_DRAWS).filter_map(|_| places.at_random(rng.bits()));
        drawn.find(&mut is_right)
    });
    let found = found.or_else(|| {
        let start = below(rng.bits(), candidates.len() as u64) as usize;
        (start..candidates.len()).chain(0..start).find(&mut is_right)
    });
    found.or(second)
}

/// The part of its bound that a candidate uses.
pub(super) fn score(
    bound: Option<&Bound>,
    candidates: &[Candidate],
    index: usize,
    context: &PickContext<'_>,
) -> Option<f64> {
    let share = bound?.share(candidates, context.now);
    candidates.get(index).map(|candidate| share.used(candidate))
}
