//! Clients that stay with a backend: which one a request goes to, and the cookie that names it for the next one. Costs one branch
//! for pools without `sticky`.

use std::time::SystemTime;

use super::SnapshotHandle;
use super::changes::HeaderChange;
use super::exchange::{Exchange, Named};
use super::route::{PoolMatch, SplitTarget};
use crate::backend::BackendId;
use crate::pool::{EligibleSet, Member, Pool, Sticky, StickyCookie};
use crate::strategy::PickContext;

/// The backend that the client stays with, if the request may go there, as the context of its pick says.
#[inline]
pub(super) fn member<'a, 't>(
    exchange: &Exchange<'_>,
    (pool, eligible): (&'a Pool, &'a EligibleSet),
    context: impl FnOnce() -> PickContext<'t>,
) -> Option<&'a Member> {
    let sticky = pool.sticky.as_deref()?;
    find(exchange, eligible, (sticky, context))
}

/// The pool of a split that the client stays in: its index among the pools of the split.
#[cold]
pub(super) fn part(exchange: &Exchange<'_>, split: &SplitTarget, local: &SnapshotHandle) -> Option<usize> {
    let view = exchange.request.view(SystemTime::UNIX_EPOCH);
    split.pools.iter().position(|index| {
        let sticky = local.pool(*index).and_then(|(pool, _)| pool.sticky.as_deref());
        let Some(Sticky::Cookie(cookie)) = sticky else {
            return false;
        };
        let mut values = view.cookie(cookie.name().as_bytes());
        values.any(|value| cookie.is_of_pool(value))
    })
}

/// The header that names the backend which has responded, for a client that does not have it yet.
#[inline]
pub(super) fn set_cookie(
    exchange: &Exchange<'_>,
    to: PoolMatch<'_>,
    member: &Member,
) -> Option<HeaderChange<'static>> {
    let sticky = to.pool.sticky.as_deref()?;
    match sticky {
        Sticky::Header(_) => None,
        Sticky::Cookie(cookie) => new_cookie(exchange, to, (cookie, member)),
    }
}

fn find<'a, 't>(
    exchange: &Exchange<'_>,
    eligible: &'a EligibleSet,
    (sticky, context): (&Sticky, impl FnOnce() -> PickContext<'t>),
) -> Option<&'a Member> {
    match sticky {
        Sticky::Cookie(cookie) => {
            let member = named(exchange, eligible, cookie)?;
            let context = context();
            let may_get = eligible.may_keep_clients(member) && !context.tried.contains(&member.backend.id);
            (may_get && member.is_below(context.in_flight_limit)).then_some(member)
        }
        Sticky::Header(affinity) => {
            let view = exchange.request.view(SystemTime::UNIX_EPOCH);
            let key = Some(affinity.hash(&view, None)?);
            eligible.pick_sticky(&PickContext { key, ..context() })
        }
    }
}

/// The backend that the client's cookie names. Of several cookies with the name, such as old ones of other paths, the first that
/// names a backend counts.
fn named<'a>(
    exchange: &Exchange<'_>,
    eligible: &'a EligibleSet,
    cookie: &StickyCookie,
) -> Option<&'a Member> {
    let view = exchange.request.view(SystemTime::UNIX_EPOCH);
    let mut values = view.cookie(cookie.name().as_bytes());
    let member = values.find_map(|value| eligible.named(value));
    exchange.named.set(Some(Named {
        eligible,
        backend: member.map(|member| member.backend.id),
    }));
    member
}

/// The same, which most requests know already.
fn named_before(exchange: &Exchange<'_>, eligible: &EligibleSet, cookie: &StickyCookie) -> Option<BackendId> {
    match exchange.named.get() {
        Some(named) if std::ptr::eq(named.eligible, eligible) => named.backend,
        _ => named(exchange, eligible, cookie).map(|member| member.backend.id),
    }
}

fn new_cookie(
    exchange: &Exchange<'_>,
    to: PoolMatch<'_>,
    (cookie, member): (&StickyCookie, &Member),
) -> Option<HeaderChange<'static>> {
    if named_before(exchange, to.eligible, cookie) == Some(member.backend.id) {
        return None;
    }
    let value = to.eligible.cookie_value(member.backend.id)?;
    let is_secure = exchange.request.view(SystemTime::UNIX_EPOCH).is_secure;
    Some(HeaderChange::added("Set-Cookie", cookie.set(value, is_secure)))
}
