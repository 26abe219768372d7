//! Reads from a connection until a head is whole. The same for requests and responses.

use std::io;
use std::task::{Context, Poll, ready};

use super::connection::Connection;
use crate::buffer::{Buffers, SMALL};
use crate::http1::{HeadScan, Kind, Limits, Malformed};

/// Why no head could be read.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// The stream ended in the middle of it.
    #[error("the connection ended within a head")]
    Cut,
    /// It cannot be understood.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The head that is read.
#[derive(Debug)]
pub struct AwaitedHead<'a> {
    /// What was looked at so far.
    pub scan: &'a mut HeadScan,
    /// Of a request or a response.
    pub kind: Kind,
    /// Its bounds.
    pub limits: &'a Limits,
}

/// Reads until a whole head stands at the front of the input; gives its length, or `None` when the stream ended before
/// its first byte. What was looked at is remembered, so that slow heads cost no more than fast ones.
///
/// # Errors
/// [`HeadError`].
pub fn poll_head(
    context: &mut Context<'_>,
    connection: &mut Connection,
    awaited: AwaitedHead<'_>,
    buffers: &Buffers,
) -> Poll<Result<Option<usize>, HeadError>> {
    let AwaitedHead { scan, kind, limits } = awaited;
    loop {
        if !connection.input.is_empty()
            && let Some(end) = scan.advance(connection.input.unread(), kind, limits)?
        {
            return Poll::Ready(Ok(Some(end)));
        }
        if connection.input_ended {
            let is_clean = connection.input.is_empty();
            return Poll::Ready(if is_clean { Ok(None) } else { Err(HeadError::Cut) });
        }
        if connection.input.capacity() > 0 && connection.input.is_full() {
            // The scan bounds what is unread by `limits.head`.
            connection.reserve_input(buffers, limits.head + SMALL);
        }
        ready!(connection.poll_fill(context, buffers, 0))?;
    }
}
