//! Hands the outcome of an attempt to the backend and its pool: latency, health, ejection, limits and the queue learn from it.

use super::connect;
use super::exchange::Exchange;
use crate::pool::{Member, Pool};
use crate::retry::{AttemptEnd, Cause, Outcome};
use crate::telemetry::metrics::DurationSample;

/// Learns from an attempt at a member of the pool that has ended.
#[inline]
pub(super) fn from(exchange: &mut Exchange<'_>, (pool, member): (&Pool, &Member), outcome: &Outcome) {
    let worker = exchange.request.worker();
    let now = worker.wheel.now();
    member.observe(outcome, worker.index, now);
    if exchange.place.is_none() || !is_knock(pool, outcome) {
        member.weigh(outcome, worker.index);
    }
    if pool.learns_latency {
        pool.learn(member, outcome, now, worker.random());
    }
    if let AttemptEnd::Response(status) = outcome.end {
        let duration = DurationSample::new(outcome.total_time);
        member.traffic.count(worker.index, status, duration);
        pool.queue.succeeded(&mut exchange.place, pool.settings.queue);
    } else if outcome.cause() == Some(Cause::ConnectFailure) {
        connect::count_failed(worker, pool);
    }
}

/// Whether a waiting request has asked in vain whether a backend is back. All backends of the pool refuse connections then: that one of
/// them was asked more often does not say that the others are better, and an ejected one would not be asked any more.
#[cold]
fn is_knock(pool: &Pool, outcome: &Outcome) -> bool {
    pool.queue.awaits_connection() && outcome.cause() == Some(Cause::ConnectFailure)
}
