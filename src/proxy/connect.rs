//! A connection for one attempt: an idle one, a stream of one that is shared, or a new one.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::attempt::AttemptError;
use super::{Exchange, Failure};
use crate::backend::{Destination, Scheme};
use crate::clock;
use crate::http2;
use crate::net::{self, DialError, ProxyHeader, ProxyVersion, Stream};
use crate::pool::{BackendConnection, ConnectLead, Member, Pool, SingleFlight};
use crate::tls::{self, Offer};

/// Connections that others are waited for at most, one after the other: each had no room left when it came.
const WAITS: usize = 3;

impl Exchange<'_> {
    /// Takes an idle connection, or makes one.
    pub(super) async fn connect(
        &self,
        pool: &Pool,
        member: &Member,
        is_fresh: bool,
    ) -> Result<Box<BackendConnection>, AttemptError> {
        let worker = &self.client.worker;
        // A request that must not be sent twice is worth a system call that makes sure.
        let asks_kernel = !self.head.method.is_idempotent();
        let now = worker.wheel.now();
        let idle = || {
            worker
                .idle
                .take((&member.backend, member.tls_generation(pool)), now, asks_kernel)
        };
        if !is_fresh && let Some(idle) = idle().or_else(|| member.shared_idle.take(&member.backend, now)) {
            worker.counters.backend_connections_reused.increment();
            return Ok(idle);
        }
        // In a box, because every client's connection has room for this one, and few dial.
        match (pool.settings.send_proxy, member.backend.address.scheme) {
            (Some(version), _) => Box::pin(self.connect_for_client(pool, member, version)).await,
            (None, Scheme::Http) => Box::pin(self.dial(pool, member)).await,
            // What is to become a tunnel has a connection of its own, of the protocol that knows how.
            (None, Scheme::Https) if self.head.upgrade.is_some() => Box::pin(self.dial(pool, member)).await,
            (None, Scheme::Https | Scheme::H2c) if is_fresh => {
                let deadline = clock::now() + pool.settings.timeouts.connect;
                Box::pin(self.connect_shared(pool, member, None, deadline)).await
            }
            (None, Scheme::Https | Scheme::H2c) => Box::pin(self.share(pool, member)).await,
        }
    }

    /// A connection in the name of this request's client. It is kept and shared with nobody: what the backend believes of
    /// it is true for this client only, and behind a trusted proxy the next request of the same connection may be another's.
    async fn connect_for_client(
        &self,
        pool: &Pool,
        member: &Member,
        version: ProxyVersion,
    ) -> Result<Box<BackendConnection>, AttemptError> {
        let mut introduction = Vec::new();
        self.header().write(version, &mut introduction);
        let id = member.backend.id;
        let bound = pool.settings.timeouts.connect;
        let offer = match self.head.upgrade {
            Some(_) => Offer::Http1,
            None => Offer::Both,
        };
        let Reached { stream, .. } = self.reach(pool, member, &introduction, (offer, bound)).await?;
        let mut connection = if is_http2(member, &stream) {
            let (stream, _) = self.begin_http2(stream);
            BackendConnection::of_stream(id, stream)
        } else {
            BackendConnection::new(id, stream)
        };
        connection.is_of_one_client = true;
        connection.tls_generation = member.tls_generation(pool);
        Ok(connection)
    }

    /// The client as the log names it.
    fn header(&self) -> ProxyHeader {
        let named = self.identity.named.map(|ip| SocketAddr::new(ip, 0));
        match named.or_else(|| self.client.peer.ip_address()) {
            Some(source) => ProxyHeader::of_client(source, self.client.destination()),
            None => ProxyHeader::Unix,
        }
    }

    /// A connection of its own.
    async fn dial(&self, pool: &Pool, member: &Member) -> Result<Box<BackendConnection>, AttemptError> {
        let bound = pool.settings.timeouts.connect;
        let reached = self.reach(pool, member, &[], (Offer::Http1, bound)).await?;
        Ok(new_connection(pool, member, reached))
    }

    /// A stream of a connection that others use too; or a connection of its own, where the backend chooses HTTP/1.1.
    async fn share(&self, pool: &Pool, member: &Member) -> Result<Box<BackendConnection>, AttemptError> {
        let worker = &self.client.worker;
        let id = member.backend.id;
        let deadline = clock::now() + pool.settings.timeouts.connect;
        for _ in 0..WAITS {
            let wanted = (&*member.backend, member.tls_generation(pool));
            if let Some(stream) = worker.http2_connections.take(wanted, worker.wheel.now()) {
                worker.counters.backend_connections_reused.increment();
                let mut connection = BackendConnection::of_stream(id, stream);
                connection.is_reused = true;
                return Ok(connection);
            }
            match worker.http2_connections.claim(id) {
                SingleFlight::Lead(lead) => {
                    return self.connect_shared(pool, member, Some(lead), deadline).await;
                }
                SingleFlight::Independent => break,
                SingleFlight::Follow(new_connection) => {
                    if timeout_at(deadline.into(), new_connection.notified())
                        .await
                        .is_err()
                    {
                        let bound = pool.settings.timeouts.connect;
                        let detail = explain(&DialError::TimedOut, member, bound);
                        return Err(AttemptError::unsent(Failure::ConnectFailed).because(detail));
                    }
                }
            }
        }
        self.connect_shared(pool, member, None, deadline).await
    }

    /// Makes a connection until `deadline`, which is shared if the backend speaks HTTP/2.
    async fn connect_shared(
        &self,
        pool: &Pool,
        member: &Member,
        lead: Option<ConnectLead>,
        deadline: Instant,
    ) -> Result<Box<BackendConnection>, AttemptError> {
        let worker = &self.client.worker;
        let id = member.backend.id;
        let bound = deadline.saturating_duration_since(clock::now());
        let reached = self.reach(pool, member, &[], (Offer::Both, bound)).await?;
        let is_http2 = is_http2(member, &reached.stream);
        worker.http2_connections.set_protocol(id, !is_http2);
        if !is_http2 {
            return Ok(new_connection(pool, member, reached));
        }
        let (stream, shared) = self.begin_http2(reached.stream);
        let wanted = (&*member.backend, member.tls_generation(pool));
        worker.http2_connections.put(wanted, shared, reached.destination);
        drop(lead);
        Ok(BackendConnection::of_stream(id, stream))
    }

    /// Gives a connection and its first stream.
    fn begin_http2(&self, stream: Stream) -> (http2::Stream, http2::Shared) {
        let worker = Rc::clone(&self.client.worker);
        let now = worker.wheel.now();
        let (shared, mut driver) = http2::begin(stream, &self.snapshot.limits.message, now);
        let stream = shared.open(now);
        let drivers = worker.drivers.clone();
        drivers.spawn(async move { poll_fn(|context| driver.poll(context, &worker.buffers)).await });
        (stream, shared)
    }

    /// Dials, sends `introduction`, and shakes hands where TLS is spoken.
    async fn reach(
        &self,
        pool: &Pool,
        member: &Member,
        introduction: &[u8],
        (offer, bound): (Offer, Duration),
    ) -> Result<Reached, AttemptError> {
        let backend = &member.backend;
        let departures = backend.departures();
        let secured = member.secured(pool, offer);
        let connected = net::connect(backend, introduction, secured, bound).await;
        match connected.and_then(not_kept_back) {
            Ok(stream) => {
                self.client.worker.counters.backend_connections_opened.increment();
                // Only a name can lead elsewhere, so that nothing else costs a system call.
                let named = backend.address.has_name().then(|| stream.peer_address());
                let destination = Destination::new(named.flatten(), departures);
                Ok(Reached { stream, destination })
            }
            Err(error) => {
                tracing::debug!(backend = %backend.address, %error, "Could not connect to backend");
                let detail = explain(&error, member, pool.settings.timeouts.connect);
                Err(AttemptError::unconnected(&error).because(detail))
            }
        }
    }
}

