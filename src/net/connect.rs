//! A connection to a backend that can carry requests: dialled, and under TLS where that is wanted.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::timeout;

use super::{DialError, Encrypted, Stream, dial};
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

/// Connects to the first of `addresses` that answers, and shakes hands, within `bound` for all of it.
///
/// # Errors
/// [`DialError`]; nothing of a request was sent.
pub async fn connect(
    addresses: &[SocketAddr],
    secured: Option<Secured<'_>>,
    bound: Duration,
) -> Result<Stream, DialError> {
    let started = clock::now();
    let tcp = dial(addresses, bound).await?;
    let stream = Stream::Tcp(tcp);
    let Some(secured) = secured else {
        return Ok(stream);
    };
    let left = bound.saturating_sub(clock::now().saturating_duration_since(started));
    let session = secured
        .tls
        .connect(secured.host, secured.offer)
        .map_err(|error| DialError::Tls(std::io::Error::other(error)))?;
    match timeout(left, Encrypted::shake_hands(stream, session)).await {
        Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream))),
        Ok(Err(error)) => Err(DialError::Tls(error)),
        Err(_) => Err(DialError::TimedOut),
    }
}
