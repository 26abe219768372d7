//! What policies decided, counted by each worker for itself: a decision costs one load, addition and store.

use super::by_worker::ByWorker;

/// What a policy decided about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyOutcome {
    /// The request went on.
    Passed,
    /// The request was refused.
    Refused,
    /// The policy responded to it, and nothing was wrong with it: a preflight request.
    Responded,
    /// The policy had to wait, for a computation or for another server. It decides once more then.
    Waited,
}

impl PolicyOutcome {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 4] = [Self::Passed, Self::Refused, Self::Responded, Self::Waited];

    /// The value of the label `outcome`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Refused => "refused",
            Self::Responded => "responded",
            Self::Waited => "waited",
        }
    }
}

/// The counters of one policy.
#[derive(Debug)]
pub struct PolicyCounters {
    /// Its name in the config.
    name: Box<str>,
    counters: ByWorker<{ PolicyOutcome::ALL.len() }>,
}

impl PolicyCounters {
    /// The counters of a policy for this number of workers.
    pub fn new(name: &str, workers: usize) -> Self {
        Self {
            name: name.into(),
            counters: ByWorker::new(workers),
        }
    }

    /// The name of the policy.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counts a decision. Called by the worker with this number only.
    #[inline]
    pub fn count(&self, worker: usize, outcome: PolicyOutcome) {
        self.counters.increment(worker, outcome as usize);
    }

    /// How often it decided so.
    pub fn value(&self, outcome: PolicyOutcome) -> u64 {
        self.counters.sum(outcome as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_own_counter_over_all_workers() {
        let counters = PolicyCounters::new("office", 2);
        // The third worker was started later.
        for worker in 0..3 {
            for (times, outcome) in PolicyOutcome::ALL.into_iter().enumerate() {
                for _ in 0..=times {
                    counters.count(worker, outcome);
                }
            }
        }
        let values = PolicyOutcome::ALL.map(|outcome| counters.value(outcome));
        assert_eq!(values, [3, 6, 9, 12]);
        assert_eq!(counters.name(), "office");
    }
}
