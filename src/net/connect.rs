//! Connects to a backend: dials it, sends a PROXY header and performs the TLS handshake where the pool is configured so.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::{DialError, Encrypted, Socket, Stream, dial, dial_unix};
use crate::backend::Backend;
use crate::clock::{self, timeout};
use crate::tls::{self, Offer};

/// The TLS settings of a connection to a backend.
#[derive(Debug, Clone, Copy)]
pub struct Secured<'a> {
    /// The client side of TLS: trusted authorities and our certificate.
    pub tls: &'a tls::Client,
    /// The backend's host in the config.
    pub host: &'a str,
    /// The protocols offered by ALPN.
    pub offer: Offer,
}

/// Connects to a backend: to its Unix socket, or to the first address of its name that accepts, after the first lookup of the
/// name. Then sends `proxy_header`, which may be empty, and performs the TLS handshake. All of it takes at most `bound`.
///
/// # Errors
/// [`DialError`]; no byte of a request was sent.
pub async fn connect(
    backend: &Backend,
    proxy_header: &[u8],
    secured: Option<Secured<'_>>,
    bound: Duration,
) -> Result<Stream, DialError> {
    connect_at(backend, None, proxy_header, secured, bound).await
}

/// The same at another port of the backend, unless it is a Unix socket.
///
/// # Errors
/// [`DialError`]; no byte of a request was sent.
pub async fn connect_at(
    backend: &Backend,
    port: Option<u16>,
    proxy_header: &[u8],
    secured: Option<Secured<'_>>,
    bound: Duration,
) -> Result<Stream, DialError> {
    let started = clock::now();
    let mut stream = Stream::Plain(match (&backend.address.file, port) {
        (Some(path), _) => dial_unix(path, bound).await?,
        (None, Some(port)) => dial_port(backend, port, bound).await?,
        (None, None) if backend.first_lookup.is_settled() => {
            dial(&backend.resolved.load_full(), bound).await?
        }
        (None, None) => dial_after_lookup(backend, bound).await?,
    });
    if proxy_header.is_empty() && secured.is_none() {
        return Ok(stream);
    }
    let left = bound.saturating_sub(clock::now().saturating_duration_since(started));
    let begun = timeout(left, async {
        stream.write_all(proxy_header).await.map_err(DialError::Io)?;
        match secured {
            Some(secured) => secured.handshake(stream).await,
            None => Ok(stream),
        }
    });
    begun.await.unwrap_or(Err(DialError::HandshakeTimedOut))
}

/// Dials another port at the addresses of the backend.
async fn dial_port(backend: &Backend, port: u16, bound: Duration) -> Result<Socket, DialError> {
    let mut addresses = backend.resolved.load_full().to_vec();
    for address in &mut addresses {
        address.set_port(port);
    }
    dial(&addresses, bound).await
}

/// Dials after the first lookup of the backend's name. Right after a start or a reload there would be no address otherwise.
async fn dial_after_lookup(backend: &Backend, bound: Duration) -> Result<Socket, DialError> {
    let dialing = async {
        backend.first_lookup.settled().await;
        dial(&backend.resolved.load_full(), bound).await
    };
    timeout(bound, dialing).await.unwrap_or(Err(DialError::TimedOut))
}

impl Secured<'_> {
    async fn handshake(&self, stream: Stream) -> Result<Stream, DialError> {
        let session = self
            .tls
            .connect(self.host, self.offer)
            .map_err(|error| DialError::Tls(std::io::Error::other(error)))?;
        let stream = Encrypted::handshake(stream, session).await;
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

    /// A backend whose name has not been looked up yet, and a listener that the lookup can return.
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
    async fn a_lookup_without_addresses_fails_at_once_and_one_that_does_not_end_fails_within_the_bound() {
        let (backend, _) = named();
        let short = Duration::from_millis(20);
        let waited = connect(&backend, &[], None, short).await;
        assert!(matches!(waited, Err(DialError::TimedOut)), "{waited:?}");
        backend.first_lookup.settle();
        let found = connect(&backend, &[], None, BOUND).await;
        assert!(matches!(found, Err(DialError::NoAddress)), "{found:?}");
    }
}
