//! What a member learns from the attempts at it.

use std::time::Duration;

use super::Member;
use crate::clock::Instant;
use crate::retry::Outcome;

/// A quantile of fewer responses says too little.
const LEAST_RESPONSES: u64 = 20;

impl Member {
    /// The time within which this share in percent of the backend's responses of the last minute began; `None` if there were too
    /// few.
    pub fn hedge_delay(&self, percent: u8, now: Instant) -> Option<Duration> {
        self.hedge_delay.get(percent, now, || {
            let distribution = self.backend.load.latency.distribution(now);
            let is_enough = distribution.count() >= LEAST_RESPONSES;
            let quantile = distribution.quantile(f64::from(percent) / 100.0);
            quantile.filter(|_| is_enough)
        })
    }

    /// Takes the outcome of an attempt of this worker: records the latency, counts failures, and lets the backend be probed after a
    /// suspicious one.
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
        if !outcome.is_backend_failure() {
            return;
        }
        self.backend.load.fail(worker);
        if outcome.is_suspicious() {
            self.health.request_probe();
        }
    }

    /// Weighs the outcome of an attempt of this worker for an ejection.
    #[inline]
    pub fn weigh(&self, outcome: &Outcome, worker: usize) {
        if self.health.weigh(outcome) {
            self.backend.load.count_against(worker);
        }
    }
}
