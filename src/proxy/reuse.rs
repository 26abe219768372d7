//! Which connections to backends carry another request, and how long they are kept for one.

use std::time::Duration;

use super::Worker;
use crate::head::{BodyLength, FieldName, ResponseHead, list};
use crate::pool::{BackendConnection, Pool};

/// Reads from the head of a response, which is still at the front of the input, how long the backend keeps the connection.
#[inline]
pub(super) fn note_keep_alive(backend: &mut BackendConnection, pool: &Pool) {
    let keep_for = keep_alive_timeout(&backend.head, backend.connection.input.unread());
    backend.keep_for = keep_for.unwrap_or(pool.settings.timeouts.backend_idle);
}

/// Whether the end of the response that was read is proved, so that the next bytes are those of another one. The request was sent
/// as a whole.
#[inline]
pub(super) fn is_possible(backend: &BackendConnection) -> bool {
    backend.connection.is_sequential()
        && backend.head.keep_alive
        && backend.head.body != BodyLength::UntilClose
        && backend.connection.input.is_empty()
        && !backend.connection.input_ended
}

/// Keeps a connection for another request of any client.
#[inline]
pub(super) fn give_back(backend: Box<BackendConnection>, pool: &Pool, worker: &Worker) {
    let keep_for = backend.keep_for.min(pool.settings.timeouts.backend_idle);
    let now = worker.wheel.now();
    worker.idle.give_back(backend, now, keep_for, &worker.buffers);
}

/// Whether a request with these `credentials` or its response, whose head is at the front of the input, uses a scheme that
/// authenticates the connection, not the request (RFC 4559 §6).
#[inline]
pub(super) fn authenticates_connection<'c>(
    credentials: &mut impl Iterator<Item = &'c [u8]>,
    backend: &BackendConnection,
) -> bool {
    let bytes = backend.connection.input.unread();
    let mut challenges = backend.head.values(bytes, FieldName::WwwAuthenticate);
    credentials.any(is_of_connection) || challenges.any(is_of_connection)
}

/// Whether credentials, or one challenge of a list, are of such a scheme.
fn is_of_connection(value: &[u8]) -> bool {
    list::elements(value)
        .filter_map(|element| element.split(u8::is_ascii_whitespace).next())
        .any(|scheme| scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate"))
}

/// How long the backend says it keeps the connection, less a second for the way there: a request that meets the
/// backend's close on its way is lost.
fn keep_alive_timeout(head: &ResponseHead, bytes: &[u8]) -> Option<Duration> {
    let value = head.values(bytes, FieldName::KeepAlive).next()?;
    let parameter = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let seconds = parameter
        .filter_map(|item| item.split_at_checked(8))
        .find(|(name, _)| name.eq_ignore_ascii_case(b"timeout="))
        .and_then(|(_, digits)| std::str::from_utf8(digits).ok()?.parse::<u64>().ok())?;
    Some(Duration::from_secs(seconds.min(86_400).saturating_sub(1)))
}
