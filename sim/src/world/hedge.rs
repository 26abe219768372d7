//! Hedging: a second attempt at another backend runs beside the first one of a request. The first good response ends both.

use evenkeel_balance::retry::{AttemptEnd, Attempts, HedgeAfter, Outcome};

use crate::clock::Time;
use crate::defect::Defect;
use crate::request::Attempt;

use super::{Event, World};

/// A quantile of fewer responses says too little.
const LEAST_RESPONSES: u64 = 20;

impl World<'_> {
    /// The attempt of a request begins at a member, and may have another one beside it later.
    pub(super) fn schedule_hedge(&mut self, slot: u32, attempt: Attempt, member: usize) {
        let policy = &self.scenario.pool.retry;
        let Some(hedge) = policy.hedge else { return };
        let request = self.requests.get(slot);
        let is_unsafe = self.scenario.defect == Some(Defect::HedgesUnsafely);
        let is_allowed = request.is_idempotent || is_unsafe;
        if !is_allowed || !request.tried.is_empty() || policy.attempts == Attempts::AtMost(1) {
            return;
        }
        let after = match hedge.after {
            HedgeAfter::Time(time) => Time::of(time),
            HedgeAfter::Quantile(percent) => {
                let latency = &self.pool.members[member].load.latency;
                let distribution = latency.distribution(self.now.instant());
                let quantile = distribution.quantile(f64::from(percent) / 100.0);
                match quantile.filter(|_| distribution.count() >= LEAST_RESPONSES) {
                    Some(quantile) => Time::of(quantile),
                    None => return,
                }
            }
        };
        self.events.add(self.now.plus(after), Event::Hedge(attempt));
    }

    /// Begins the second attempt of a request whose first one still runs, if a backend and a token are left.
    pub(super) fn hedge(&mut self, attempt: Attempt) {
        let Some(slot) = self.requests.of(attempt) else {
            return;
        };
        if self.requests.get(slot).running.is_none() || !self.pool.queue.is_empty() {
            return;
        }
        let Some(member) = self.pick(slot).filter(|_| self.spend_token()) else {
            return;
        };
        if let Some(checker) = &mut self.checker {
            checker.hedged(self.requests.get(slot), member);
        }
        let second = self.requests.next_attempt(slot);
        let running = self.start(slot, second, member);
        self.requests.get(slot).hedge = Some((second, running));
    }

    /// The first attempt has ended. Returns whether the second one may do better; if not, that one is canceled.
    pub(super) fn leaves_to_hedge(&mut self, slot: u32, outcome: &Outcome) -> bool {
        let request = self.requests.get(slot);
        let Some(hedge) = request.hedge.take() else {
            return false;
        };
        if !outcome.is_success() {
            request.hedge = Some(hedge);
            request.first_outcome = Some(*outcome);
            return true;
        }
        self.end_running(slot, hedge.1, AttemptEnd::Failure(None));
        false
    }

    /// The second attempt has ended.
    pub(super) fn end_hedge(&mut self, slot: u32, end: AttemptEnd) {
        let request = self.requests.get(slot);
        let Some((_, running)) = request.hedge.take() else {
            return;
        };
        let outcome = self.end_running(slot, running, end);
        let request = self.requests.get(slot);
        if !outcome.is_success() {
            request.tried.push(outcome.backend);
            if let Some(first) = request.first_outcome.take() {
                self.conclude(slot, &first);
            }
            return;
        }
        request.first_outcome = None;
        // It is canceled if it still runs.
        if let Some(first) = request.running.take() {
            self.end_running(slot, first, AttemptEnd::Failure(None));
        }
        self.conclude(slot, &outcome);
    }
}
