//! Watches a run with models of its own.

use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;

use evenkeel_balance::admission::Adaptive;
use evenkeel_balance::backend::{BackendId, Shared};
use evenkeel_balance::retry::{Attempts, Cause, Outcome};

use crate::clock::Time;
use crate::pool::Pool;
use crate::request::{Request, Requests};
use crate::scenario::Scenario;

use super::budget::BudgetModel;
use super::queue::QueueModel;
use super::sharing::Sharing;
use super::{Invariant, Violation};

/// Maximum number of requests of one trial.
const MOST_TRIAL_REQUESTS: u32 = 10;

/// Changes of the state that checks make without delay: the first one, and down and up at a restart.
const FREE_CHANGES: u32 = 3;

/// A backend that has responded within this time is not silent.
const SHORTEST_SILENCE: Time = Time::millis(100);

/// The adaptive limits that a backend may have.
const ADAPTIVE_LIMITS: RangeInclusive<u32> = 1..=1_000;

/// Steps between two searches for requests that are overdue.
const OVERDUE_SEARCH: u64 = 256;

/// A pick, as the checker sees it.
pub struct Pick<'a> {
    /// The backends that the request has tried.
    pub tried: &'a [BackendId],
    /// The members that are silent, if there are enough others.
    pub avoided: &'a [usize],
    /// The limit of requests in flight.
    pub limit: Option<u32>,
    /// The member that was picked.
    pub picked: Option<usize>,
}

/// Watches a run.
#[derive(Debug)]
pub struct Checker {
    members: Vec<MemberModel>,
    budget: BudgetModel,
    arrived: u64,
    finished: u64,
    /// No request may be older.
    oldest: Time,
    sharing: Sharing,
    queue: QueueModel,
    limit: Option<u32>,
    /// Whether each backend has a limit of its own.
    is_adaptive: bool,
    queue_size: usize,
    /// Probes that a change of the state takes in a backend that goes up and down.
    probes_each: u32,
    /// Percentage of the members that may be ejected.
    max_ejected: Option<u32>,
    now: Time,
    step: u64,
    violation: Option<Violation>,
}

#[derive(Debug, Clone, Default)]
struct MemberModel {
    in_flight: u32,
    attempts: u64,
    failures: u64,
    /// Requests of the current trial.
    trials: u32,
    /// When it responded last.
    responded: Option<Time>,
    /// Probes that have ended, and changes of the state by them.
    probes: u32,
    changes: u32,
}

impl Checker {
    /// The checker of a run.
    pub fn new(scenario: &Scenario) -> Self {
        // Each backend may time out once, and events of one moment come one after the other. A hedge may go on after the first attempt.
        let attempts = scenario.backends.len() as u64 + 1 + u64::from(scenario.pool.retry.hedge.is_some());
        Self {
            members: vec![MemberModel::default(); scenario.backends.len()],
            budget: BudgetModel::default(),
            arrived: 0,
            finished: 0,
            oldest: Time(scenario.pool.first_byte.0 * attempts).plus(
                scenario
                    .pool
                    .queue
                    .map_or(Time::ZERO, |queue| Time::of(queue.timeout)),
            ),
            sharing: Sharing::new(scenario),
            queue: QueueModel::default(),
            limit: scenario.pool.limit(),
            is_adaptive: scenario.pool.adaptive == Adaptive::On,
            probes_each: scenario.pool.checks.map_or(1, |checks| {
                checks.thresholds.healthy_after + checks.thresholds.unhealthy_after
            }),
            queue_size: scenario.pool.queue.map_or(0, |queue| queue.size),
            max_ejected: scenario.pool.ejection.map(|ejection| ejection.max_ejected),
            now: Time::ZERO,
            step: 0,
            violation: None,
        }
    }

    /// A step begins.
    pub fn step(&mut self, now: Time) {
        self.now = now;
        self.step += 1;
    }

