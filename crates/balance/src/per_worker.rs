//! Values that have a part for each worker, which no other worker writes. A reload may start workers that nobody expected when the
//! value was made: their parts are added when they first ask for them.

use std::sync::OnceLock;

/// The parts, by the number of their worker. The control plane bounds these numbers.
#[derive(Debug)]
pub struct PerWorker<T> {
    parts: Box<[T]>,
    /// Those of workers with larger numbers.
    more: OnceLock<Box<Self>>,
}

impl<T: Default> PerWorker<T> {
    /// Parts for this number of workers, at least one.
    pub fn new(workers: usize) -> Self {
        Self {
            parts: (0..workers.max(1)).map(|_| T::default()).collect(),
            more: OnceLock::new(),
        }
    }

    /// The part of the worker with this number.
    #[inline]
    pub fn of(&self, worker: usize) -> &T {
        match self.parts.get(worker) {
            Some(part) => part,
            None => self.of_later(worker - self.parts.len()),
        }
    }

    /// All parts, also those that no worker has used.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let more = std::iter::successors(Some(self), |parts| parts.more.get().map(AsRef::as_ref));
        more.flat_map(|parts| &parts.parts)
    }

    /// Twice as many each time, so that few steps lead to each.
    #[cold]
    fn of_later(&self, worker: usize) -> &T {
        let more = || Box::new(Self::new(self.parts.len() * 2));
        self.more.get_or_init(more).of(worker)
    }
}

impl<T: Default> Default for PerWorker<T> {
    /// For one worker.
    fn default() -> Self {
        Self::new(1)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_worker_has_a_part_of_its_own_that_stays() {
        let parts = PerWorker::<AtomicUsize>::new(2);
        assert_eq!(parts.iter().count(), 2);
        for worker in [40, 0, 1, 2, 5] {
            parts.of(worker).store(worker + 1, Ordering::Relaxed);
        }
        for worker in [0, 1, 2, 5, 40] {
            assert_eq!(parts.of(worker).load(Ordering::Relaxed), worker + 1);
        }
        let sum: usize = parts.iter().map(|part| part.load(Ordering::Relaxed)).sum();
        assert_eq!(sum, 1 + 2 + 3 + 6 + 41);
        assert_eq!(parts.iter().count(), 2 + 4 + 8 + 16 + 32);
    }

    #[test]
    fn workers_that_ask_at_the_same_time_get_the_same_parts() {
        let parts = PerWorker::<AtomicUsize>::default();
        std::thread::scope(|scope| {
            for worker in 0..8 {
                let parts = &parts;
                scope.spawn(move || parts.of(worker).fetch_add(1, Ordering::Relaxed));
            }
        });
        assert!((0..8).all(|worker| parts.of(worker).load(Ordering::Relaxed) == 1));
    }
}
