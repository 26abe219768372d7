//! A connection to a backend that can carry requests: dialled, begun with a PROXY header and under TLS where that is wanted.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::{DialError, Encrypted, Socket, Stream, dial, dial_file};
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

/// Connects to a backend: to its socket file, or to the first of the addresses that its name has now that answers; the first
/// lookup of the name is waited for. Sends `introduction`, a whole PROXY header or nothing, and shakes hands, within `bound` for
/// all of it.
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
    let mut stream = Stream::Plain(match &backend.address.file {
        Some(path) => dial_file(path, bound).await?,
        None if backend.first_lookup.is_settled() => dial(&backend.resolved.load_full(), bound).await?,
        None => dial_soon(backend, bound).await?,
    });
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
    begun.await.unwrap_or(Err(DialError::HandshakeTimedOut))
}

/// Dials once the backend's name has been looked up: right after a start or a reload, or there would be no address for it.
async fn dial_soon(backend: &Backend, bound: Duration) -> Result<Socket, DialError> {
    let soon = async {
        backend.first_lookup.settled().await;
        dial(&backend.resolved.load_full(), bound).await
    };
    timeout(bound, soon).await.unwrap_or(Err(DialError::TimedOut))
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

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::sync::Arc;

    use super::*;
    use crate::backend::Address;

    const BOUND: Duration = Duration::from_secs(5);

    /// A backend that nobody has looked up yet, and a listener where its name could lead.
    fn named() -> (Arc<Backend>, TcpListener) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = Address::parse("http://a.invalid").unwrap();
        (Backend::new(address, 1, false), listener)
    }

    #[tokio::test]
    async fn the_first_lookup_of_a_name_is_waited_for() {
        let (backend, listener) = named();
        let looking_up = async {
            tokio::task::yield_now().await;
            let found = vec![listener.local_addr().unwrap()];
            backend.resolved.store(Arc::new(found));
            backend.first_lookup.settle();
        };
        let (connected, ()) = tokio::join!(connect(&backend, &[], None, BOUND), looking_up);
        assert!(connected.is_ok(), "{connected:?}");
    }

    #[tokio::test]
    async fn a_lookup_that_found_nothing_is_told_at_once_and_one_that_does_not_end_within_the_bound() {
        let (backend, _) = named();
        let short = Duration::from_millis(20);
        let waited = connect(&backend, &[], None, short).await;
        assert!(matches!(waited, Err(DialError::TimedOut)), "{waited:?}");
        backend.first_lookup.settle();
        let found = connect(&backend, &[], None, BOUND).await;
        assert!(matches!(found, Err(DialError::NoAddress)), "{found:?}");
    }
}
