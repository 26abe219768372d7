//! When data is fetched again: at its interval, sooner after failures and when a policy asks. Pure; time and randomness are
//! arguments.

use std::time::Duration;

use crate::clock::Instant;
use crate::rng;

/// Delay after the first failure. It doubles with each further one, up to the interval.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Minimum time between two fetches that a policy asks for.
const WANTED_INTERVAL: Duration = Duration::from_secs(10);

/// The schedule of one source.
#[derive(Debug)]
pub(super) struct Schedule {
    interval: Duration,
    /// When the last fetch began; `None` before the first.
    last: Option<Instant>,
    /// Delay of the next fetch after the last.
    delay: Duration,
    /// Number of failures since the last success.
    failures: u32,
    is_wanted: bool,
}

impl Schedule {
    /// The first fetch is due at once, the following at this interval.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            last: None,
            delay: Duration::ZERO,
            failures: 0,
            is_wanted: false,
        }
    }

    /// A policy asks for the data. It is remembered until it is due.
    pub(super) fn want(&mut self) {
        self.is_wanted = true;
    }

    /// Whether a fetch is due. If so, it begins now.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        let is_due = self.last.is_none_or(|last| {
            let since = now.saturating_duration_since(last);
            since >= self.delay || (self.is_wanted && since >= WANTED_INTERVAL)
        });
        if is_due {
            self.last = Some(now);
            self.is_wanted = false;
        }
        is_due
    }

    /// The fetch has succeeded or failed. `bits` are random, so that instances do not fetch in step.
    pub(super) fn end(&mut self, has_succeeded: bool, bits: u64) {
        let delay = match has_succeeded {
            true => {
                self.failures = 0;
                self.interval
            }
            false => {
                let factor = 2_u32.saturating_pow(self.failures);
                self.failures = self.failures.saturating_add(1);
                FIRST_RETRY.saturating_mul(factor).min(self.interval)
            }
        };
        self.delay = rng::jittered(delay, bits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    /// Bits that leave a duration as it is, almost.
    const MIDDLE: u64 = u64::MAX / 2;

    fn second(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn fetches_at_once_and_then_at_the_interval() {
        let start = clock::now();
        let mut schedule = Schedule::new(second(300));
        assert!(schedule.begin(start));
        schedule.end(true, MIDDLE);
        assert!(!schedule.begin(start + second(299)));
        assert!(schedule.begin(start + second(301)));
        schedule.end(true, 0);
        assert!(schedule.begin(start + second(301 + 270)), "a tenth earlier");
    }

    #[test]
    fn failures_are_retried_after_twice_the_time_each() {
        let mut now = clock::now();
        let mut schedule = Schedule::new(second(20));
        assert!(schedule.begin(now));
        for delay in [1, 2, 4, 8, 16, 20, 20] {
            schedule.end(false, MIDDLE);
            assert!(!schedule.begin(now + second(delay) - Duration::from_millis(10)));
            now += second(delay);
            assert!(schedule.begin(now), "{delay}");
        }
        schedule.end(true, MIDDLE);
        assert!(!schedule.begin(now + second(19)));
        assert!(schedule.begin(now + second(20)));
        for _ in 0..100 {
            schedule.end(false, u64::MAX);
        }
        assert!(schedule.begin(now + second(60)), "the delay is bounded");
    }

    #[test]
    fn a_wanted_fetch_waits_for_ten_seconds_since_the_last() {
        let start = clock::now();
        let mut schedule = Schedule::new(second(300));
        assert!(schedule.begin(start));
        schedule.end(true, MIDDLE);
        schedule.want();
        assert!(!schedule.begin(start + second(9)));
        assert!(schedule.begin(start + second(10)), "it is remembered");
        schedule.end(true, MIDDLE);
        assert!(!schedule.begin(start + second(30)), "it is followed once");
    }
}
