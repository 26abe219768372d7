//! Hands the outcome of an attempt to the backend and its pool: latency, health, ejection, limits and the queue learn from it.

use super::exchange::Exchange;
use crate::pool::{Member, Pool};
use crate::retry::{AttemptEnd, Outcome};

/// Learns from an attempt at a member of the pool that has ended.
#[inline]
pub(super) fn from(exchange: &mut Exchange<'_>, (pool, member): (&Pool, &Member), outcome: &Outcome) {
    let worker = exchange.request.worker();
    let now = worker.wheel.now();
    member.observe(outcome, worker.index, now);
    if pool.learns_latency {
        pool.learn(member, outcome, now, worker.random());
    }
    if matches!(outcome.end, AttemptEnd::Response(_)) {
        pool.queue.succeeded(&mut exchange.place, pool.settings.queue);
    }
}
