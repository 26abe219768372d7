//! The bound of consistent hashing with bounded loads (Mirrokni et al., 2016): a backend may have `load_factor` times the average number
//! of requests in flight for its weight, rounded up.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use evenkeel_wire::instant::Instant;

use crate::backend::Padded;
use crate::schema::Params;

use super::Candidate;
use super::in_flight::in_flight;

/// With at most so many candidates all are counted for each pick. With more, the sum is kept until as many picks as half of the
/// candidates have used it, each of which adds one: it is then too high by the requests that have ended meanwhile, less than one for
/// a backend.
const COUNTED_EACH_TIME: usize = 16;
/// What a sum is older than when it is not used any more.
const MAX_AGE_MILLIS: u64 = 10;
/// The used part of a bound from which on it counts as used up: 1, less what the rounding of its computation may amount to.
const USED_UP: f64 = 1.0 - 1e-9;

/// The bound of a set of candidates.
#[derive(Debug)]
pub(super) struct Bound {
    factor: f64,
    total_weight: f64,
    origin: OnceLock<Instant>,
    sum: Padded<Sum>,
}

/// All requests in flight at the candidates, as some pick has counted them.
#[derive(Debug, Default)]
struct Sum {
    requests: AtomicU64,
    /// Picks since then.
    picks: AtomicU64,
    /// When that was, in milliseconds after the origin, plus 1; 0 before the first time.
    time: AtomicU64,
}

/// The bound for a weight of 1 at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share(f64);

impl Bound {
    /// The load factor of these parameters, if there is one.
    pub(super) fn factor(params: &Params) -> Option<f64> {
        params.decimal("load_factor")
    }

    /// The bound for these candidates; `None` without a load factor.
    pub(super) fn of(params: &Params, candidates: &[Candidate]) -> Option<Self> {
        let weights = candidates
            .iter()
            .map(|candidate| f64::from(candidate.weight.max(1)));
        Some(Self {
            factor: Self::factor(params)?,
            total_weight: weights.sum(),
            origin: OnceLock::new(),
            sum: Padded::default(),
        })
    }

    /// The bound for one more request.
    pub(super) fn share(&self, candidates: &[Candidate], now: Instant) -> Share {
        let requests = match candidates.len() <= COUNTED_EACH_TIME {
            true => count(candidates),
            false => self.sum(candidates, now),
        };
        Share(self.factor * (requests + 1) as f64 / self.total_weight)
    }

    fn sum(&self, candidates: &[Candidate], now: Instant) -> u64 {
        let Sum {
            requests,
            picks,
            time,
        } = &self.sum.0;
        let origin = *self.origin.get_or_init(|| now);
        let now = now.saturating_duration_since(origin).as_millis() as u64 + 1;
        let picked = picks.fetch_add(1, Ordering::Relaxed);
        let counted = time.load(Ordering::Relaxed);
        if counted != 0 && now <= counted + MAX_AGE_MILLIS && picked < candidates.len() as u64 / 2 {
            return requests.load(Ordering::Relaxed) + picked;
        }
        // Another worker may do the same at the same time, and either result is good.
        let sum = count(candidates);
        requests.store(sum, Ordering::Relaxed);
        picks.store(1, Ordering::Relaxed);
        time.store(now, Ordering::Relaxed);
        sum
    }
}

impl Share {
    /// Whether one more request keeps the candidate within its bound. Rounding up makes no difference to a whole number below it.
    pub(super) fn is_above(self, candidate: &Candidate) -> bool {
        self.used(candidate) < USED_UP
    }

    /// The part of the bound that is used.
    pub(super) fn used(self, candidate: &Candidate) -> f64 {
        f64::from(in_flight(candidate)) / (self.0 * f64::from(candidate.weight.max(1)))
    }
}

fn count(candidates: &[Candidate]) -> u64 {
    candidates
        .iter()
        .map(|candidate| u64::from(in_flight(candidate)))
        .sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn candidate(weight: u32, in_flight: u32) -> Candidate {
        let candidate = Candidate {
            identity: 0,
            load: Arc::default(),
            weight,
        };
        candidate.load.in_flight.0.store(in_flight, Ordering::Relaxed);
        candidate
    }

    #[test]
    fn a_candidate_at_its_bound_is_not_below_it() {
        // For a weight of 5, 14, and a little more as computed: 104 requests, a factor of 1.04 and weights of 39 in all.
        let share = Share(1.04 * 105.0 / 39.0);
        assert!(!share.is_above(&candidate(5, 14)));
        assert!(share.is_above(&candidate(5, 13)));
    }
}
