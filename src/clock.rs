//! The only place that reads a clock. Durations and deadlines come from the monotonic clock; the wall clock serves
//! stamps only, because it jumps.

use std::time::{Instant, SystemTime};

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
