//! A connection to a backend that belongs to one client's connection, because the backend keeps with it who the user is
//! (NTLM, Negotiate; RFC 4559 §6). Shared with nobody, and closed with the client's. Such a handshake takes several
//! requests, which have to come by the same connection.
//!
//! Only clients of HTTP/1 that are not trusted proxies have one: the streams of HTTP/2 run side by side, and one connection
//! of a proxy may carry requests of many users.

use std::time::Duration;

use super::connect;
use super::request::Request;
use crate::clock::Instant;
use crate::pool::{BackendConnection, EligibleSet, Member, Pool};

/// A pinned connection while it is idle. One for a client: another pool that authenticates its user takes its place.
pub struct Pinned {
    connection: Box<BackendConnection>,
    until: Instant,
}

/// The backend that the client's connection is pinned to, if it is one of this pool and may get the request. One that may
/// not get requests any more is forgotten: the next one tells the client to authenticate again.
#[inline]
pub(super) fn member<'a>(
    request: &mut Request<'_>,
    pool: &Pool,
    eligible: &'a EligibleSet,
) -> Option<&'a Member> {
    let id = request.client.pinned.as_ref()?.connection.backend;
    let member: &Member = eligible.roster().member(id)?;
    if request.identity.is_trusted || !member.is_eligible() {
        request.client.pinned = None;
        return None;
    }
    member.is_below(pool.in_flight_limit).then_some(member)
}

/// Takes the connection that is pinned to `member`, if it can carry another request.
#[inline]
pub(super) fn take(
    request: &mut Request<'_>,
    pool: &Pool,
    member: &Member,
) -> Option<Box<BackendConnection>> {
    let is_for = |pinned: &mut Box<Pinned>| pinned.connection.backend == member.backend.id;
    let pinned = request.client.pinned.take_if(is_for)?;
    let mut connection = pinned.connection;
    let worker = &request.client.worker;
    // A request that must not be sent twice is worth a system call that makes sure.
    let asks_kernel = !pool.settings.retry.survives_reset(request.head);
    let is_allowed =
        connection.tls_generation == member.tls_generation(pool) && worker.wheel.now() < pinned.until;
    if !is_allowed || connection.connection.is_readable_or_closed(asks_kernel) {
        return None;
    }
    connect::count_reused(worker, pool);
    connection.is_reused = true;
    // Its end says nothing of other connections: it belongs to one user.
    connection.idle_for = Duration::MAX;
    Some(connection)
}

/// Keeps the backend's connection for this client's next request, which comes within `keep_for` or by another one.
pub(super) fn pin(request: &mut Request<'_>, mut connection: Box<BackendConnection>, keep_for: Duration) {
    if !request.client.connection.is_sequential() || request.identity.is_trusted {
        return;
    }
    let worker = &request.client.worker;
    connection.connection.release_buffers(&worker.buffers);
    let until = worker.wheel.now() + keep_for;
    request.client.pinned = Some(Box::new(Pinned { connection, until }));
}
