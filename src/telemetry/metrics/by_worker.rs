//! Counters that each worker keeps for itself, so that a count is a load, an addition and a store.

use super::Counter;
use crate::backend::PerWorker;

/// `N` counters for each worker.
#[derive(Debug)]
pub(super) struct ByWorker<const N: usize>(PerWorker<OfWorker<N>>);

/// Aligned so that two workers never share a cache line.
#[derive(Debug)]
#[repr(align(128))]
struct OfWorker<const N: usize>([Counter; N]);

impl<const N: usize> Default for OfWorker<N> {
    fn default() -> Self {
        Self([const { Counter::new() }; N])
    }
}

impl<const N: usize> ByWorker<N> {
    /// Counters for this number of workers.
    pub(super) fn new(workers: usize) -> Self {
        Self(PerWorker::new(workers))
    }

    /// Adds one to the counter at this position. Called by the worker with this number only.
    #[inline]
    pub(super) fn increment(&self, worker: usize, position: usize) {
        if let Some(counter) = self.0.of(worker).0.get(position) {
            counter.increment();
        }
    }

    /// The count at this position over all workers.
    pub(super) fn sum(&self, position: usize) -> u64 {
        let counters = self.0.iter().filter_map(|of| of.0.get(position));
        counters.map(Counter::value).fold(0, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_summed_over_all_workers() {
        let counters = ByWorker::<2>::new(2);
        // The third worker was started later.
        for worker in 0..3 {
            counters.increment(worker, 0);
            counters.increment(worker, 1);
            counters.increment(worker, 1);
        }
        assert_eq!([0, 1, 2].map(|position| counters.sum(position)), [3, 6, 0]);
    }
}
