//! Rates of backends, from the counters of two statuses.

use crate::clock::Instant;
use std::collections::HashMap;
use std::time::Duration;

use super::model::{BackendKey, ProcessKey};
use crate::admin::{PoolStatus, Status};

/// Shortest time that a rate is computed over: over less it jumps.
const SHORTEST: Duration = Duration::from_millis(300);

/// Attempts at a backend or a pool, per second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rate {
    pub(super) attempts: f64,
    pub(super) failures: f64,
}

/// The rates of all backends.
#[derive(Debug, Default)]
pub(super) struct Rates {
    counts: HashMap<BackendKey, (u64, u64)>,
    /// When they were counted, and in which process.
    counted: Option<(Instant, ProcessKey)>,
    rates: HashMap<BackendKey, Rate>,
}

impl Rates {
    /// Takes the counters of a status that was received at `at`.
    pub(super) fn update(&mut self, status: &Status, at: Instant) {
        let counts: HashMap<_, _> = backends(status).collect();
        let process = ProcessKey::of(status);
        match &self.counted {
            Some((before, of)) if *of == process => {
                let time = at.saturating_duration_since(*before);
                if time < SHORTEST {
                    return;
                }
                let known = counts.iter().filter_map(|(key, now)| {
                    let rate = rate(*self.counts.get(key)?, *now, time)?;
                    Some((key.clone(), rate))
                });
                self.rates = known.collect();
            }
            _ => self.rates.clear(),
        }
        (self.counts, self.counted) = (counts, Some((at, process)));
    }

    /// The rate of a backend; `None` until it was counted twice.
    pub(super) fn of(&self, key: &BackendKey) -> Option<Rate> {
        self.rates.get(key).copied()
    }

    /// The rate of a pool.
    pub(super) fn of_pool(&self, pool: &PoolStatus) -> Rate {
        let keys = pool.backends.iter().map(|backend| key(pool, &backend.url));
        let rates = keys.filter_map(|key| self.of(&key));
        rates.fold(Rate::default(), |sum, rate| Rate {
            attempts: sum.attempts + rate.attempts,
            failures: sum.failures + rate.failures,
        })
    }
}

/// The key of a backend of this pool.
pub(super) fn key(pool: &PoolStatus, url: &str) -> BackendKey {
    BackendKey {
        pool: pool.name.clone(),
        url: url.to_owned(),
    }
}

fn backends(status: &Status) -> impl Iterator<Item = (BackendKey, (u64, u64))> {
    status.pools.iter().flat_map(|pool| {
        let backends = pool.backends.iter();
        backends.map(move |backend| (key(pool, &backend.url), (backend.attempts, backend.failures)))
    })
}

/// `None` when the counters began anew.
fn rate(before: (u64, u64), now: (u64, u64), time: Duration) -> Option<Rate> {
    let per_second = |count: u64| count as f64 / time.as_secs_f64();
    Some(Rate {
        attempts: per_second(now.0.checked_sub(before.0)?),
        failures: per_second(now.1.checked_sub(before.1)?),
    })
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn rates_are_those_between_two_statuses_of_one_process() {
        let start = crate::clock::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut status = example::status(1, 2);
        let key = key(&status.pools[0], &status.pools[0].backends[0].url);
        let mut rates = Rates::default();
        rates.update(&status, at(0));
        assert_eq!(rates.of(&key), None);
        status.pools[0].backends[0].attempts += 20;
        status.pools[0].backends[0].failures += 4;
        rates.update(&status, at(2));
        let expected = Rate {
            attempts: 10.0,
            failures: 2.0,
        };
        assert_eq!(rates.of(&key), Some(expected));
        assert_eq!(rates.of_pool(&status.pools[0]), expected);
        // Right after an action there is another status.
        rates.update(&status, at(2) + SHORTEST / 2);
        assert_eq!(rates.of(&key), Some(expected));
        // In a container, another process has the same id. It may have made more attempts already.
        status.process.started = (std::time::UNIX_EPOCH + Duration::from_secs(1)).into();
        status.pools[0].backends[0].attempts += 20;
        rates.update(&status, at(4));
        assert_eq!(rates.of(&key), None);
        status.process.pid += 1;
        status.pools[0].backends[0].attempts += 20;
        rates.update(&status, at(6));
        assert_eq!(rates.of(&key), None);
    }
}
