//! A fast random number generator for jitter and for choosing backends. Not for secrets. Deterministic once seeded, so a
//! simulation can be repeated from its seed.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The odd increment of SplitMix64: 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// A SplitMix64 generator: one addition and one mix per number; any seed is good.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// Makes a generator that returns the same numbers for the same seed.
    #[inline]
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Makes a generator with a random seed, different from every other one in this and in other processes.
    #[inline]
    pub fn fresh() -> Self {
        Self(RandomState::new().hash_one(0_u8))
    }

    /// The next 64 uniform bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }
}

/// Mixes 64 bits so that the result looks unrelated to them; a bijection.
#[inline]
pub fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// Maps a counter to a position in the whole 64-bit range, in steps of the golden ratio. Neighbouring counts land far
/// apart, and any evenly spaced subset of counts fills the range evenly too.
#[inline]
pub fn spread(count: u64) -> u64 {
    count.wrapping_mul(GOLDEN)
}

/// Scales 64 uniform bits to `0..bound` without a division. Returns 0 when `bound` is 0.
#[inline]
pub fn below(bits: u64, bound: u64) -> u64 {
    ((u128::from(bits) * u128::from(bound)) >> 64) as u64
}

/// A random duration from zero to `duration`, both included, in whole microseconds.
#[inline]
pub fn part(duration: Duration, bits: u64) -> Duration {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(below(bits, micros.saturating_add(1)))
}

/// A duration plus or minus up to a tenth, so that timers started together do not stay in step.
#[inline]
pub fn jittered(duration: Duration, bits: u64) -> Duration {
    let tenth = duration / 10;
    duration - tenth + part(tenth * 2, bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let numbers = |seed| {
            let mut rng = Rng::seeded(seed);
            [rng.bits(), rng.bits(), rng.bits()]
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
    }

    #[test]
    fn fresh_generators_differ() {
        assert_ne!(Rng::fresh().bits(), Rng::fresh().bits());
    }

    #[test]
    fn below_stays_below_and_reaches_both_ends() {
        assert_eq!(below(0, 10), 0);
        assert_eq!(below(u64::MAX, 10), 9);
        assert_eq!(below(u64::MAX, 0), 0);
    }

    #[test]
    fn spread_fills_the_range_evenly_also_for_every_third_count() {
        for step in [1, 2, 3, 7] {
            let mut halves = [0_u32; 2];
            for count in 0..1_000 {
                halves[below(spread(count * step), 2) as usize] += 1;
            }
            assert!(halves[0].abs_diff(halves[1]) <= 12, "step {step}: {halves:?}");
        }
    }

    #[test]
    fn jitter_is_a_tenth_to_both_sides() {
        let second = Duration::from_secs(1);
        assert_eq!(jittered(second, 0), Duration::from_millis(900));
        assert_eq!(jittered(second, u64::MAX), Duration::from_millis(1_100));
        assert_eq!(jittered(Duration::ZERO, u64::MAX), Duration::ZERO);
    }
}
