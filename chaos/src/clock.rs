//! The monotonic clock of the machine, which all processes of a run share. Times are microseconds.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Microseconds since the machine started.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds * 1_000_000 + nanoseconds / 1_000
}

/// Blocks the thread until the clock shows `time`.
pub fn sleep_until(time: u64) {
    std::thread::sleep(Duration::from_micros(time.saturating_sub(now())));
}

/// A duration as this clock counts.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
