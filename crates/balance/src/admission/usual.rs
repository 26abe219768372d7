//! The usual latency of a pool: how long its backends take while nobody waits for them, and how long they take now. It decides
//! how long a request may wait in an overloaded pool.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::backend::Padded;

/// A new sample moves the averages by this part: 1/16, about the last 16 responses.
const SHIFT: u32 = 4;

/// How long after a request had to wait its pool is strained.
pub const STRAINED_FOR: Duration = Duration::from_secs(1);

/// Averages of latencies. Workers write them without a lock: a lost sample is one of many.
#[derive(Debug, Default)]
pub struct UsualLatency {
    /// Microseconds; 0 before the first sample.
    averages: Padded<Averages>,
}

#[derive(Debug, Default)]
struct Averages {
    usual: AtomicU64,
    recent: AtomicU64,
}

/// Latencies at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// While nobody waits.
    pub usual: Duration,
    /// Now.
    pub recent: Duration,
}

impl UsualLatency {
    /// Adds the latency of a response. While the pool is strained, which is up to [`STRAINED_FOR`] after a request had to wait, only
    /// the recent latency learns from it: that of a backend which is asked for all it can is not usual. Where it is known how long the
    /// backend takes while it is `idle`, that is usual: before any request has to wait, one with a limit that is not found yet is asked
    /// for more than it can.
    pub fn record(&self, latency: Duration, idle: Option<Duration>, is_strained: bool) {
        let averages = &self.averages.0;
        update(&averages.recent, micros(latency));
        if idle.is_some() || !is_strained || averages.usual.load(Ordering::Relaxed) == 0 {
            update(&averages.usual, micros(idle.unwrap_or(latency)));
        }
    }

    /// The latencies; `None` before the first sample.
    pub fn get(&self) -> Option<Latency> {
        let load = |average: &AtomicU64| Duration::from_micros(average.load(Ordering::Relaxed));
        let usual = load(&self.averages.0.usual);
        (!usual.is_zero()).then(|| Latency {
            usual,
            recent: load(&self.averages.0.recent),
        })
    }
}

impl Latency {
    /// How long a request may wait in an overloaded pool: twice the usual latency, less twice what the backends take longer than
    /// usual, so that a response comes within three times the usual latency, also from a backend that varies as much. At least half
    /// the usual latency.
    pub fn allowed_wait(self) -> Duration {
        let slower = self.recent.saturating_sub(self.usual);
        let allowed = self.usual.saturating_mul(2).saturating_sub(slower * 2);
        allowed.max(self.usual / 2)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}

fn update(average: &AtomicU64, micros: u64) {
    let before = average.load(Ordering::Relaxed);
    let after = match before {
        0 => micros,
        _ => before - (before >> SHIFT) + (micros >> SHIFT),
    };
    average.store(after.max(1), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn only_the_recent_latency_learns_while_requests_wait() {
        let latency = UsualLatency::default();
        assert_eq!(latency.get(), None);
        latency.record(10 * MS, None, false);
        for _ in 0..200 {
            latency.record(30 * MS, None, true);
        }
        let Latency { usual, recent } = latency.get().unwrap();
        assert_eq!(usual, 10 * MS);
        assert!(recent > 29 * MS && recent <= 30 * MS, "{recent:?}");
    }

    #[test]
    fn the_latency_of_an_idle_backend_is_usual() {
        let latency = UsualLatency::default();
        for is_strained in [false, true] {
            for _ in 0..100 {
                latency.record(40 * MS, Some(10 * MS), is_strained);
            }
            let Latency { usual, recent } = latency.get().unwrap();
            assert!(usual <= 10 * MS && usual > 9 * MS, "{usual:?}");
            assert!(recent > 39 * MS, "{recent:?}");
        }
    }

    #[test]
    fn the_allowed_wait_shrinks_as_backends_get_slower() {
        let allowed = |usual, recent| {
            let latency = Latency {
                usual: usual * MS,
                recent: recent * MS,
            };
            latency.allowed_wait()
        };
        assert_eq!(allowed(10, 10), 20 * MS);
        assert_eq!(allowed(10, 8), 20 * MS);
        assert_eq!(allowed(10, 15), 10 * MS);
        assert_eq!(allowed(10, 100), 5 * MS);
    }
}
