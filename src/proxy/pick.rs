//! Picks a backend for a request, and takes one of its slots: one that is pinned, on trial after an ejection, or chosen by the
//! strategy. Further attempts are picked with the same context, by `attempts`; who has to wait for a backend, by `waiting`.

use super::Failure;
use super::exchange::Exchange;
use super::in_flight::{InFlight, Slot};
use super::pinned;
use super::route::PoolMatch;
use super::sticky;
use crate::backend::BackendId;
use crate::pool::{Affinity, EligibleSet, Member, Pool};
use crate::strategy::PickContext;

/// Times that a pick is repeated because another worker took the last slot of the backend.
pub(super) const LOST_SLOTS: usize = 8;

/// Picks the backend of the first attempt: the one that the client's connection is pinned to, else the one that the
/// client stays with, else one by the pool's strategy.
/// Nobody overtakes a request that waits.
///
/// # Errors
/// No backend is eligible, all of them have reached their limit of requests, or others wait.
#[inline]
pub(super) fn first<'a>(exchange: &mut Exchange<'_>, to: &PoolMatch<'a>) -> Result<Slot<'a>, Failure> {
    let PoolMatch { pool, eligible, .. } = *to;
    if pool.queue.is_occupied() && pool.settings.queue.is_some() {
        return Err(none(eligible));
    }
    slot(exchange, (pool, eligible), &[]).ok_or_else(|| none(eligible))
}

/// Picks a backend that was not `tried`, and takes a slot. `None` if no eligible one may get a request.
#[inline]
pub(super) fn slot<'e>(
    exchange: &mut Exchange<'_>,
    (pool, eligible): (&'e Pool, &'e EligibleSet),
    tried: &[BackendId],
) -> Option<Slot<'e>> {
    for _ in 0..LOST_SLOTS {
        let member = pinned::member(&mut exchange.request, pool, eligible)
            .filter(|member| !tried.contains(&member.backend.id))
            .or_else(|| sticky::member(exchange, (pool, eligible), || context(exchange, pool, tried)))
            .or_else(|| trial(exchange, (pool, eligible), tried))
            .or_else(|| eligible.pick(context(exchange, pool, tried)))?;
        let slot = InFlight::begin(member, exchange.request.worker().index, pool);
        if slot.is_some() {
            return slot;
        }
    }
    None
}

/// A backend on trial after an ejection, for the first attempt of a request.
#[inline]
fn trial<'e>(
    exchange: &Exchange<'_>,
    (pool, eligible): (&Pool, &'e EligibleSet),
    tried: &[BackendId],
) -> Option<&'e Member> {
    let is_first = tried.is_empty();
    is_first
        .then(|| eligible.pick_trial(exchange.request.head.method.is_idempotent(), pool.in_flight_limit))
        .flatten()
}

/// Why no backend may get a request.
pub(super) fn none(eligible: &EligibleSet) -> Failure {
    match eligible.is_empty() {
        true => Failure::NoBackend,
        false => Failure::BackendsFull,
    }
}

/// What the pick for a request depends on, of whose backends some were `tried`.
#[inline]
pub(super) fn context<'t>(exchange: &Exchange<'_>, pool: &Pool, tried: &'t [BackendId]) -> PickContext<'t> {
    let request = &exchange.request;
    PickContext {
        tried,
        in_flight_limit: pool.in_flight_limit,
        key: match &pool.affinity {
            None => None,
            Some(affinity) => key(exchange, affinity),
        },
        random: request.worker().random(),
        now: request.worker().wheel.now(),
    }
}

/// The hash of what identifies the request to a strategy with affinity.
fn key(exchange: &Exchange<'_>, affinity: &Affinity) -> Option<u64> {
    let notes = exchange
        .changes
        .as_ref()
        .and_then(|changes| changes.notes.as_deref());
    affinity.hash(&exchange.request.view(exchange.request.worker().wall()), notes)
}
