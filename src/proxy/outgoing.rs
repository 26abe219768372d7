//! The head of a client's request, as it goes to one backend.

use super::edited;
use super::exchange::Exchange;
use super::forwarding::Forwarding;
use super::headers::ForwardedRequest;
use super::request::Request;
use super::trace::Propagated;
use crate::pool::{BackendConnection, ForwardedHeaders, HeaderCase, Member, Pool};

/// Puts the head into the output of a connection to this member of the pool, with the context of the attempt's trace.
#[inline]
pub(super) fn put_head(
    exchange: &Exchange<'_>,
    (pool, member): (&Pool, &Member),
    backend: &mut BackendConnection,
    trace: Option<Propagated>,
) {
    let request = &exchange.request;
    let changes = edited::of_request(exchange, &member.backend.address);
    let head = ForwardedRequest {
        changes: changes.as_ref(),
        forwarding: forwarding(pool, request),
        head: request.head,
        identity: &request.identity,
        peer: &request.client.peer,
        backend: &member.backend.address,
        trace,
    };
    let buffers = &request.client.worker.buffers;
    let (connection, method) = (&mut backend.connection, request.head.method);
    match pool.settings.header_case {
        HeaderCase::Preserve => connection.put_request(&head, method, buffers),
        HeaderCase::Title => connection.put_request_in_title_case(&head, method, buffers),
    }
}

/// The headers that say who the client is, if the pool does not have the usual ones.
#[inline]
pub(super) fn forwarding(pool: &Pool, request: &Request<'_>) -> Option<Forwarding> {
    let headers = pool.settings.forwarded;
    if headers == ForwardedHeaders::default() {
        return None;
    }
    let needs_port = headers.has(ForwardedHeaders::X_FORWARDED_PORT);
    let destination = needs_port.then(|| request.client.destination()).flatten();
    let port = destination.map(|address| address.port());
    Some(Forwarding { headers, port })
}
