//! The adaptive limit of one backend, as its workers share it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::admission::{Adaptive, Gradient, Sample};
use crate::backend::Load;

/// Finds the limit of a backend. Outlives reloads with its backend.
#[derive(Debug, Default)]
pub struct Limiter {
    gradient: Mutex<Gradient>,
    /// The limit for the status; 0 before the first response.
    limit: AtomicU32,
    /// The latency of the idle backend in microseconds; 0 while it is not known.
    idle: AtomicU64,
}

impl Limiter {
    /// Learns from an attempt at the backend. Returns whether the limit that it enforces has grown. A sample that comes while
    /// another worker adds one is skipped: no request waits for a lock.
    pub fn learn(&self, sample: Sample, (mode, load): (Adaptive, &Load), now: Instant, random: u64) -> bool {
        let Ok(mut gradient) = self.gradient.try_lock() else {
            return false;
        };
        let has_changed = gradient.add(sample, now, random);
        let limit = gradient.limit();
        // Stored only after a window: each response would otherwise take the cache line from the workers that read it. The mode may
        // have changed meanwhile, so that what is shown or enforced is another limit.
        let is_enforced = mode != Adaptive::On || load.limit() == limit;
        if !has_changed && is_enforced && self.limit.load(Ordering::Relaxed) == limit {
            return false;
        }
        self.limit.store(limit, Ordering::Relaxed);
        let idle = gradient.idle_latency().unwrap_or_default();
        self.idle.store(idle.as_micros() as u64, Ordering::Relaxed);
        mode == Adaptive::On && load.set_limit(limit) < limit
    }

    /// Shows no limit until it learns again.
    pub fn forget(&self) {
        self.limit.store(0, Ordering::Relaxed);
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
