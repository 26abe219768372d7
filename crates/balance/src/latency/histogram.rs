//! Response times of the last minute in buckets, written by one worker and read by anybody, without an atomic read-modify-write.
//!
//! The first [`ALL`] times of a generation are counted one by one. After that every [`STEP`]th stands for those before it: a worker
//! with many requests then spends 15 instructions on most of them and 70 on the others, and the figures stay as good.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Buckets for each doubling of the time, so that one is at most an eighth wide.
const PER_DOUBLING: u32 = 8;
/// Times below `2^LEAST` ns (66 µs) share the first bucket.
const LEAST: u32 = 16;
/// Times of `2^MOST` ns (69 s) and more share the last one.
const MOST: u32 = 36;
const BUCKETS: usize = ((MOST - LEAST) * PER_DOUBLING) as usize;

/// A generation is `2^GENERATION_SHIFT` s long, so that a shift finds its number.
const GENERATION_SHIFT: u32 = 5;

/// So many times of a generation are all counted.
const ALL: u32 = 1_024;
/// What one time stands for after these.
const STEP: u32 = 8;

/// What counts is not older than this: the current generation and the one before.
pub const WINDOW: Duration = Duration::from_secs(2 << GENERATION_SHIFT);

/// Two generations that take turns.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    /// Times that are passed over before the next one is counted.
    passed_over: AtomicU32,
    generations: [Generation; 2],
}

/// The times of one generation.
#[derive(Debug)]
struct Generation {
    /// Its number, as [`number`] counts; 0 before its first time.
    number: AtomicU64,
    /// Times that were counted and not passed over.
    counted: AtomicU32,
    counts: [AtomicU32; BUCKETS],
}

/// The times of some backends and workers, added up.
#[derive(Debug, Clone)]
pub struct Distribution {
    counts: [u64; BUCKETS],
}

impl Histogram {
    /// Counts a time. Only the worker that the histogram belongs to may.
    #[inline]
    pub(super) fn add(&self, took: Duration, elapsed: impl FnOnce() -> Duration) {
        match self.passed_over.load(Ordering::Relaxed) {
            0 => self.count(took, elapsed()),
            left => self.passed_over.store(left - 1, Ordering::Relaxed),
        }
    }

    /// A number that grows with every time that is added: the generations that have begun, then the times of the current ones.
    pub(super) fn progress(&self) -> u64 {
        let sum = |of: fn(&Generation) -> u64| self.generations.iter().map(of).sum::<u64>();
        let begun = sum(|generation| generation.number.load(Ordering::Relaxed));
        let counted = sum(|generation| u64::from(generation.counted.load(Ordering::Relaxed)));
        let passed_over = u64::from(self.passed_over.load(Ordering::Relaxed));
        // Those of a generation are far fewer than 2^40.
        (begun << 40) + (counted * u64::from(STEP)).saturating_sub(passed_over)
    }

    fn count(&self, took: Duration, elapsed: Duration) {
        let number = number(elapsed);
        let [even, odd] = &self.generations;
        let generation = if number & 1 == 0 { even } else { odd };
        if generation.number.load(Ordering::Relaxed) != number {
            generation.restart(number);
        }
        let step = if add(&generation.counted, 1) <= ALL {
            1
        } else {
            STEP
        };
        self.passed_over.store(step - 1, Ordering::Relaxed);
        if let Some(count) = generation.counts.get(bucket(took)) {
            add(count, step);
        }
    }

    /// Adds the generations of the window. While the worker begins a new one, a reader may see a part of the old one.
    pub(super) fn add_to(&self, distribution: &mut Distribution, elapsed: Duration) {
        let newest = number(elapsed);
        for generation in &self.generations {
            // A reader whose clock is a little behind sees one from the future.
            if generation.number.load(Ordering::Relaxed) + 1 < newest {
                continue;
            }
            for (sum, count) in distribution.counts.iter_mut().zip(&generation.counts) {
                *sum += u64::from(count.load(Ordering::Relaxed));
            }
        }
    }
}

impl Generation {
    #[cold]
    fn restart(&self, number: u64) {
        for count in self.counts.iter().chain([&self.counted]) {
            count.store(0, Ordering::Relaxed);
        }
        self.number.store(number, Ordering::Relaxed);
    }
}

impl Default for Generation {
    fn default() -> Self {
        Self {
            number: AtomicU64::new(0),
            counted: AtomicU32::new(0),
            counts: [const { AtomicU32::new(0) }; BUCKETS],
        }
    }
}

impl Distribution {
    /// Number of times.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The time that this part of all times does not exceed, such as 0.95; exact to about 6 %. `None` if there are no times.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let count = self.count();
        let rank = ((part.clamp(0.0, 1.0) * count as f64).ceil() as u64).max(1);
        let mut below = 0;
        for (bucket, number) in self.counts.iter().enumerate() {
            if below + number >= rank {
                let (start, end) = (start_of(bucket as u32), start_of(bucket as u32 + 1));
                let share = (rank - below) as f64 / *number as f64;
                return Some(Duration::from_nanos(
                    start + ((end - start) as f64 * share) as u64,
                ));
            }
            below += number;
        }
        None
    }
}

