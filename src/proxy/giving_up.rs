//! Giving up on a backend that is marked down or ejected while a request waits for its response: the request goes to another
//! backend in place of waiting for its timeout, where that is safe and can succeed.

use super::exchange::Exchange;
use super::pick;
use super::route::PoolMatch;
use super::tried::Tried;
use crate::clock;
use crate::pool::{Member, Pool};
use crate::retry::{self, Cause, ReservedToken};

/// The backend of an attempt, and what other attempts depend on.
#[derive(Clone, Copy)]
pub(super) struct To<'a, 't> {
    pub(super) pool: &'a Pool,
    /// The pool and its backends, as they were when this one was picked.
    pub(super) picked_from: &'t PoolMatch<'a>,
    pub(super) member: &'a Member,
    pub(super) tried: &'t Tried,
}

/// The token of the next attempt, if this one is given up: its backend was eligible and is not any more, and another attempt may
/// follow at a backend that is eligible now. If not, the attempt goes on, since the response may still come. The token is taken
/// now: were it gone later, the request would fail although its response may come. `is_hinted`: the client has got a part of the
/// response.
#[cold]
pub(super) fn next_token<'a>(
    exchange: &Exchange<'_>,
    to: To<'a, '_>,
    is_hinted: bool,
) -> Option<ReservedToken<'a>> {
    let id = to.member.backend.id;
    let before = to.picked_from.eligible;
    // A backend that gets requests on trial, or because all are down, was not eligible before.
    if to.member.health.is_eligible() || before.is_open() || !before.contains(id) {
        return None;
    }
    let active = exchange.request.worker().local();
    let now = to.picked_from.pool_in(&active);
    let (pool, eligible) = now.unwrap_or((to.pool, before));
    let counted = to.tried.failure(Cause::Timeout, eligible);
    let failure = retry::Failure {
        is_idempotent: retry::is_repeatable(exchange.request.head),
        was_sent: true,
        is_replayable: exchange.body.replay.is_whole(),
        has_response_begun: is_hinted,
        attempts: counted.attempts + 1,
        ..counted
    };
    let avoided = to.tried.avoided(eligible);
    let context = pick::context(exchange, pool, &avoided);
    if !pool.settings.retry.may_retry(&failure) {
        return None;
    }
    eligible.pick(context)?;
    // A reload keeps the budget of a pool.
    to.pool.budget.reserve(clock::now())
}
