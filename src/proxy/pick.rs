//! Picks the backend of the first attempt. Those of further attempts are picked with the same context, by `attempts`.

use super::Failure;
use super::pinned;
use super::request::Request;
use super::route::PoolMatch;
use crate::backend::BackendId;
use crate::pool::{Member, Pool};
use crate::strategy::PickContext;

/// Picks the backend that the client's connection is pinned to, else one by the pool's strategy.
///
/// # Errors
/// No backend is eligible, or all of them have reached their limit of requests.
#[inline]
pub(super) fn first<'a>(request: &mut Request<'_>, to: PoolMatch<'a>) -> Result<&'a Member, Failure> {
    let PoolMatch { pool, eligible } = to;
    pinned::member(request, pool, eligible)
        .or_else(|| eligible.pick(context(request, pool, &[])))
        .ok_or_else(|| match eligible.is_empty() {
            true => Failure::NoBackend,
            false => Failure::BackendsFull,
        })
}

/// What the pick for a request depends on, of whose backends some were `tried`.
#[inline]
pub(super) fn context<'t>(request: &Request<'_>, pool: &Pool, tried: &'t [BackendId]) -> PickContext<'t> {
    PickContext {
        tried,
        in_flight_limit: pool.settings.in_flight_per_backend,
        key: 0,
        random: request.worker().random(),
        now: request.worker().wheel.now(),
    }
}