    /// The first invariant that did not hold.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// A request has arrived.
    pub fn arrived(&mut self) {
        self.arrived += 1;
        self.budget.earn();
    }

    /// A request has ended.
    pub fn finished(&mut self, request: &Request) {
        self.finished += 1;
        let age = self.now.since(request.arrived);
        if age > self.oldest {
            self.fail(Invariant::Conservation, format!("a request took {age} s"));
        }
    }

    /// A backend was picked, or none.
    pub fn picked(&mut self, pool: &Pool, pick: &Pick<'_>) {
        let is_below = |member: usize| {
            let own = pool.members[member].load.limit();
            pick.limit
                .is_none_or(|limit| self.members[member].in_flight < limit.min(own))
        };
        let is_untried = |member: usize| !pick.tried.contains(&pool.members[member].load.id);
        let may =
            |member: usize| pool.members[member].is_eligible() && is_below(member) && is_untried(member);
        let best = (0..self.members.len()).find(|member| may(*member));
        let is_avoided = |member: usize| pick.avoided.contains(&member);
        let better = (0..self.members.len()).find(|member| may(*member) && !is_avoided(*member));
        let broken = match (pick.picked, best) {
            (None, Some(best)) => Some((Invariant::PickWhenPossible, format!("none, but b{best} may be"))),
            (Some(one), _) if !pool.members[one].is_eligible() => {
                Some((Invariant::EligiblePick, format!("b{one} is not eligible")))
            }
            (Some(one), _) if !is_below(one) => {
                Some((Invariant::InFlightLimit, format!("b{one} is at its limit")))
            }
            (Some(one), _) if !is_untried(one) => {
                Some((Invariant::UntriedFirst, format!("b{one} was tried")))
            }
            (Some(one), _) if is_avoided(one) && better.is_some() => {
                Some((Invariant::Silence, format!("b{one} is silent")))
            }
            _ => None,
        };
        match (broken, pick.picked) {
            (Some((invariant, detail)), _) => self.fail(invariant, format!("picked: {detail}")),
            (None, Some(one)) if pick.tried.is_empty() => {
                let in_flight: Vec<u32> = self.members.iter().map(|model| model.in_flight).collect();
                if let Some((invariant, detail)) =
                    self.sharing
                        .picked(pool, (one, pick.avoided), &in_flight, self.now)
                {
                    self.fail(invariant, detail);
                }
            }
            _ => {}
        }
    }

    /// A probe of a member has ended. `is_change`: it has changed the state.
    pub fn probed(&mut self, member: usize, is_change: bool) {
        let model = &mut self.members[member];
        model.probes += 1;
        model.changes += u32::from(is_change);
        let (probes, changes) = (model.probes, model.changes);
        if changes > FREE_CHANGES + probes.div_ceil(self.probes_each) {
            self.fail(
                Invariant::Flapping,
                format!("{probes} probes changed the state of b{member} {changes} times"),
            );
        }
    }

    /// A member was found silent.
    pub fn found_silent(&mut self, member: usize) {
        let model = &self.members[member];
        let lasts = model.responded.map(|responded| self.now.since(responded));
        if model.in_flight == 0 || lasts.is_none_or(|lasts| lasts < SHORTEST_SILENCE) {
            let detail = match lasts {
                Some(lasts) => format!("b{member} has responded {lasts} s before"),
                None => format!("b{member} has never responded"),
            };
            self.fail(Invariant::Silence, detail);
        }
    }

    /// A member gets trial requests from now on.
    pub fn trial_begins(&mut self, member: usize) {
        self.members[member].trials = 0;
    }

    /// A request goes to a member that is on trial.
    pub fn tried_out(&mut self, pool: &Pool, member: usize) {
        let model = &mut self.members[member];
        model.trials += 1;
        let trials = model.trials;
        if trials > MOST_TRIAL_REQUESTS || !pool.members[member].is_ejected {
            self.fail(
                Invariant::EjectionBounds,
                format!("b{member} got {trials} trial requests"),
            );
        }
    }

