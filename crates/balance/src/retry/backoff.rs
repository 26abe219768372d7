//! How long a request waits before it is sent to a backend again that it was sent to before. Pure: chance is an argument.

use std::time::Duration;

/// The bounds of these waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest first wait.
    pub base: Duration,
    /// The longest wait.
    pub most: Duration,
}

impl Backoff {
    /// No wait at all.
    pub const NONE: Self = Self {
        base: Duration::ZERO,
        most: Duration::ZERO,
    };

    /// The wait after `waits` earlier ones of the same request: uniformly distributed from 0 up to a bound that doubles each time.
    /// With full jitter the requests that failed together do not come back together.
    pub fn wait(self, waits: u32, random: u64) -> Duration {
        let doubled = 2_u32
            .checked_pow(waits)
            .and_then(|factor| self.base.checked_mul(factor));
        let bound = doubled.unwrap_or(self.most).min(self.most);
        crate::rng::part(bound, random)
    }
}

impl Default for Backoff {
    /// 25 ms is longer than most backends need for a request, and 250 ms short enough for somebody who waits.
    fn default() -> Self {
        Self {
            base: Duration::from_millis(25),
            most: Duration::from_millis(250),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_longest_wait() {
        let longest = [0, 1, 2, 3, 4, 31, 32, u32::MAX]
            .map(|waits| Backoff::default().wait(waits, u64::MAX).as_millis());
        assert_eq!(longest, [25, 50, 100, 200, 250, 250, 250, 250]);
    }

    #[test]
    fn a_wait_may_be_as_short_as_nothing() {
        assert_eq!(Backoff::default().wait(3, 0), Duration::ZERO);
        assert_eq!(Backoff::NONE.wait(9, u64::MAX), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn a_wait_is_within_its_bounds(base in 0_u64..10_000, more in 0_u64..10_000, waits: u32, random: u64) {
            let backoff = Backoff {
                base: Duration::from_millis(base),
                most: Duration::from_millis(base + more),
            };
            let wait = backoff.wait(waits, random);
            prop_assert!(wait <= backoff.most);
            prop_assert!(waits > 0 || wait <= backoff.base);
        }
    }
}
