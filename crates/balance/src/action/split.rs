//! Chooses one of several pools by weight: exactly, like round robin, and not by chance.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::backend::Padded;
use crate::kept::KeptBuilder;
use crate::policy::BuildError;
use crate::schema::{ANY, Key, Kind, Params, Section, Value};
use crate::strategy::Sequence;

/// Largest weight.
const MAX_WEIGHT: u64 = 1_000_000;
/// Maximum number of pools.
const MAX_POOLS: usize = 64;

/// The keys of `split`.
pub const SECTION: Section = Section {
    name: "split",
    about: "Pools by name, each with its share of the requests. Shares are exact: of every 100 requests, `{ stable: 95, canary: 5 }` sends 5 to `canary`, evenly spread. A request keeps its pool over retries.",
    keys: &[Key::any(
        Kind::Count {
            least: 0,
            most: MAX_WEIGHT,
        },
        "The weight of the pool with this name, relative to the others. A pool of weight 0 gets no requests.",
    )],
};

/// Counts the requests of a split. Shared by all workers, and kept over reloads.
#[derive(Debug, Default)]
pub struct Cursor(Padded<AtomicU64>);

/// Pools with weights.
#[derive(Debug)]
pub struct Split {
    /// Those that get requests.
    pools: Box<[Box<str>]>,
    sequence: Sequence,
    cursor: Arc<Cursor>,
}

impl Split {
    /// The pools that the config asks for. `name` is that of the route: its cursor is kept over a reload by that.
    ///
    /// # Errors
    /// What is wrong, for the person who wrote it.
    pub fn build(params: &Params, name: &str, kept: &mut KeptBuilder) -> Result<Self, BuildError> {
        let weighted = params.any().iter().filter_map(|(pool, value)| match value {
            Value::Count(weight) => Some((pool, u32::try_from(*weight).unwrap_or(u32::MAX))),
            _ => None,
        });
        let (pools, weights): (Vec<Box<str>>, Vec<u32>) = weighted
            .filter(|(_, weight)| *weight > 0)
            .map(|(pool, weight)| (pool.as_str().into(), weight))
            .unzip();
        let message = match pools.len() {
            0 => "`split` requires a pool with a weight above 0".to_owned(),
            1..=MAX_POOLS => {
                return Ok(Self {
                    pools: pools.into(),
                    sequence: Sequence::of_weights(&weights),
                    cursor: kept.get_or_insert(&format!("split/{name}"), Cursor::default),
                });
            }
            _ => format!("`split` takes at most {MAX_POOLS} pools"),
        };
        Err(BuildError::of(ANY, message))
    }

    /// The names of the pools that get requests.
    pub fn pools(&self) -> impl ExactSizeIterator<Item = &str> {
        self.pools.iter().map(|pool| &**pool)
    }

    /// Chooses a pool for a new request: its position in [`Self::pools`]. A request that is tried again keeps its pool and does not
    /// ask again, or else the shares would not be exact.
    pub fn choose(&self) -> usize {
        let count = self.cursor.0.0.fetch_add(1, Ordering::Relaxed);
        // There is at least one pool, so there is a slot.
        self.sequence.at_position(count).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kept::Kept;

    fn params(weights: &[(&str, u64)]) -> Params {
        let weights = weights
            .iter()
            .map(|(pool, weight)| ((*pool).to_owned(), Value::Count(*weight)));
        let mut params = Params::default();
        params.set(ANY, Value::Named(weights.collect()));
        params
    }

    fn split(weights: &[(&str, u64)]) -> Split {
        Split::build(&params(weights), "api", &mut Kept::default().next()).unwrap()
    }

    fn counts(split: &Split, requests: usize) -> Vec<usize> {
        let mut counts = vec![0; split.pools().len()];
        for _ in 0..requests {
            counts[split.choose()] += 1;
        }
        counts
    }

    #[test]
    fn shares_are_exact_and_spread() {
        let split = split(&[("stable", 95), ("canary", 5)]);
        assert_eq!(split.pools().collect::<Vec<_>>(), ["stable", "canary"]);
        for _ in 0..5 {
            assert_eq!(counts(&split, 20), [19, 1]);
        }
    }

    #[test]
    fn a_pool_of_weight_zero_gets_nothing() {
        let split = split(&[("a", 0), ("b", 7)]);
        assert_eq!(split.pools().collect::<Vec<_>>(), ["b"]);
        assert_eq!(counts(&split, 3), [3]);
        for weights in [&[][..], &[("a", 0)]] {
            assert!(Split::build(&params(weights), "api", &mut Kept::default().next()).is_err());
        }
    }

    #[test]
    fn the_number_of_pools_is_bounded() {
        let names: Vec<String> = (0..=MAX_POOLS).map(|index| index.to_string()).collect();
        let weights: Vec<_> = names.iter().map(|name| (&**name, 1)).collect();
        assert!(Split::build(&params(&weights), "api", &mut Kept::default().next()).is_err());
    }

    #[test]
    fn a_reload_goes_on_where_it_was() {
        let weights = params(&[("a", 1), ("b", 1)]);
        let mut next = Kept::default().next();
        let first = Split::build(&weights, "api", &mut next).unwrap();
        let kept = next.finish();
        let one = first.choose();
        let second = Split::build(&weights, "api", &mut kept.next()).unwrap();
        assert_ne!(second.choose(), one);
    }

    #[test]
    fn shares_are_exact_over_all_workers() {
        let split = split(&[("a", 3), ("b", 1)]);
        let mut total = [0; 2];
        std::thread::scope(|scope| {
            let workers = [(); 4].map(|()| scope.spawn(|| counts(&split, 1_000)));
            for worker in workers {
                let counts = worker.join().unwrap();
                total[0] += counts[0];
                total[1] += counts[1];
            }
        });
        assert_eq!(total, [3_000, 1_000]);
    }

    proptest! {
        #[test]
        fn each_round_has_exactly_the_weights(weights in prop::collection::vec(1_u64..50, 1..6)) {
            let names: Vec<String> = (0..weights.len()).map(|index| index.to_string()).collect();
            let named: Vec<_> = names.iter().map(String::as_str).zip(weights.iter().copied()).collect();
            let total = weights.iter().sum::<u64>() as usize;
            let expected: Vec<_> = weights.iter().map(|weight| *weight as usize).collect();
            prop_assert_eq!(counts(&split(&named), total), expected);
        }
    }
}
