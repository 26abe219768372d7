//! Histograms of durations.

use std::time::Duration;

use super::Counter;

/// Inclusive upper bounds of duration histograms in microseconds: 100 µs to 60 s, each at most 1.2 times the one before, so
/// that a percentile is within 10% of the truth. They include the round ones that objectives use.
pub const DURATION_BOUNDS: [u64; 82] = [
    100, 120, 140, 160, 190, 220, 250, 300, 350, 420, 500, 600, 700, 840, 1_000, 1_200, 1_400, 1_600, 1_900,
    2_200, 2_500, 3_000, 3_500, 4_200, 5_000, 6_000, 7_000, 8_400, 10_000, 12_000, 14_000, 16_000, 19_000,
    22_000, 25_000, 30_000, 35_000, 42_000, 50_000, 60_000, 70_000, 84_000, 100_000, 120_000, 140_000,
    160_000, 190_000, 220_000, 250_000, 300_000, 350_000, 420_000, 500_000, 600_000, 700_000, 840_000,
    1_000_000, 1_200_000, 1_400_000, 1_600_000, 1_900_000, 2_200_000, 2_500_000, 3_000_000, 3_500_000,
    4_200_000, 5_000_000, 6_000_000, 7_000_000, 8_400_000, 10_000_000, 12_000_000, 14_000_000, 16_000_000,
    19_000_000, 22_000_000, 25_000_000, 30_000_000, 35_000_000, 42_000_000, 50_000_000, 60_000_000,
];

/// A duration and its bucket, which is looked up once for all histograms that it is added to.
#[derive(Debug, Clone, Copy)]
pub struct DurationSample {
    bucket: usize,
    micros: u64,
}

impl DurationSample {
    /// Looks up the bucket of a duration.
    #[inline]
    pub fn new(duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self {
            bucket: bucket_of(micros),
            micros,
        }
    }
}

/// A histogram of durations.
#[derive(Debug)]
pub struct Histogram {
    /// One for each bound and one for longer durations; not cumulative.
    buckets: [Counter; DURATION_BOUNDS.len() + 1],
    /// Sum in microseconds.
    sum: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [const { Counter::new() }; DURATION_BOUNDS.len() + 1],
            sum: Counter::new(),
        }
    }
}

impl Histogram {
    /// Adds one duration.
    pub fn record(&self, duration: Duration) {
        self.add(DurationSample::new(duration));
    }

    /// Adds one duration whose bucket is known.
    #[inline]
    pub fn add(&self, sample: DurationSample) {
        if let Some(bucket) = self.buckets.get(sample.bucket) {
            bucket.increment();
        }
        self.sum.add(sample.micros);
    }

    /// The number of durations in each bucket, not cumulative, and their sum in microseconds.
    pub fn values(&self) -> ([u64; DURATION_BOUNDS.len() + 1], u64) {
        let mut counts = [0; DURATION_BOUNDS.len() + 1];
        for (count, bucket) in counts.iter_mut().zip(&self.buckets) {
            *count = bucket.value();
        }
        (counts, self.sum.value())
    }

    /// The values of several histograms together.
    pub fn merged<'a>(histograms: impl Iterator<Item = &'a Self>) -> ([u64; DURATION_BOUNDS.len() + 1], u64) {
        let (mut counts, mut sum) = ([0_u64; DURATION_BOUNDS.len() + 1], 0_u64);
        for histogram in histograms {
            let (more, micros) = histogram.values();
            for (count, more) in counts.iter_mut().zip(more) {
                *count = count.wrapping_add(more);
            }
            sum = sum.wrapping_add(micros);
        }
        (counts, sum)
    }
}

/// Durations of an eighth of a doubling share an entry: 2^6 to 2^26 µs cover all bounds.
const FIRST_DOUBLING: u32 = DURATION_BOUNDS[0].ilog2();
#[allow(clippy::indexing_slicing, reason = "it is evaluated by the compiler")]
const LAST_DOUBLING: u32 = DURATION_BOUNDS[DURATION_BOUNDS.len() - 1].ilog2();
const ENTRIES: usize = 8 * (LAST_DOUBLING - FIRST_DOUBLING + 1) as usize;

/// The bucket of the shortest duration of each entry. Those of the others are at most two further on, since a bound is more than an
/// eighth of a doubling after the one before.
static FIRST_BUCKETS: [u8; ENTRIES] = first_buckets();

#[allow(clippy::indexing_slicing, reason = "it is evaluated by the compiler")]
const fn first_buckets() -> [u8; ENTRIES] {
    let mut buckets = [0; ENTRIES];
    let (mut entry, mut bucket) = (0, 0);
    while entry < ENTRIES {
        let shortest = (8 + entry as u64 % 8) << (FIRST_DOUBLING - 3 + entry as u32 / 8);
        while bucket < DURATION_BOUNDS.len() && DURATION_BOUNDS[bucket] < shortest {
            bucket += 1;
        }
        buckets[entry] = bucket as u8;
        entry += 1;
    }
    buckets
}

/// The first bucket whose bound is not below.
#[inline]
fn bucket_of(micros: u64) -> usize {
    if micros <= DURATION_BOUNDS[0] {
        return 0;
    }
    let doubling = micros.ilog2();
    let entry = ((doubling - FIRST_DOUBLING) * 8) as usize + (micros >> (doubling - 3)) as usize - 8;
    let first = FIRST_BUCKETS.get(entry).copied();
    let mut bucket = usize::from(first.unwrap_or(DURATION_BOUNDS.len() as u8));
    while DURATION_BOUNDS.get(bucket).is_some_and(|bound| *bound < micros) {
        bucket += 1;
    }
    bucket
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_in_the_first_bucket_whose_bound_is_not_below() {
        let near = DURATION_BOUNDS.map(|bound| [bound - 1, bound, bound + 1]);
        let doublings =
            (0..64).flat_map(|bits| [(1_u64 << bits) - 1, 1 << bits, (1 << bits) + (1 << bits) / 8]);
        for micros in near.into_iter().flatten().chain(doublings).chain([u64::MAX]) {
            let expected = DURATION_BOUNDS.partition_point(|bound| *bound < micros);
            assert_eq!(bucket_of(micros), expected, "{micros}");
        }
    }

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for micros in [0, 100, 101, 60_000_000, 60_000_001] {
            histogram.record(Duration::from_micros(micros));
        }
        let (counts, sum) = histogram.values();
        let last = DURATION_BOUNDS.len();
        assert_eq!(
            (counts[0], counts[1], counts[last - 1], counts[last]),
            (2, 1, 1, 1)
        );
        assert_eq!(counts.iter().sum::<u64>(), 5);
        assert_eq!(sum, 120_000_202);
    }

    #[test]
    fn the_middle_of_a_bucket_is_within_a_tenth_of_each_duration_in_it() {
        for pair in DURATION_BOUNDS.windows(2) {
            let (low, high) = (pair[0] as f64, pair[1] as f64);
            let middle = f64::midpoint(low, high);
            assert!(middle <= low * 1.1 && middle >= high * 0.9, "{pair:?}");
        }
        assert_eq!(
            (DURATION_BOUNDS[0], DURATION_BOUNDS.last()),
            (100, Some(&60_000_000))
        );
    }
}
