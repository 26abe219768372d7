//! What the workers count. A worker that has ended leaves its counts to the next one with its number, so that sums never go backwards.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::telemetry::metrics::WorkerCounters;

/// The counters of all workers, also of those that have ended.
#[derive(Debug, Default)]
pub(super) struct AllCounters {
    /// By the number of the worker.
    of: Mutex<Vec<Arc<WorkerCounters>>>,
    /// How many workers serve.
    serving: AtomicUsize,
}

impl AllCounters {
    /// Those of this worker.
    pub(super) fn of(&self, worker: usize) -> Arc<WorkerCounters> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        while of.len() <= worker {
            of.push(Arc::default());
        }
        of.get(worker).map(Arc::clone).unwrap_or_default()
    }

    /// Those of all workers.
    pub(super) fn all(&self) -> Vec<Arc<WorkerCounters>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds up one value over all workers.
    pub(super) fn sum(&self, value: impl Fn(&WorkerCounters) -> u64) -> u64 {
        let of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        of.iter().map(|counters| value(counters)).sum()
    }

    /// How many workers serve.
    pub(super) fn serving(&self) -> usize {
        self.serving.load(Ordering::Relaxed)
    }

    /// Says how many workers serve.
    pub(super) fn set_serving(&self, count: usize) {
        self.serving.store(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_stay_when_a_number_is_used_again() {
        let counters = AllCounters::default();
        counters.of(3).retry_budget_exhausted.add(2);
        counters.of(0).retry_budget_exhausted.increment();
        assert_eq!(counters.all().len(), 4);
        counters.of(3).retry_budget_exhausted.increment();
        assert_eq!(
            counters.sum(|counters| counters.retry_budget_exhausted.value()),
            4
        );
        counters.set_serving(1);
        assert_eq!((counters.serving(), counters.all().len()), (1, 4));
    }
}
