//! The attempts of requests: sent to a backend, ended by an answer or a timeout, and perhaps followed by another.

use std::sync::Arc;

use evenkeel_balance::retry::{AttemptEnd, Cause, Failure, Outcome, Policy};

use super::{Event, World};
use crate::backend::{Answer, Due};
use crate::defect::Defect;
use crate::request::{Attempt, Running};

/// An attempt that [`Defect::MissesAnEnd`] does not count, or a request that [`Defect::LosesARequest`] forgets: one in so many.
const DEFECT_EVERY: u64 = 64;

impl World<'_> {
    /// Sends a request to a member.
    pub(super) fn begin_attempt(&mut self, slot: u32, member: usize) {
        let attempt = self.requests.begin(slot);
        self.schedule_hedge(slot, attempt, member);
        let running = self.start(slot, attempt, member);
        // The backend may have refused it, which is known at once, but comes as an event.
        self.requests.get(slot).running = Some(running);
    }

    /// Begins an attempt of a request at a member, and returns it.
    pub(super) fn start(&mut self, slot: u32, attempt: Attempt, member: usize) -> Running {
        let load = &self.pool.members[member].load;
        let running = Running {
            member,
            began: self.now,
            waiting: load.latency.begin_wait(self.now.instant()),
        };
        load.begin(self.requests.get(slot).worker, self.pool.shared);
        if let Some(checker) = &mut self.checker {
            checker.began(member);
        }
        self.stats.attempt(member);
        self.look_for_silence();
        self.trace.say(self.now, || format!("r{slot} goes to b{member}"));
        let timeout = self.now.plus(self.scenario.pool.first_byte);
        self.events.add(timeout, Event::Timeout(attempt));
        let due = self.backends[member].accept(attempt, self.now);
        if due.is_none_or(|due| due.answer != Answer::Refused) {
            self.connected(slot);
        }
        if let Some(due) = due {
            self.events.add(due.at, Event::Answer(member, due));
        }
        running
    }

    /// A backend answers an attempt, which the balancer may have given up.
    pub(super) fn answer(&mut self, backend: usize, due: &Due) {
        let (counts, next) = self.backends[backend].finish(due, self.now);
        if let Some(next) = next {
            self.events.add(next.at, Event::Answer(backend, next));
        }
        if !counts {
            return;
        }
        if let Some(slot) = self.requests.of_hedge(due.attempt) {
            self.end_hedge(slot, end_of(due.answer));
            return;
        }
        let Some(slot) = self.requests.of(due.attempt) else {
            return;
        };
        let is_lost =
            self.scenario.defect == Some(Defect::LosesARequest) && due.attempt.0.is_multiple_of(DEFECT_EVERY);
        if is_lost {
            self.requests.remove(slot);
            return;
        }
        self.end_attempt(slot, end_of(due.answer));
    }

    /// An attempt has had no response within its timeout.
    pub(super) fn time_out(&mut self, attempt: Attempt) {
        let end = AttemptEnd::Failure(Some(Cause::Timeout));
        if let Some(slot) = self.requests.of_hedge(attempt) {
            self.end_hedge(slot, end);
        } else if let Some(slot) = self.requests.of(attempt) {
            self.end_attempt(slot, end);
        }
    }

    /// The first of two attempts has ended, or the only one.
    fn end_attempt(&mut self, slot: u32, end: AttemptEnd) {
        let Some(running) = self.requests.get(slot).running.take() else {
            return;
        };
        let outcome = self.end_running(slot, running, end);
        let backend = outcome.backend;
        self.requests.get(slot).tried.push(backend);
        if !self.leaves_to_hedge(slot, &outcome) {
            self.conclude(slot, &outcome);
        }
    }

    /// Hands the end of an attempt to all that learn from it.
    pub(super) fn end_running(&mut self, slot: u32, running: Running, end: AttemptEnd) -> Outcome {
        let Running {
            member,
            began,
            waiting,
        } = running;
        let load = Arc::clone(&self.pool.members[member].load);
        let outcome = Outcome {
            end,
            nothing_sent: end == AttemptEnd::Failure(Some(Cause::ConnectFailure)),
            total_time: self.now.since(began).duration(),
            ..Outcome::of(load.id)
        };
        let chance = (self.now, self.rng.bits());
        let has_grown = self.pool.learn_limit(self.scenario, member, &outcome, chance);
        let worker = self.requests.get(slot).worker;
        let is_missed =
            self.scenario.defect == Some(Defect::MissesAnEnd) && load.attempts().is_multiple_of(DEFECT_EVERY);
        if !is_missed {
            load.end(worker, self.pool.shared);
        }
        if outcome.is_backend_failure() {
            load.fail(worker);
        }
        self.pool.learn_latency(member, &outcome, (worker, self.now));
        if let Some(waiting) = waiting {
            load.latency.end_wait(waiting);
        }
        if let Some(checker) = &mut self.checker {
            checker.ended(member, &outcome);
        }
        self.trace
            .say(self.now, || format!("r{slot} got {end:?} from b{member}"));
        self.freed();
        if has_grown {
            self.freed();
        }
        self.learn(member, &outcome, began);
        if outcome.is_suspicious() {
            self.request_probe(member);
        }
        outcome
    }

    /// Decides what follows the end of an attempt.
    pub(super) fn conclude(&mut self, slot: u32, outcome: &Outcome) {
        let status = match outcome.end {
            AttemptEnd::Response(status) => status,
            AttemptEnd::Failure(Some(Cause::Timeout)) => 504,
            AttemptEnd::Failure(Some(Cause::Reset)) => 502,
            AttemptEnd::Failure(_) => 503,
        };
        let Some(cause) = outcome.cause() else {
            let tokens = self.requests.get(slot).tokens;
            self.pool.budget.give_back(tokens);
            if let Some(checker) = &mut self.checker {
                checker.gave_back(tokens);
            }
            self.finish(slot, status);
            return;
        };
        if let AttemptEnd::Response(status) = outcome.end {
            self.requests.get(slot).held_status = Some(status);
        }
        match self.next_attempt(slot, cause, outcome) {
            Some(member) => {
                self.stats.retry();
                self.begin_attempt(slot, member);
            }
            None if cause == Cause::ConnectFailure && self.wait_for_return(slot) => {}
            None => {
                let held = self.requests.get(slot).held_status;
                self.finish(slot, held.unwrap_or(status));
            }
        }
    }

    /// The member of the next attempt, if one follows.
    fn next_attempt(&mut self, slot: u32, cause: Cause, outcome: &Outcome) -> Option<usize> {
        let request = self.requests.get(slot);
        let failure = Failure {
            cause,
            is_idempotent: request.is_idempotent,
            was_sent: !outcome.nothing_sent,
            event: None,
            is_replayable: true,
            has_response_begun: false,
            attempts: request.tried.len() as u32,
            stale: 0,
            unprocessed: 0,
            backends: self.pool.members.len() as u32,
        };
        let is_unsafe = self.scenario.defect == Some(Defect::RetriesUnsafely);
        if !self.scenario.pool.retry.may_retry(&failure) && !is_unsafe {
            return None;
        }
        let next = self.pick(slot)?;
        if Policy::needs_token(&failure) && !self.take_token(slot) {
            return None;
        }
        if let Some(checker) = &mut self.checker {
            checker.retried(self.scenario, self.requests.get(slot), cause);
        }
        Some(next)
    }

    fn take_token(&mut self, slot: u32) -> bool {
        let is_taken = self.spend_token();
        if is_taken {
            self.requests.get(slot).tokens += 1;
        }
        is_taken
    }

    /// Takes a token of the budget, for a retry or a hedge.
    pub(super) fn spend_token(&mut self) -> bool {
        let is_taken =
            self.pool.budget.take(self.now.instant()) || self.scenario.defect == Some(Defect::IgnoresBudget);
        if let Some(checker) = &mut self.checker {
            match is_taken {
                true => checker.took_token(),
                false => checker.was_refused_a_token(),
            }
        }
        is_taken
    }
}

/// How an attempt ends with an answer.
fn end_of(answer: Answer) -> AttemptEnd {
    match answer {
        Answer::Status(status) => AttemptEnd::Response(status),
        Answer::Refused => AttemptEnd::Failure(Some(Cause::ConnectFailure)),
        Answer::Reset => AttemptEnd::Failure(Some(Cause::Reset)),
    }
}
