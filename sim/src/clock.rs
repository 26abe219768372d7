//! Virtual time: nanoseconds since the start of a run. The decisions that are simulated take an [`Instant`]; a run turns its
//! time into one of its own, so results depend on the seed alone.

use std::fmt;
use std::time::Duration;

use evenkeel_balance::instant::Instant;

/// A moment of a run, or a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time(pub u64);

impl Time {
    /// The start of a run.
    pub const ZERO: Self = Self(0);

    /// This number of milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// This number of seconds.
    pub const fn secs(secs: u64) -> Self {
        Self::millis(secs * 1_000)
    }

    /// This number of nanoseconds, rounded down; negative numbers are zero.
    pub fn nanos(nanos: f64) -> Self {
        Self(nanos as u64)
    }

    /// The time after a span.
    #[must_use]
    pub fn plus(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The span from `earlier` to this time.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// In seconds.
    pub fn as_secs(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// As a duration.
    pub fn duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// As the instant that decisions get.
    pub fn instant(self) -> Instant {
        Instant::from_nanos(self.0)
    }

    /// The time of an instant that a decision returned. Instants before the start are the start.
    pub fn at(instant: Instant) -> Self {
        Self(instant.nanos_since(Instant::from_nanos(0)))
    }

    /// The span of a duration.
    pub fn of(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000_000, self.0 / 1_000 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_the_way_through_an_instant() {
        for time in [Time::ZERO, Time(1), Time::millis(1_234), Time::secs(100_000)] {
            assert_eq!(Time::at(time.instant()), time);
        }
    }

    #[test]
    fn is_shown_in_seconds_with_microseconds() {
        assert_eq!(Time(12_003_004_567).to_string(), "12.003004");
    }
}
