//! How long one backend takes until the first byte of a response: the distribution of the last minute, which is always kept,
//! and an average for strategies that prefer fast backends, which is kept only while one of them is used.
//!
//! A backend keeps this across reloads and across changes of its pool's eligible set.

mod average;
mod histogram;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use average::Average;
use evenkeel_wire::instant::Instant;
use histogram::Histogram;

use crate::per_worker::PerWorker;

pub use average::{Sample, Waiting};
pub use histogram::{Distribution, WINDOW};

/// The latency of one backend.
#[derive(Debug, Default)]
pub struct Latency {
    /// Times are stored relative to this; set by the first one.
    origin: OnceLock<Instant>,
    /// How fast the average forgets, in milliseconds; 0 while no strategy reads it.
    decay: AtomicU32,
    average: Average,
    /// One for each worker that has recorded anything.
    histograms: PerWorker<OnceLock<Box<Histogram>>>,
}

/// The figures of a backend's latency in the last minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Half of the responses began within this time.
    pub p50: Duration,
    /// 95 of 100 responses began within this time.
    pub p95: Duration,
    /// 99 of 100 responses began within this time.
    pub p99: Duration,
    /// Number of responses.
    pub count: u64,
}

impl Latency {
    /// That of a new backend, for this number of workers.
    pub fn new(workers: usize) -> Self {
        Self {
            histograms: PerWorker::new(workers),
            ..Self::default()
        }
    }

    /// Counts a response that `took` this long to begin, in the part of this worker, which no other worker writes.
    #[inline]
    pub fn record(&self, worker: usize, took: Duration, now: Instant) {
        let part = self.histograms.of(worker);
        part.get_or_init(Box::default).add(took, || self.elapsed(now));
    }

    /// The time within which this part of the responses of the last minute began, such as 0.95. `None` if there were none.
    /// Reads what every worker has recorded, so it is not for every request.
    pub fn quantile(&self, part: f64, now: Instant) -> Option<Duration> {
        self.distribution(now).quantile(part)
    }

    /// A number that grows with every response that was recorded. Tells only whether there was one since it was read before.
    pub fn responses(&self) -> u64 {
        let histograms = self.histograms.iter().filter_map(OnceLock::get);
        histograms.fold(0, |sum, histogram| sum.wrapping_add(histogram.progress()))
    }

    /// The figures of the last minute; `None` if there was no response.
    pub fn summary(&self, now: Instant) -> Option<Summary> {
        let distribution = self.distribution(now);
        Some(Summary {
            p50: distribution.quantile(0.5)?,
            p95: distribution.quantile(0.95)?,
            p99: distribution.quantile(0.99)?,
            count: distribution.count(),
        })
    }

    /// The distribution of the last minute.
    pub fn distribution(&self, now: Instant) -> Distribution {
        let mut distribution = Distribution::default();
        self.add_to(&mut distribution, now);
        distribution
    }

    /// Adds the last minute to a distribution, such as that of a whole pool.
    pub fn add_to(&self, distribution: &mut Distribution, now: Instant) {
        let elapsed = self.elapsed(now);
        for histogram in self.histograms.iter().filter_map(OnceLock::get) {
            histogram.add_to(distribution, elapsed);
        }
    }

    /// Lets the average be kept, with this time constant, or not any more. Control plane only.
    pub fn set_decay(&self, decay: Option<Duration>) {
        let millis = decay.map_or(0, |decay| (decay.as_millis() as u32).max(1));
        self.decay.store(millis, Ordering::Relaxed);
    }

    /// Whether the average is kept.
    #[inline]
    pub fn is_averaged(&self) -> bool {
        self.decay.load(Ordering::Relaxed) != 0
    }

    /// Counts a request that waits for its response from now on, if the average is kept. [`Self::end_wait`] must follow.
    #[inline]
    pub fn begin_wait(&self, now: Instant) -> Option<Waiting> {
        self.is_averaged()
            .then(|| self.average.begin_wait(self.elapsed(now)))
    }

    /// Counts a request that does not wait any more.
    #[inline]
    pub fn end_wait(&self, waiting: Waiting) {
        self.average.end_wait(waiting);
    }

    /// Lets the average learn from an attempt, if it is kept.
    #[inline]
    pub fn learn(&self, sample: Sample, now: Instant) {
        let decay = self.decay.load(Ordering::Relaxed);
        if decay != 0 {
            self.average.learn(sample, self.elapsed(now), decay);
        }
    }

    /// The latency to expect of a request that is sent now, in seconds: the average, or the age of the requests that wait for
    /// a response if that is more. 0 for a backend that has nothing to do and of which nothing is known.
    #[inline]
    pub fn expected(&self, now: Instant) -> f32 {
        let decay = self.decay.load(Ordering::Relaxed).max(1);
        self.average.expected(self.elapsed(now), decay)
    }

    #[inline]
    fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(*self.origin.get_or_init(|| now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn merges_the_parts_of_the_workers() {
        let (latency, now) = (Latency::new(2), crate::clock::now());
        for _ in 0..50 {
            latency.record(0, 2 * MS, now);
            latency.record(1, 20 * MS, now);
        }
        let summary = latency.summary(now).unwrap();
        assert_eq!(summary.count, 100);
        assert!(summary.p50 < 3 * MS && summary.p95 > 17 * MS && summary.p99 < 23 * MS);
        assert_eq!(latency.quantile(0.95, now), Some(summary.p95));
        // A worker that is started later.
        latency.record(2, MS, now);
        assert_eq!(latency.summary(now).unwrap().count, 101);
    }

    #[test]
    fn forgets_what_is_older_than_the_window() {
        let (latency, now) = (Latency::new(1), crate::clock::now());
        latency.record(0, MS, now);
        assert!(latency.summary(now + WINDOW / 2).is_some());
        assert_eq!(latency.summary(now + WINDOW), None);
        assert_eq!(latency.quantile(0.5, now + WINDOW), None);
        assert_eq!(Latency::new(1).summary(now), None);
    }

    #[test]
    fn a_time_before_the_first_one_counts_as_the_first() {
        let (latency, now) = (Latency::new(1), crate::clock::now() + WINDOW);
        latency.record(0, MS, now);
        latency.record(0, MS, now - MS);
        assert_eq!(latency.summary(now - 2 * MS).unwrap().count, 2);
    }

    #[test]
    fn every_response_is_seen_whichever_worker_records_it_and_whenever() {
        let (latency, mut now) = (Latency::new(2), crate::clock::now());
        let mut before = latency.responses();
        // Far more than are counted one by one, over many generations.
        for number in 0..100_000 {
            latency.record(number % 2, MS, now);
            let after = latency.responses();
            assert!(after > before, "{number}: {after}, {before} before");
            before = after;
            now += MS * 10;
        }
        assert_eq!(latency.responses(), before);
    }

    #[test]
    fn keeps_no_average_unless_asked_to() {
        let (latency, now) = (Latency::new(1), crate::clock::now());
        latency.learn(Sample::Response(MS), now);
        assert!(latency.begin_wait(now).is_none());
        assert!(latency.expected(now) == 0.0 && !latency.is_averaged());
        latency.set_decay(Some(Duration::from_secs(10)));
        latency.learn(Sample::Response(MS), now);
        assert!((latency.expected(now) - 0.001).abs() < 1e-6);
        let waiting = latency.begin_wait(now).unwrap();
        latency.set_decay(None);
        latency.end_wait(waiting);
        assert!(latency.begin_wait(now).is_none());
    }
}
