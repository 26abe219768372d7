//! What must hold at every step of every run.

mod budget;
mod checker;
mod queue;
mod sharing;

use crate::clock::Time;

pub use checker::{Checker, Pick};

/// Something that must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invariant {
    /// A pick is an eligible backend.
    EligiblePick,
    /// A backend that the request has tried is not picked while there is another.
    UntriedFirst,
    /// A backend is picked whenever one may be.
    PickWhenPossible,
    /// No backend gets more requests at a time than the limit.
    InFlightLimit,
    /// No eligible backend is left out.
    NoStarvation,
    /// A backend that comes back gets no more than one and a half times its share.
    SlowStart,
    /// Not too many backends are ejected, never the last one, and those get trial requests only.
    EjectionBounds,
    /// Requests leave the queue in the order in which they came, and none passes those that wait.
    QueueOrder,
    /// No request joins a full queue.
    QueueBound,
    /// Nobody waits while a backend may take a request.
    QueueProgress,
    /// A backend is avoided only while it does not respond, and then while there is another.
    Silence,
    /// A backend that goes up and down again and again changes its state rarely.
    Flapping,
    /// No retry without a token, and the budget has as many tokens as were earned.
    RetryBudget,
    /// Retries obey the policy: causes, methods, number of attempts.
    SafeRetries,
    /// Hedges are second attempts at other backends, of requests that may be sent twice.
    SafeHedges,
    /// The adaptive limit of a backend has its bounds.
    AdaptiveLimit,
    /// Requests in flight, attempts and failures are what was begun, ended and failed.
    Counters,
    /// Every request ends once, and in time.
    Conservation,
}

/// All invariants, with their names in reports and a sentence for people.
pub static INVARIANTS: &[(Invariant, &str, &str)] = &[
    (
        Invariant::EligiblePick,
        "eligible_pick",
        "a pick is an eligible backend",
    ),
    (
        Invariant::UntriedFirst,
        "untried_first",
        "no backend is tried again while an eligible one was not tried",
    ),
    (
        Invariant::PickWhenPossible,
        "pick_when_possible",
        "a backend is picked whenever one may be picked",
    ),
    (
        Invariant::InFlightLimit,
        "in_flight_limit",
        "no backend has more requests in flight than its limit",
    ),
    (
        Invariant::NoStarvation,
        "no_starvation",
        "every eligible backend is picked within a bound",
    ),
    (
        Invariant::SlowStart,
        "slow_start",
        "a backend that comes back gets at most 1.5 times its share, in each second and in all",
    ),
    (
        Invariant::EjectionBounds,
        "ejection_bounds",
        "never more backends are ejected than may be, never the last one, and they get only a few trial requests",
    ),
    (
        Invariant::Silence,
        "silence",
        "a backend is found silent only if it has not responded for a while, and is then not picked while another may be",
    ),
    (
        Invariant::Flapping,
        "flapping",
        "checks change the state of a backend at most once per healthy_after + unhealthy_after probes, and twice more",
    ),
    (
        Invariant::QueueOrder,
        "queue_order",
        "requests leave the queue in the order in which they came, and no new one passes those that wait",
    ),
    (
        Invariant::QueueBound,
        "queue_bound",
        "no request joins a full queue",
    ),
    (
        Invariant::QueueProgress,
        "queue_progress",
        "nobody waits while a backend may take a request",
    ),
    (
        Invariant::RetryBudget,
        "retry_budget",
        "no retry without a token, and tokens are exactly what was earned and not spent",
    ),
    (
        Invariant::SafeRetries,
        "safe_retries",
        "retries obey causes, methods and the number of attempts",
    ),
    (
        Invariant::SafeHedges,
        "safe_hedges",
        "a hedge is the second attempt of an idempotent request, at another backend, and has a token of the retry budget",
    ),
    (
        Invariant::AdaptiveLimit,
        "adaptive_limit",
        "an adaptive limit is at least 1 and at most 1000",
    ),
    (
        Invariant::Counters,
        "counters",
        "requests in flight, attempts and failures are what was begun, ended and failed",
    ),
    (
        Invariant::Conservation,
        "conservation",
        "every request ends exactly once, and in time",
    ),
];

impl Invariant {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        let row = INVARIANTS.iter().find(|(invariant, ..)| *invariant == self);
        row.map_or("unknown", |(_, name, _)| name)
    }
}

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// The number of the step, from 1.
    pub step: u64,
    /// When.
    pub at: Time,
    /// What was found.
    pub detail: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, step, at) = (self.invariant.name(), self.step, self.at);
        write!(f, "step {step} at {at} s: {name}: {}", self.detail)
    }
}
