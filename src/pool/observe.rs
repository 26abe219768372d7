//! What a member learns from the attempts at it.

use std::sync::atomic::Ordering;

use super::Member;
use crate::retry::Outcome;

impl Member {
    /// Takes the outcome of an attempt: counts failures, and lets the backend be probed after a suspicious one.
    #[inline]
    pub fn observe(&self, outcome: &Outcome) {
        if !outcome.is_backend_failure() {
            return;
        }
        self.backend.totals.failures.fetch_add(1, Ordering::Relaxed);
        if outcome.is_suspicious() {
            self.health.request_probe();
        }
    }
}