/// A new connection, and where it leads.
struct Reached {
    stream: Stream,
    destination: Destination,
}

/// Addresses that are named.
const NAMED: usize = 3;

/// Says what kept a backend from being reached: which address, and why.
#[cold]
fn explain(error: &DialError, member: &Member, bound: Duration) -> String {
    let backend = &member.backend;
    let known = backend.resolved.load_full();
    let known: Vec<String> = known.iter().map(SocketAddr::to_string).collect();
    let place = match (&backend.address.file, known.as_slice()) {
        (None, [_, ..]) => {
            let more = known.len().saturating_sub(NAMED);
            let named = known.get(..NAMED).unwrap_or(&known).join(", ");
            if more > 0 {
                format!("{named} and {more} more")
            } else {
                named
            }
        }
        _ => backend.address.url.clone(),
    };
    match error {
        DialError::TimedOut => format!("could not connect to {place} within timeouts.connect ({bound:?})"),
        DialError::HandshakeTimedOut => {
            format!("the handshake with {place} did not end within timeouts.connect ({bound:?})")
        }
        DialError::Tls(error) => format!("TLS handshake with {place} failed: {}", tls::reason(error)),
        DialError::NoLocalPort(source) | DialError::NoDescriptor(source) => {
            format!("could not connect to {place}: {error} ({source})")
        }
        _ => format!("could not connect to {place}: {error}"),
    }
}

/// A connection that carries one request after the other.
fn new_connection(pool: &Pool, member: &Member, reached: Reached) -> Box<BackendConnection> {
    let mut connection = BackendConnection::new(member.backend.id, reached.stream);
    connection.tls_generation = member.tls_generation(pool);
    connection.destination = reached.destination;
    connection
}

fn is_http2(member: &Member, stream: &Stream) -> bool {
    member.backend.address.scheme == Scheme::H2c || stream.speaks_http2()
}

/// Refuses a connection that took one of the descriptors kept back for probes.
fn not_kept_back(stream: Stream) -> Result<Stream, DialError> {
    match net::is_reserved(&stream) {
        true => Err(DialError::NoDescriptor(std::io::ErrorKind::Other.into())),
        false => Ok(stream),
    }
}
