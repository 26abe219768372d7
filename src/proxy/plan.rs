//! The plan of a request: whether it is forwarded at all, and what is prepared before a backend is picked.

use super::body::is_larger;
use super::exchange::Exchange;
use super::max_forwards::MaxForwards;
use super::route::RouteMatch;
use super::{Failure, LocalReason, via};
use crate::message::Malformed;

/// Checks the request and prepares its forwarding to the pool of its route.
///
/// # Errors
/// Why the client gets a local response. That the request is not to be forwarded comes before that no route is there for it.
#[inline]
pub(super) fn plan<'a>(
    exchange: &mut Exchange<'a>,
    found: Option<RouteMatch<'a>>,
) -> Result<RouteMatch<'a>, LocalReason> {
    let head = exchange.request.head;
    let max_forwards = MaxForwards::of(head);
    if max_forwards == MaxForwards::Reached {
        return Err(LocalReason::LastRecipient);
    }
    if via::is_loop(head) {
        return Err(Failure::LoopDetected.into());
    }
    if is_larger(head.body, exchange.request.snapshot.limits.body) {
        return Err(Failure::BodyTooLarge.into());
    }
    if max_forwards == MaxForwards::Invalid {
        return Err(Failure::Malformed(Malformed::BadMaxForwards).into());
    }
    let found = found.ok_or(Failure::NoRoute)?;
    exchange.record.leads_to(found.route, found.pool);
    exchange.body.replay.keep(found.pool.settings.retry.replay_limit);
    Ok(found)
}
