//! Reads a PROXY header from the front of a connection, and not a byte more.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use super::Stream;
use super::proxy_protocol::{BadHeader, ProxyHeader};

/// Bytes that are looked at at once. What is behind the header among them stays with the kernel.
const WINDOW: usize = 512;

/// Why a connection has no header.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// It ended before its first byte, as those that only look whether somebody listens do.
    #[error("nothing came")]
    Silent,
    /// It ended within the header.
    #[error("the connection ended within the PROXY header")]
    Cut,
    /// What came is no header.
    #[error(transparent)]
    Bad(#[from] BadHeader),
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

/// Reads the header that a connection begins with. It is looked at first and taken then, so that whatever follows it, TLS
/// or a request, is read by those who understand it. Whoever calls bounds the time.
///
/// # Errors
/// [`HeaderError`]; the connection is of no use then.
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

/// Takes more of the header; gives it once it is whole.
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
    // Of a header that is not whole all is ours.
    let end = parsed.map_or(taken.len(), |(_, end)| end);
    let own = end.saturating_sub(before);
    let count = ready!(stream.poll_read(context, window.get_mut(..own).unwrap_or_default()))?;
    if count != own {
        // The kernel gives what it has shown.
        return Poll::Ready(Err(HeaderError::Cut));
    }
    Poll::Ready(Ok(parsed.map(|(header, _)| header)))
}
