//! Reads the clocks, which no other module does, and provides the timers of a worker: coarse ones in a wheel, and exact ones for what
//! is rare. Durations and deadlines use the monotonic clock; the wall clock is for timestamps only, because it can jump.

mod sleep;
mod wheel;

use std::sync::OnceLock;
use std::time::SystemTime;

pub use evenkeel_wire::instant::Instant;
pub use sleep::{Sleep, SleepDriver, sleep, timeout, timeout_at};
pub use wheel::{TICK, Timer, TimerEvent, Wheel};

/// The current monotonic time.
#[inline]
#[allow(clippy::disallowed_methods, reason = "this is the one place that may read it")]
pub fn now() -> Instant {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    let now = std::time::Instant::now();
    let since = now.saturating_duration_since(*START.get_or_init(|| now));
    Instant::from_nanos(since.as_nanos() as u64)
}

/// A moment as the standard library and the runtime have it, for their timers. One that has passed is the current time.
#[allow(clippy::disallowed_methods, reason = "this is the one place that may read it")]
pub fn to_std(at: Instant) -> std::time::Instant {
    let left = at.saturating_duration_since(now());
    let now = std::time::Instant::now();
    now.checked_add(left).unwrap_or(now)
}

/// The current wall-clock time, for timestamps.
#[allow(clippy::disallowed_methods, reason = "this is the one place that may read it")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}
