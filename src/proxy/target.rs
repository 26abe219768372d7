//! Where a request goes: to the pool of its route, to one of several, or nowhere, because the route itself has the response.

use super::exchange::Exchange;
use super::local_response;
use super::route::PoolMatch;
use super::seen::Seen;
use super::{Failure, LocalReason, Route, Target, sticky};

/// Chooses the pool of a request.
///
/// # Errors
/// The response of the route, or that there is no such pool, which a checked config rules out.
#[inline]
pub(super) fn choose<'a>(
    exchange: &mut Exchange<'a>,
    route: &'a Route,
    seen: &'a Seen,
) -> Result<PoolMatch<'a>, LocalReason> {
    let index = match &route.target {
        Target::Pool(index) => Some(*index),
        Target::Split(to) => {
            let part = to
                .is_sticky
                .then(|| sticky::part(exchange, to, seen.first()))
                .flatten();
            to.pools.get(part.unwrap_or_else(|| to.split.choose())).copied()
        }
        Target::Redirect(redirect) => return Err(local_response::redirect(exchange, redirect)),
        Target::Respond(respond) => return Err(local_response::fixed(exchange, respond)),
    };
    let to = index
        .and_then(|index| PoolMatch::of(index, seen))
        .ok_or(Failure::NoRoute)?;
    exchange.record.pool = Some(to.pool);
    exchange.body.replay.keep(to.pool.settings.retry.replay_limit);
    Ok(to)
}
