//! What decisions need to know of a backend: its id, its requests in flight, and its latency.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::latency::Latency;
use crate::per_worker::PerWorker;

/// Identifies a backend within this process, across reloads; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(u64);

impl BackendId {
    /// The next free id.
    #[inline]
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A value on its own cache line, because every worker writes it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Padded<T>(pub T);

/// The load of one backend, and what it has done so far. A worker writes its own part, which no other worker writes, so that
/// requests on different workers do not fight for a cache line.
#[derive(Debug)]
pub struct Load {
    /// The id of the backend.
    pub id: BackendId,
    /// Requests in flight on all workers. Counted only for pools with a strategy or a limit that reads it for every request.
    pub in_flight: Padded<AtomicU32>,
    /// How long it takes to respond.
    pub latency: Latency,
    /// Maximum number of requests in flight that was found for this backend.
    limit: AtomicU32,
    workers: PerWorker<Padded<WorkerLoad>>,
}

/// The part of one worker.
#[derive(Debug, Default)]
struct WorkerLoad {
    in_flight: AtomicU32,
    attempts: AtomicU64,
    failures: AtomicU64,
    counted: AtomicU64,
}

/// Whether a request is counted for all workers together too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// A strategy or a limit reads [`Load::in_flight`].
    Yes,
    /// Nothing does.
    No,
}

impl Load {
    /// The load of a new backend, for this number of workers.
    pub fn new(workers: usize) -> Self {
        Self {
            id: BackendId::next(),
            in_flight: Padded::default(),
            latency: Latency::new(workers),
            limit: AtomicU32::new(u32::MAX),
            workers: PerWorker::new(workers),
        }
    }