    /// The model of the queue.
    pub fn queue(&mut self) -> &mut QueueModel {
        &mut self.queue
    }

    /// A request waits from now on. Those that come back after a vain try do not count against the size: they had a place.
    pub fn joined_queue(&mut self, slot: u32) {
        self.queue.joined(slot);
        let (waiting, size) = (self.queue.len(), self.queue_size);
        if waiting > size {
            self.fail(
                Invariant::QueueBound,
                format!("r{slot} waits although {waiting} do, and {size} may"),
            );
        }
    }

    /// A request that waited goes to a backend. `is_kept`: its place is kept until it is connected.
    pub fn picked_from_queue(&mut self, slot: u32, is_kept: bool) {
        if let Some((invariant, detail)) = self.queue.picked(slot, is_kept) {
            self.fail(invariant, detail);
        }
    }

    /// A new request goes to a backend without waiting.
    pub fn passed_queue(&mut self) {
        if let Some((invariant, detail)) = self.queue.passed() {
            self.fail(invariant, detail);
        }
    }

    /// An attempt has begun.
    pub fn began(&mut self, member: usize) {
        self.members[member].in_flight += 1;
        self.members[member].attempts += 1;
    }

    /// An attempt has ended.
    pub fn ended(&mut self, member: usize, outcome: &Outcome) {
        let is_failure = outcome.is_backend_failure();
        self.members[member].in_flight -= 1;
        self.members[member].failures += u64::from(is_failure);
        if is_failure {
            self.sharing.failed(member);
        }
        if outcome.response_time().is_some() {
            self.members[member].responded = Some(self.now);
        }
    }

    /// A retry was made, which needs a token.
    pub fn took_token(&mut self) {
        if !self.budget.take(self.now) {
            self.fail(Invariant::RetryBudget, "a retry without a token".to_owned());
        }
    }

    /// A retry was refused for want of a token.
    pub fn was_refused_a_token(&mut self) {
        if self.budget.tokens(self.now) > 0 {
            self.fail(
                Invariant::RetryBudget,
                "no retry although there is a token".to_owned(),
            );
        }
    }

    /// Tokens were given back.
    pub fn gave_back(&mut self, tokens: u32) {
        self.budget.give_back(tokens);
    }

    /// Another attempt follows one that failed for this cause.
    pub fn retried(&mut self, scenario: &Scenario, request: &Request, cause: Cause) {
        let policy = &scenario.pool.retry;
        let is_unsafe = match cause {
            Cause::ConnectFailure => false,
            Cause::Reset | Cause::Timeout => !request.is_idempotent,
            Cause::Status(503) | Cause::GrpcUnavailable => {
                !request.is_idempotent && !policy.non_idempotent_503
            }
            Cause::Status(_) => !request.is_idempotent,
        };
        let most = match policy.attempts {
            Attempts::All => scenario.backends.len() as u32,
            Attempts::AtMost(most) => most,
        };
        let attempts = request.tried.len() as u32 + 1;
        if is_unsafe || !policy.causes.contains(cause) || attempts > most {
            self.fail(
                Invariant::SafeRetries,
                format!(
                    "attempt {attempts} of {most} after {cause:?}, idempotent: {}",
                    request.is_idempotent
                ),
            );
        }
    }

    /// A second attempt begins beside the first one, at `member`. Its token is counted as that of a retry.
    pub fn hedged(&mut self, request: &Request, member: usize) {
        let first = request.running.as_ref().map(|running| running.member);
        let is_second =
            request.tried.is_empty() && request.hedge.is_none() && request.first_outcome.is_none();
        if !request.is_idempotent || !is_second || first.is_none_or(|first| first == member) {
            let detail = format!(
                "b{member} beside {first:?}, idempotent: {}, second: {is_second}",
                request.is_idempotent
            );
            self.fail(Invariant::SafeHedges, detail);
        }
    }

