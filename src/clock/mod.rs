//! The only place that reads a clock, and the coarse timers of a worker. Durations and deadlines come from the
//! monotonic clock; the wall clock serves stamps only, because it jumps.

mod wheel;

use std::time::{Instant, SystemTime};

pub use wheel::{Alarm, Ring, TICK, Wheel};

/// The monotonic now.
#[allow(clippy::disallowed_methods, reason = "this is the one place that may read it")]
pub fn now() -> Instant {
    Instant::now()
}

/// The wall clock's now, for stamps.
#[allow(clippy::disallowed_methods, reason = "this is the one place that may read it")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}
