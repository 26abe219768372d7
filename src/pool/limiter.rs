//! The adaptive limit of one backend, as its workers share it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::admission::{Adaptive, Gradient, Sample};
use crate::backend::Load;
use crate::clock::Instant;

/// Finds the limit of a backend. Outlives reloads with its backend.
#[derive(Debug, Default)]
pub struct Limiter {
    state: Mutex<State>,
    /// The limit for the status; 0 before the first response.
    limit: AtomicU32,
    /// The latency of the idle backend in microseconds; 0 while it is not known.
    idle: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    gradient: Gradient,
    /// What the active config says. Requests that began before a reload may know another mode.
    mode: Adaptive,
}

impl Limiter {
    /// Learns from an attempt at the backend. Returns whether the limit that it enforces has grown. A sample that comes while
    /// another worker adds one is skipped: no request waits for a lock.
    pub fn learn(&self, sample: Sample, load: &Load, now: Instant, random: u64) -> bool {
        let Ok(mut state) = self.state.try_lock() else {
            return false;
        };
        let mode = state.mode;
        if mode == Adaptive::Off {
            return false;
        }
        let has_changed = state.gradient.add(sample, now, random);
        let limit = state.gradient.limit();
        // Stored only after a window: each response would otherwise take the cache line from the workers that read it. The mode may
        // have changed meanwhile, so that what is shown or enforced is another limit.
        let is_enforced = mode != Adaptive::On || load.limit() == limit;
        if !has_changed && is_enforced && self.limit.load(Ordering::Relaxed) == limit {
            return false;
        }
        self.limit.store(limit, Ordering::Relaxed);
        let idle = state.gradient.idle_latency().unwrap_or_default();
        self.idle.store(idle.as_micros() as u64, Ordering::Relaxed);
        mode == Adaptive::On && load.set_limit(limit) < limit
    }

    /// Follows what the config says. A limit that is not enforced any more is lifted at once, and one that is not even observed is
    /// forgotten: when the mode changes again, the backend may be another one in all but its address. Control plane only.
    pub fn adapt(&self, mode: Adaptive, load: &Load) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.mode = mode;
        if mode != Adaptive::On {
            load.set_limit(u32::MAX);
        }
        if mode == Adaptive::Off {
            state.gradient = Gradient::default();
            self.limit.store(0, Ordering::Relaxed);
            self.idle.store(0, Ordering::Relaxed);
        }
    }

    /// The limit that was found; `None` before the first response.
    pub fn limit(&self) -> Option<u32> {
        Some(self.limit.load(Ordering::Relaxed)).filter(|limit| *limit > 0)
    }

    /// How long the backend takes while it is idle, if that is known.
    pub fn idle_latency(&self) -> Option<Duration> {
        let idle = Duration::from_micros(self.idle.load(Ordering::Relaxed));
        Some(idle).filter(|idle| !idle.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    /// A backend that refuses requests for ten seconds.
    fn refuse(limiter: &Limiter, load: &Load) {
        let start = clock::now();
        for step in 0..100 {
            let sample = Sample {
                latency: Duration::from_millis(1),
                is_overload: true,
                in_flight: 1,
            };
            limiter.learn(sample, load, start + Duration::from_millis(100) * step, 0);
        }
    }

    /// A response arrives after 1 ms.
    fn respond(limiter: &Limiter, load: &Load) {
        let sample = Sample {
            latency: Duration::from_millis(1),
            is_overload: false,
            in_flight: 1,
        };
        limiter.learn(sample, load, clock::now(), 0);
    }

    #[test]
    fn a_limit_that_is_not_enforced_any_more_stays_lifted_while_older_requests_end() {
        for mode in [Adaptive::Observe, Adaptive::Off] {
            let (limiter, load) = (Limiter::default(), Load::default());
            limiter.adapt(Adaptive::On, &load);
            refuse(&limiter, &load);
            assert!(load.limit() < 5, "{}", load.limit());
            limiter.adapt(mode, &load);
            assert_eq!(load.limit(), u32::MAX);
            refuse(&limiter, &load);
            assert_eq!(load.limit(), u32::MAX, "{mode:?}");
            assert_eq!(limiter.limit().is_some(), mode == Adaptive::Observe);
        }
    }

    #[test]
    fn a_limit_from_before_it_was_turned_off_is_not_used_again() {
        let (limiter, load) = (Limiter::default(), Load::default());
        limiter.adapt(Adaptive::On, &load);
        refuse(&limiter, &load);
        limiter.adapt(Adaptive::Off, &load);
        assert_eq!((limiter.limit(), limiter.idle_latency()), (None, None));
        limiter.adapt(Adaptive::On, &load);
        respond(&limiter, &load);
        assert_eq!(load.limit(), Gradient::default().limit());
    }

    #[test]
    fn a_limit_that_was_observed_is_enforced_with_the_first_response() {
        let (limiter, load) = (Limiter::default(), Load::default());
        limiter.adapt(Adaptive::Observe, &load);
        refuse(&limiter, &load);
        let observed = limiter.limit().unwrap();
        assert!(observed < 5 && load.limit() == u32::MAX, "{observed}");
        limiter.adapt(Adaptive::On, &load);
        respond(&limiter, &load);
        assert_eq!(load.limit(), observed);
    }
}