    /// A step has ended: compares all counters.
    pub fn after_step(&mut self, pool: &Pool, requests: &Requests) {
        for member in 0..self.members.len() {
            self.compare(pool, member);
            self.compare_limit(pool, member);
        }
        let (tokens, known) = (
            pool.budget.tokens(self.now.instant()),
            self.budget.tokens(self.now),
        );
        if tokens != known {
            self.fail(
                Invariant::RetryBudget,
                format!("the budget has {tokens} tokens, the model {known}"),
            );
        }
        self.compare_ejected(pool);
        self.compare_queue(pool);
        let under_way = requests.len() as u64;
        if self.arrived != self.finished + under_way {
            let (arrived, finished) = (self.arrived, self.finished);
            self.fail(
                Invariant::Conservation,
                format!("{arrived} requests arrived, {finished} ended, {under_way} are under way"),
            );
        }
        if self.step.is_multiple_of(OVERDUE_SEARCH)
            && let Some(oldest) = requests.oldest()
            && self.now.since(oldest) > self.oldest
        {
            self.fail(
                Invariant::Conservation,
                format!("a request that arrived at {oldest} has not ended"),
            );
        }
    }

    fn compare_queue(&mut self, pool: &Pool) {
        let (found, known) = (pool.queue.len(), self.queue.len());
        if found != known {
            self.fail(
                Invariant::QueueBound,
                format!("{found} requests wait, the model has {known}"),
            );
        }
        // While backends come back, connections are paced.
        let Some(first) = self.queue.first().filter(|_| !pool.queue.awaits_connection()) else {
            return;
        };
        let has_room = |member: &&usize| {
            let in_flight = self.members[**member].in_flight;
            let own = pool.members[**member].load.limit();
            self.limit.is_none_or(|limit| in_flight < limit.min(own))
        };
        if let Some(free) = pool.eligible.iter().find(has_room) {
            self.fail(
                Invariant::QueueProgress,
                format!("r{first} waits, and b{free} is free"),
            );
        }
    }

    fn compare_ejected(&mut self, pool: &Pool) {
        let Some(max_ejected) = self.max_ejected else {
            return;
        };
        let ejected = pool.members.iter().filter(|member| member.is_ejected).count();
        let most = match pool.members.len() {
            2 => 1,
            count => count * max_ejected as usize / 100,
        };
        if ejected > most {
            self.fail(
                Invariant::EjectionBounds,
                format!("{ejected} backends are ejected, {most} may be"),
            );
        }
        let is_up = pool.members.iter().any(|member| !member.is_down());
        if is_up && pool.eligible.is_empty() {
            self.fail(
                Invariant::EjectionBounds,
                "the last backend that is up is ejected".to_owned(),
            );
        }
    }

    fn compare_limit(&mut self, pool: &Pool, member: usize) {
        let limit = pool.members[member].load.limit();
        // None was found before the first response.
        let is_known = self.is_adaptive && limit != u32::MAX;
        if is_known && !ADAPTIVE_LIMITS.contains(&limit) {
            self.fail(
                Invariant::AdaptiveLimit,
                format!("the limit of b{member} is {limit}"),
            );
        }
    }

    fn compare(&mut self, pool: &Pool, member: usize) {
        let load = &pool.members[member].load;
        let model = &self.members[member];
        let shared = load.in_flight.0.load(Ordering::Relaxed);
        let wanted = if pool.shared == Shared::Yes {
            model.in_flight
        } else {
            0
        };
        let found = (load.total_in_flight(), shared, load.attempts(), load.failures());
        let expected = (model.in_flight, wanted, model.attempts, model.failures);
        if found != expected {
            self.fail(
                Invariant::Counters,
                format!(
                    "b{member} has (in flight, shared, attempts, failures) {found:?}, the model {expected:?}"
                ),
            );
        }
    }

    fn fail(&mut self, invariant: Invariant, detail: String) {
        let (step, at) = (self.step, self.now);
        self.violation.get_or_insert(Violation {
            invariant,
            step,
            at,
            detail,
        });
    }
}