    /// Counts an attempt that begins on a worker. [`Self::end`] must follow on the same worker, with the same `shared`.
    #[inline]
    pub fn begin(&self, worker: usize, shared: Shared) {
        let part = self.part(worker);
        add(&part.in_flight, 1);
        add_long(&part.attempts);
        if shared == Shared::Yes {
            self.in_flight.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts an attempt that begins on a worker, for all workers together, if the backend may have another request: if it has less
    /// than `limit` and than its own limit. [`Self::end`] must follow with [`Shared::Yes`].
    #[inline]
    pub fn try_begin(&self, worker: usize, limit: u32) -> bool {
        let limit = limit.min(self.limit());
        let add_one = |count| (count < limit).then_some(count + 1);
        let in_flight = &self.in_flight.0;
        let is_begun = in_flight
            .try_update(Ordering::Relaxed, Ordering::Relaxed, add_one)
            .is_ok();
        if is_begun {
            self.begin(worker, Shared::No);
        }
        is_begun
    }

    /// Counts another attempt of a request that is in flight already.
    #[inline]
    pub fn again(&self, worker: usize) {
        add_long(&self.part(worker).attempts);
    }

    /// Counts an attempt that is over.
    #[inline]
    pub fn end(&self, worker: usize, shared: Shared) {
        add(&self.part(worker).in_flight, u32::MAX);
        if shared == Shared::Yes {
            // Who waits for a slot has to see it free, or be seen waiting by the caller.
            self.in_flight.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Whether it may have another request, by `limit` and by its own limit.
    #[inline]
    pub fn has_room(&self, limit: u32) -> bool {
        self.in_flight.0.load(Ordering::Relaxed) < limit.min(self.limit())
    }

    /// Sets its own limit, which holds in pools that have limits. Returns the one before.
    #[inline]
    pub fn set_limit(&self, limit: u32) -> u32 {
        let before = self.limit();
        if before != limit {
            self.limit.store(limit, Ordering::Relaxed);
        }
        before
    }

    /// The maximum that was found for it; `u32::MAX` if none was.
    #[inline]
    pub fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Counts an attempt that has failed.
    pub fn fail(&self, worker: usize) {
        add_long(&self.part(worker).failures);
    }

    /// Counts a failure that may lead to an ejection.
    pub fn count_against(&self, worker: usize) {
        add_long(&self.part(worker).counted);
    }

    /// Failures that may lead to an ejection.
    pub fn counted_failures(&self) -> u64 {
        let parts = self.workers.iter().map(|part| &part.0.counted);
        parts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Requests in flight, summed over the workers.
    pub fn total_in_flight(&self) -> u32 {
        let parts = self.workers.iter().map(|part| &part.0.in_flight);
        parts.fold(0, |sum, count| sum.wrapping_add(count.load(Ordering::Relaxed)))
    }

    /// Attempts since the process started.
    pub fn attempts(&self) -> u64 {
        let parts = self.workers.iter().map(|part| &part.0.attempts);
        parts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Attempts that ended without a usable response.
    pub fn failures(&self) -> u64 {
        let parts = self.workers.iter().map(|part| &part.0.failures);
        parts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    #[inline]
    fn part(&self, worker: usize) -> &WorkerLoad {
        &self.workers.of(worker).0
    }
}

/// Adds to a counter that only this worker writes: no atomic operation is needed, which would cost more.
#[inline]
fn add(counter: &AtomicU32, number: u32) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(number),
        Ordering::Relaxed,
    );
}

#[inline]
fn add_long(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

impl Default for Load {
    /// That of a new backend, for one worker.
    fn default() -> Self {
        Self::new(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_the_parts_of_the_workers() {
        let load = Load::new(3);
        load.begin(0, Shared::No);
        load.begin(2, Shared::Yes);
        load.begin(2, Shared::No);
        load.fail(2);
        assert_eq!(
            (load.total_in_flight(), load.attempts(), load.failures()),
            (3, 3, 1)
        );
        assert_eq!(load.in_flight.0.load(Ordering::Relaxed), 1);
        load.end(2, Shared::Yes);
        load.end(0, Shared::No);
        assert_eq!((load.total_in_flight(), load.attempts()), (1, 3));
        assert_eq!(load.in_flight.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_worker_that_is_started_later_is_counted_too() {
        let load = Load::new(1);
        load.begin(0, Shared::Yes);
        load.begin(5, Shared::Yes);
        load.fail(5);
        let now = crate::clock::now();
        load.latency.record(5, std::time::Duration::from_millis(3), now);
        assert_eq!(
            (load.total_in_flight(), load.attempts(), load.failures()),
            (2, 2, 1)
        );
        assert_eq!(load.latency.summary(now).map(|summary| summary.count), Some(1));
        load.end(5, Shared::Yes);
        assert_eq!((load.total_in_flight(), load.attempts()), (1, 2));
    }

    #[test]
    fn workers_never_take_more_slots_than_the_limit() {
        let load = Load::new(4);
        let most = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let (load, most) = (&load, &most);
                scope.spawn(move || {
                    for _ in 0..10_000 {
                        if load.try_begin(worker, 3) {
                            most.fetch_max(load.in_flight.0.load(Ordering::Relaxed), Ordering::Relaxed);
                            load.end(worker, Shared::Yes);
                        }
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.into_inner()));
        assert_eq!(
            (load.in_flight.0.into_inner(), load.limit.into_inner()),
            (0, u32::MAX)
        );
    }

    #[test]
    fn its_own_limit_holds_beside_that_of_the_pool() {
        let load = Load::new(1);
        assert_eq!(load.set_limit(2), u32::MAX);
        assert!(load.try_begin(0, 9) && load.has_room(9) && !load.has_room(1));
        assert!(load.try_begin(0, 9) && !load.has_room(9) && !load.try_begin(0, 9));
        load.again(0);
        assert_eq!((load.total_in_flight(), load.attempts()), (2, 3));
    }

    #[test]
    fn a_request_that_is_not_shared_writes_no_line_of_another_worker() {
        let load = Load::new(2);
        let lines = |load: &Load| {
            let parts = load.workers.iter().map(|part| format!("{part:?}"));
            parts.chain([format!("{:?}", load.in_flight)]).collect::<Vec<_>>()
        };
        let before = lines(&load);
        load.begin(1, Shared::No);
        load.end(1, Shared::No);
        let after = lines(&load);
        let written = before
            .iter()
            .zip(&after)
            .filter(|(before, after)| before != after);
        assert_eq!(written.count(), 1);
    }
}