impl Default for Distribution {
    /// That of no times.
    fn default() -> Self {
        Self { counts: [0; BUCKETS] }
    }
}

/// Adds to a counter that only one worker writes, and returns the sum.
#[inline]
fn add(counter: &AtomicU32, number: u32) -> u32 {
    let sum = counter.load(Ordering::Relaxed).wrapping_add(number);
    counter.store(sum, Ordering::Relaxed);
    sum
}

/// The number of the generation of this moment. Not 0, which is that of no generation.
#[inline]
fn number(elapsed: Duration) -> u64 {
    (elapsed.as_secs() >> GENERATION_SHIFT) + 2
}

#[inline]
fn bucket(took: Duration) -> usize {
    let secs = took.as_secs().min(1 << 8);
    let nanos = (secs * 1_000_000_000 + u64::from(took.subsec_nanos())).clamp(1 << LEAST, (1 << MOST) - 1);
    let doubling = nanos.ilog2();
    // The leading bit and the three below it: 8 to 15.
    let leading = (nanos >> (doubling - PER_DOUBLING.ilog2())) as u32;
    ((doubling - LEAST) * PER_DOUBLING + leading - PER_DOUBLING) as usize
}

/// The shortest time of a bucket, in nanoseconds.
fn start_of(bucket: u32) -> u64 {
    let (doubling, leading) = (
        bucket / PER_DOUBLING + LEAST,
        bucket % PER_DOUBLING + PER_DOUBLING,
    );
    u64::from(leading) << (doubling - PER_DOUBLING.ilog2())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_its_bucket_and_buckets_are_an_eighth_wide() {
        let mut nanos = 1_u64 << LEAST;
        while nanos < 1 << MOST {
            let index = bucket(Duration::from_nanos(nanos)) as u32;
            let (start, end) = (start_of(index), start_of(index + 1));
            assert!((start..end).contains(&nanos), "{nanos}: {start} to {end}");
            assert!((end - start) * 8 <= start, "{start} to {end}");
            nanos += nanos / 50 + 1;
        }
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
        assert_eq!(start_of(BUCKETS as u32), 1 << MOST);
    }

    #[test]
    fn quantiles_are_exact_to_a_tenth() {
        let histogram = Histogram::default();
        for millis in 1..=1_000 {
            histogram.add(Duration::from_millis(millis), || Duration::ZERO);
        }
        let mut distribution = Distribution::default();
        histogram.add_to(&mut distribution, Duration::ZERO);
        assert_eq!(distribution.count(), 1_000);
        for part in [0.01, 0.1, 0.5, 0.9, 0.95, 0.99, 1.0] {
            let found = distribution.quantile(part).unwrap().as_secs_f64();
            assert!((found / part - 1.0).abs() < 0.1, "{part}: {found}");
        }
    }

    #[test]
    fn many_times_are_counted_in_steps_and_keep_their_shares() {
        let histogram = Histogram::default();
        let mut rng = crate::rng::Rng::seeded(1);
        let mut add = |times: u32, elapsed| {
            for _ in 0..times {
                let is_slow = crate::rng::below(rng.bits(), 50) == 0;
                let took = Duration::from_millis(if is_slow { 100 } else { 1 });
                histogram.add(took, || elapsed);
            }
        };
        add(100_000, Duration::ZERO);
        let mut distribution = Distribution::default();
        histogram.add_to(&mut distribution, Duration::ZERO);
        assert!(distribution.count().abs_diff(100_000) < u64::from(STEP));
        assert!(distribution.quantile(0.975).unwrap() < Duration::from_millis(2));
        assert!(distribution.quantile(0.985).unwrap() > Duration::from_millis(90));
        // A worker with few requests in the next generation counts all of them, but for the first ones.
        add(100, WINDOW / 2);
        let mut later = Distribution::default();
        histogram.add_to(&mut later, WINDOW);
        assert!(later.count() > 100 - u64::from(STEP), "{}", later.count());
    }

    #[test]
    fn a_generation_is_forgotten_after_the_next_one() {
        let histogram = Histogram::default();
        let took = Duration::from_millis(1);
        let count = |elapsed| {
            let mut distribution = Distribution::default();
            histogram.add_to(&mut distribution, elapsed);
            distribution.count()
        };
        let mut elapsed = Duration::ZERO;
        for round in 0..5 {
            histogram.add(took, || elapsed);
            assert_eq!(count(elapsed), if round == 0 { 1 } else { 2 });
            elapsed += WINDOW / 2;
        }
        assert_eq!(count(elapsed), 1);
        assert_eq!(count(elapsed + WINDOW / 2), 0);
    }
}
