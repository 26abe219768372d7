//! Reads heads of responses from a backend: interim ones, and the final one.

use std::task::{Context, Poll};

use crate::buffer::Buffers;
use crate::head::Method;
use crate::message::{self, AwaitedResponse, Limits, ResponseError};
use crate::pool::BackendConnection;

/// Interim responses (1xx) that one request may have.
pub(super) const INTERIM_BOUND: usize = 32;

/// Reads the next head of the response to a request with this method; its end is then in the connection.
///
/// # Errors
/// [`ResponseError`].
#[inline]
pub(super) fn poll(
    context: &mut Context<'_>,
    backend: &mut BackendConnection,
    (method, limits): (Method, &Limits),
    buffers: &Buffers,
) -> Poll<Result<(), ResponseError>> {
    let BackendConnection {
        connection,
        scan,
        head,
        head_end,
        ..
    } = backend;
    let awaited = AwaitedResponse {
        scan,
        head,
        method,
        limits,
    };
    message::poll_response(context, connection, awaited, buffers).map_ok(|end| *head_end = end)
}
