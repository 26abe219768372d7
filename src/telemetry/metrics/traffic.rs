//! Requests and responses by status class and duration, of one route, pool or backend. Each worker counts for itself, so that a count
//! is a load, an addition and a store. Labels come from the config only: no request can add one.

use super::counters::class_of;
use super::{Counter, DURATION_BOUNDS, DurationSample, Histogram};
use crate::backend::PerWorker;

/// Maximum number of routes with counters of their own. The routes after them share those of the label `other`.
pub const MAX_ROUTES_COUNTED: usize = 10_000;

/// The values of the label `class`.
pub const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The counters of one route, pool or backend.
#[derive(Debug)]
pub struct TrafficCounters {
    /// The value of its label.
    name: Box<str>,
    workers: PerWorker<OfWorker>,
}

/// Aligned so that two workers never share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
struct OfWorker {
    classes: [Counter; CLASSES.len()],
    durations: Histogram,
}

impl TrafficCounters {
    /// Counters for this number of workers.
    pub fn new(name: &str, workers: usize) -> Self {
        Self {
            name: name.into(),
            workers: PerWorker::new(workers),
        }
    }

    /// The value of its label.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counts a response with this status. Called by the worker with this number only.
    #[inline]
    pub fn count(&self, worker: usize, status: u16, duration: DurationSample) {
        let of = self.workers.of(worker);
        if let Some(counter) = of.classes.get(class_of(status)) {
            counter.increment();
        }
        of.durations.add(duration);
    }

    /// How many had a status of the class at this position of [`CLASSES`].
    pub fn responses(&self, class: usize) -> u64 {
        let counters = self.workers.iter().filter_map(|of| of.classes.get(class));
        counters.map(Counter::value).fold(0, u64::wrapping_add)
    }

    /// The number of durations in each bucket, not cumulative, and their sum in microseconds.
    pub fn durations(&self) -> ([u64; DURATION_BOUNDS.len() + 1], u64) {
        Histogram::merged(self.workers.iter().map(|of| &of.durations))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn classes_and_durations_are_summed_over_all_workers() {
        let counters = TrafficCounters::new("api", 2);
        // The third worker was started later.
        for worker in 0..3 {
            for status in [101, 200, 204, 304, 404, 503] {
                counters.count(worker, status, DurationSample::new(Duration::from_micros(150)));
            }
        }
        let classes = [0, 1, 2, 3, 4].map(|class| counters.responses(class));
        assert_eq!(classes, [3, 6, 3, 3, 3]);
        let (counts, sum) = counters.durations();
        assert_eq!(counts.iter().sum::<u64>(), 18);
        assert_eq!(counts.iter().filter(|count| **count > 0).count(), 1);
        assert_eq!(sum, 18 * 150);
    }
}
