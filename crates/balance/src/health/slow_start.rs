//! Slow start: a backend that comes back, or is added to a running pool, begins with a small part of its weight. Pure: its age is
//! an argument.

use std::time::Duration;

/// The whole weight, in steps. Weights are multiplied by this, so that the part of a backend of weight 1 is exact.
pub const WHOLE: u32 = 20;

/// The part with which a backend begins: a tenth of its weight. Less would leave so few requests in small pools that nothing
/// warms up.
pub const FIRST: u32 = 2;

/// Minimum time between two steps: each one builds the strategies of the pool anew.
const MIN_STEP: Duration = Duration::from_millis(250);

/// The part of its weight, in steps of [`WHOLE`], that a backend has at this age: it grows evenly from [`FIRST`] to the whole.
pub fn share(age: Duration, slow_start: Duration) -> u32 {
    if age >= slow_start {
        return WHOLE;
    }
    let grown = u128::from(WHOLE - FIRST) * age.as_nanos() / slow_start.as_nanos().max(1);
    // Below `WHOLE`, because the age is below the whole time.
    FIRST + grown as u32
}

/// Time between two steps.
pub fn step(slow_start: Duration) -> Duration {
    (slow_start / WHOLE).max(MIN_STEP)
}

/// The weights of candidates, in proportion to weight and share: as they are while all have the whole share.
pub fn weights<I>(backends: I) -> impl Iterator<Item = u32>
where
    I: Iterator<Item = (u32, u32)> + Clone,
{
    let is_scaled = backends.clone().any(|(_, share)| share < WHOLE);
    backends.map(move |(weight, share)| match is_scaled {
        true => weight.saturating_mul(share.clamp(1, WHOLE)),
        false => weight,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(15);

    #[test]
    fn begins_with_a_tenth_and_reaches_the_whole_in_time() {
        assert_eq!(share(Duration::ZERO, WINDOW), WHOLE / 10);
        assert_eq!(share(WINDOW, WINDOW), WHOLE);
        assert_eq!(share(WINDOW * 5, WINDOW), WHOLE);
        assert_eq!(share(Duration::ZERO, Duration::ZERO), WHOLE);
    }

    #[test]
    fn grows_evenly_and_is_never_ahead_of_the_time() {
        let mut last = 0;
        for milliseconds in 0..=15_000_u64 {
            let age = Duration::from_millis(milliseconds);
            let now = share(age, WINDOW);
            assert!(now == last || now == last + 1 || last == 0, "{age:?}");
            // In thousandths: a tenth, and nine tenths of the part of the time.
            let even = 100 + 900 * milliseconds / 15_000;
            let part = u64::from(now) * 1_000 / u64::from(WHOLE);
            assert!(part <= even && even - part <= 1_000 / u64::from(WHOLE), "{age:?}");
            last = now;
        }
    }

    #[test]
    fn steps_are_a_twentieth_of_the_time_and_not_too_many() {
        assert_eq!(step(WINDOW), Duration::from_millis(750));
        assert_eq!(step(Duration::from_secs(1)), MIN_STEP);
    }

    #[test]
    fn weights_stay_as_they_are_without_a_backend_in_slow_start() {
        let of = |backends: &[(u32, u32)]| weights(backends.iter().copied()).collect::<Vec<_>>();
        assert_eq!(of(&[(1, WHOLE), (3, WHOLE)]), [1, 3]);
        assert_eq!(of(&[(1, FIRST), (3, WHOLE)]), [2, 60]);
        assert_eq!(of(&[(1, WHOLE), (1, 10), (256, 0)]), [20, 10, 256]);
    }
}
