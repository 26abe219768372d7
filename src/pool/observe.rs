//! What a member learns from the attempts at it.

use super::Member;
use crate::retry::Outcome;

impl Member {
    /// Takes the outcome of an attempt of this worker: counts failures, lets the backend be probed after a suspicious one, and
    /// weighs it for an ejection.
    #[inline]
    pub fn observe(&self, outcome: &Outcome, worker: usize) {
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
