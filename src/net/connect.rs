//! A connection to a backend that can carry requests: dialled, begun with a PROXY header and under TLS where that is wanted.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::{DialError, Encrypted, Stream, dial, dial_file};
use crate::backend::Backend;
use crate::clock;
use crate::tls::{self, Offer};

/// Whom TLS is spoken with.
#[derive(Debug, Clone, Copy)]
pub struct Secured<'a> {
    /// What is asked of it.
    pub tls: &'a tls::Client,
    /// The name that the config has for it.
    pub host: &'a str,
    /// The protocols that it may choose from.
    pub offer: Offer,
}

/// Connects to a backend: to its socket file, or to the first of the addresses that its name has now that answers. Sends
/// `introduction`, a whole PROXY header or nothing, and shakes hands, within `bound` for all of it.
///
/// # Errors
/// [`DialError`]; nothing of a request was sent.
pub async fn connect(
    backend: &Backend,
    introduction: &[u8],
    secured: Option<Secured<'_>>,
    bound: Duration,
) -> Result<Stream, DialError> {
    let started = clock::now();
    let mut stream = match &backend.address.file {
        Some(path) => Stream::Unix(dial_file(path, bound).await?),
        None => Stream::Tcp(dial(&backend.resolved.load_full(), bound).await?),
    };
    if introduction.is_empty() && secured.is_none() {
        return Ok(stream);
    }
    let left = bound.saturating_sub(clock::now().saturating_duration_since(started));
    let begun = timeout(left, async {
        stream.write_all(introduction).await.map_err(DialError::Io)?;
        match secured {
            Some(secured) => secured.shake_hands(stream).await,
            None => Ok(stream),
        }
    });
    begun.await.unwrap_or(Err(DialError::TimedOut))
}

impl Secured<'_> {
    async fn shake_hands(&self, stream: Stream) -> Result<Stream, DialError> {
        let session = self
            .tls
            .connect(self.host, self.offer)
            .map_err(|error| DialError::Tls(std::io::Error::other(error)))?;
        let stream = Encrypted::shake_hands(stream, session).await;
        Ok(Stream::Tls(Box::new(stream.map_err(DialError::Tls)?)))
    }
}
