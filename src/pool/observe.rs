//! What a member learns from the attempts at it.

use std::time::Instant;

use super::Member;
use crate::retry::Outcome;

impl Member {
    /// Takes the outcome of an attempt of this worker: records the latency, counts failures, lets the backend be probed after a
    /// suspicious one, and weighs it for an ejection.
    #[inline]
    pub fn observe(&self, outcome: &Outcome, worker: usize, now: Instant) {
        let latency = &self.backend.load.latency;
        if let Some(took) = outcome.response_time() {
            latency.record(worker, took, now);
        }
        if latency.is_averaged()
            && let Some(sample) = outcome.latency()
        {
            latency.learn(sample, now);
        }
        if self.health.weigh(outcome) {
            self.backend.load.count_against(worker);
        }
        if !outcome.is_backend_failure() {
            return;
        }
        self.backend.load.fail(worker);
        if outcome.is_suspicious() {
            self.health.request_probe();
        }
    }
}
