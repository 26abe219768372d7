//! Reads the clocks, which no other module does, and provides the coarse timers of a worker. Durations and deadlines use
//! the monotonic clock; the wall clock is for timestamps only, because it can jump.

mod wheel;

use std::time::{Instant, SystemTime};

pub use wheel::{TICK, Timer, TimerEvent, Wheel};

/// The current monotonic time.
#[allow(clippy::disallowed_methods, reason = "this is the one place that may read it")]
pub fn now() -> Instant {
    Instant::now()
}

/// The current wall-clock time, for timestamps.
#[allow(clippy::disallowed_methods, reason = "this is the one place that may read it")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}
