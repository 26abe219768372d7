//! Reads the PROXY header at the start of a connection, and not a byte more.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use super::{BadHeader, ProxyHeader, Stream};

/// Bytes peeked at once. Those after the header stay in the kernel.
const WINDOW: usize = 512;

/// Why no header could be read.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// The connection ended before its first byte, as with TCP health checks.
    #[error("the connection ended before the PROXY header")]
    Silent,
    /// The connection ended within the header.
    #[error("the connection ended within the PROXY header")]
    Cut,
    /// The bytes are not a valid header.
    #[error(transparent)]
    Bad(#[from] BadHeader),
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

/// Reads the header at the start of a connection. It is peeked first and read then, so that the bytes after it, TLS or a
/// request, are left for their own readers. The caller sets a deadline.
///
/// # Errors
/// [`HeaderError`]; the connection must be closed then.
pub async fn read_proxy_header(stream: &mut Stream) -> Result<ProxyHeader, HeaderError> {
    let mut taken = Vec::new();
    poll_fn(|context| {
        loop {
            if let Some(header) = ready!(poll_more(stream, &mut taken, context))? {
                return Poll::Ready(Ok(header));
            }
        }
    })
    .await
}

/// Reads more of the header and returns it once it is complete.
fn poll_more(
    stream: &mut Stream,
    taken: &mut Vec<u8>,
    context: &mut Context<'_>,
) -> Poll<Result<Option<ProxyHeader>, HeaderError>> {
    let mut window = [0; WINDOW];
    let ahead = ready!(stream.poll_peek(context, &mut window))?;
    if ahead == 0 {
        return Poll::Ready(Err(match taken.is_empty() {
            true => HeaderError::Silent,
            false => HeaderError::Cut,
        }));
    }
    let before = taken.len();
    taken.extend_from_slice(window.get(..ahead).unwrap_or_default());
    let parsed = ProxyHeader::parse(taken)?;
    // All bytes of an incomplete header belong to it.
    let end = parsed.map_or(taken.len(), |(_, end)| end);
    let own = end.saturating_sub(before);
    let count = ready!(stream.poll_read(context, window.get_mut(..own).unwrap_or_default()))?;
    if count != own {
        // The kernel returns what it has shown to the peek.
        return Poll::Ready(Err(HeaderError::Cut));
    }
    Poll::Ready(Ok(parsed.map(|(header, _)| header)))
}
