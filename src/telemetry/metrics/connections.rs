//! The connections to the backends of one pool, counted by each worker for itself.

use super::by_worker::ByWorker;

/// How an attempt came by its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionUse {
    /// It was established.
    Opened,
    /// It existed: an idle one, or a shared HTTP/2 connection.
    Reused,
    /// It could not be established.
    Failed,
}

/// The counters of one pool.
#[derive(Debug)]
pub struct ConnectionCounters(ByWorker<3>);

impl ConnectionCounters {
    /// Counters for this number of workers.
    pub fn new(workers: usize) -> Self {
        Self(ByWorker::new(workers))
    }

    /// Counts a connection. Called by the worker with this number only.
    #[inline]
    pub fn count(&self, worker: usize, of: ConnectionUse) {
        self.0.increment(worker, of as usize);
    }

    /// How many there were.
    pub fn value(&self, of: ConnectionUse) -> u64 {
        self.0.sum(of as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_use_has_its_own_counter() {
        let counters = ConnectionCounters::new(1);
        let all = [
            ConnectionUse::Opened,
            ConnectionUse::Reused,
            ConnectionUse::Failed,
        ];
        for (times, of) in all.into_iter().enumerate() {
            for _ in 0..=times {
                counters.count(0, of);
            }
        }
        assert_eq!(all.map(|of| counters.value(of)), [1, 2, 3]);
    }
}
