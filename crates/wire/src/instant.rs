//! A moment of the monotonic clock, as a number of nanoseconds. The standard library's has seconds beside nanoseconds, so that each
//! of its differences is a call with branches; this one's is a subtraction, of which every request makes a dozen.

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// The zero of the clock, about 146 years after the earliest moment: also of a clock that has just been started, one can look back.
const ZERO: u64 = 1 << 62;

/// A moment of the monotonic clock. Moments outside the range, which has 584 years, are its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The moment at which the clock shows this number of nanoseconds.
    #[inline]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(ZERO.saturating_add(nanos))
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    #[inline]
    pub const fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// The same in nanoseconds.
    #[inline]
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment and a duration, if that is in range.
    #[inline]
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        self.0.checked_add(nanos(duration)).map(Self)
    }

    /// The moment that is a duration earlier, if that is in range.
    #[inline]
    pub fn checked_sub(self, duration: Duration) -> Option<Self> {
        self.0.checked_sub(nanos(duration)).map(Self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    #[inline]
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

impl AddAssign<Duration> for Instant {
    #[inline]
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    #[inline]
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }
}

impl Sub for Instant {
    type Output = Duration;

    #[inline]
    fn sub(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

/// Nanoseconds; those of more than 584 years are the most that there are.
#[inline]
fn nanos(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(u64::from(duration.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn differences_are_exact_and_never_negative() {
        let start = Instant::from_nanos(5);
        let later = start + SECOND + Duration::from_nanos(7);
        assert_eq!(later - start, Duration::new(1, 7));
        assert_eq!(later.nanos_since(start), 1_000_000_007);
        assert_eq!(start - later, Duration::ZERO);
        assert_eq!(later - SECOND, Instant::from_nanos(12));
        assert!(start < later && start.checked_add(SECOND).is_some());
    }

    #[test]
    fn one_can_look_back_from_the_start_of_the_clock() {
        let start = Instant::from_nanos(0);
        let century = SECOND * 60 * 60 * 24 * 365 * 100;
        assert_eq!(start - (start - century), century);
        assert_eq!(start.checked_sub(century), Some(start - century));
    }

    #[test]
    fn what_is_out_of_range_is_none_or_the_end() {
        let start = Instant::from_nanos(0);
        assert_eq!(start.checked_add(Duration::MAX), None);
        assert_eq!(start.checked_sub(Duration::MAX), None);
        assert_eq!(start + Duration::MAX, Instant::from_nanos(u64::MAX));
        assert_eq!(Instant::from_nanos(u64::MAX) + SECOND, start + Duration::MAX);
        assert!(start - Duration::MAX < start);
    }
}
