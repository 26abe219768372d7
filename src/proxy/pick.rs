//! Picks the backend of the first attempt: one that is pinned, on trial after an ejection, or chosen by the strategy. Those of further attempts are picked with the same context, by `attempts`.

use super::Failure;
use super::exchange::Exchange;
use super::pinned;
use super::route::PoolMatch;
use super::sticky;
use crate::backend::BackendId;
use crate::clock;
use crate::pool::{Affinity, Member, Pool};
use crate::strategy::PickContext;

/// Picks the backend that the client's connection is pinned to, else the one that the client stays with, else one by the pool's
/// strategy.
///
/// # Errors
/// No backend is eligible, or all of them have reached their limit of requests.
#[inline]
pub(super) fn first<'a>(exchange: &mut Exchange<'_>, to: PoolMatch<'a>) -> Result<&'a Member, Failure> {
    let PoolMatch { pool, eligible } = to;
    pinned::member(&mut exchange.request, pool, eligible)
        .or_else(|| sticky::member(exchange, to, || context(exchange, pool, &[])))
        .or_else(|| eligible.pick_trial(exchange.request.head.method.is_idempotent()))
        .or_else(|| eligible.pick(context(exchange, pool, &[])))
        .ok_or_else(|| match eligible.is_empty() {
            true => Failure::NoBackend,
            false => Failure::BackendsFull,
        })
}

/// What the pick for a request depends on, of whose backends some were `tried`.
#[inline]
pub(super) fn context<'t>(exchange: &Exchange<'_>, pool: &Pool, tried: &'t [BackendId]) -> PickContext<'t> {
    let request = &exchange.request;
    PickContext {
        tried,
        in_flight_limit: pool.settings.in_flight_per_backend,
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
    let notes = exchange.changes.as_deref().map(|changes| &changes.notes);
    affinity.hash(&exchange.request.view(clock::wall()), notes)
}
