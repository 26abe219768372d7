//! A connection for one attempt: an idle one, a part of one that is shared, or a new one.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::attempt_error::AttemptError;
use super::request::Request;
use super::{Failure, Worker, detail};
use crate::backend::Destination;
use crate::clock::{self, Instant};
use crate::message::{Connection, Limits, NewConnection, SharedConnection};
use crate::net::{self, DialError, ProxyHeader, ProxyVersion, Stream};
use crate::pool::{BackendConnection, Care, ConnectLead, Member, Pool, SingleFlight};
use crate::telemetry::metrics::ConnectionUse;
use crate::tls::{self, Offer};

/// Connections that others are waited for at most, one after the other: each had no room left when it came.
const WAITS: usize = 3;

/// What a connection depends on, of the request that needs it.
#[derive(Clone, Copy)]
pub(super) struct Need<'r> {
    pub(super) worker: &'r Rc<Worker>,
    pub(super) limits: &'r Limits,
    /// Whether the request can be sent again when its connection ends.
    pub(super) is_repeatable: bool,
    /// Whether the request is to become a tunnel.
    pub(super) upgrades: bool,
    /// The PROXY header that names the client, where the pool sends one.
    pub(super) introduction: Option<(ProxyVersion, ProxyHeader)>,
}

impl<'r> Need<'r> {
    /// That of a client's request to this pool.
    #[inline]
    pub(super) fn of(request: &'r Request<'_>, pool: &Pool) -> Self {
        let version = pool.settings.send_proxy;
        Self {
            worker: &request.client.worker,
            limits: &request.snapshot.limits.message,
            is_repeatable: pool.settings.retry.survives_reset(request.head),
            upgrades: request.head.upgrade.is_some(),
            introduction: version.map(|version| (version, proxy_header(request))),
        }
    }
}

/// An idle connection to a member of the pool, if there is one that the request may take: see [`Need::is_repeatable`].
#[inline]
pub(super) fn idle(
    worker: &Worker,
    (pool, member): (&Pool, &Member),
    is_repeatable: bool,
) -> Option<Box<BackendConnection>> {
    let now = worker.wheel.now();
    let care = match is_repeatable {
        true => Care::Usual,
        false => Care::of(&member.backend, now),
    };
    let wanted = (&*member.backend, member.tls_generation(pool));
    let own = worker.idle.take(wanted, now, care);
    let idle = own.or_else(|| member.shared_idle.take(&member.backend, now, care))?;
    count_reused(worker, pool);
    Some(idle)
}

/// Counts an attempt that uses an existing connection to a backend of this pool.
#[inline]
pub(super) fn count_reused(worker: &Worker, pool: &Pool) {
    worker.counters.backend_connections_reused.increment();
    pool.connections.count(worker.index, ConnectionUse::Reused);
}

/// Counts an attempt that could not connect to a backend of this pool.
#[cold]
pub(super) fn count_failed(worker: &Worker, pool: &Pool) {
    worker.counters.backend_connections_failed.increment();
    pool.connections.count(worker.index, ConnectionUse::Failed);
}

/// Gets the connection for one attempt.
pub(super) struct Connector<'r> {
    need: Need<'r>,
    pool: &'r Pool,
    member: &'r Member,
}

impl<'r> Connector<'r> {
    /// For an attempt at a member of this pool.
    #[inline]
    pub(super) fn new(need: Need<'r>, pool: &'r Pool, member: &'r Member) -> Self {
        Self { need, pool, member }
    }

    /// Takes an idle connection, or makes one.
    pub(super) async fn connect(&self, is_fresh: bool) -> Result<Box<BackendConnection>, AttemptError> {
        let Self { need, pool, member } = self;
        if !is_fresh && let Some(idle) = idle(need.worker, (pool, member), need.is_repeatable) {
            return Ok(idle);
        }
        let scheme = member.backend.address.scheme;
        // In a box, because every client's connection has room for this one, and few dial.
        match need.introduction {
            Some(introduction) => Box::pin(self.connect_for_client(introduction)).await,
            None if !scheme.may_multiplex() => Box::pin(self.dial()).await,
            // What is to become a tunnel has a connection of its own, of the protocol that knows how.
            None if scheme.negotiates() && need.upgrades => Box::pin(self.dial()).await,
            None if is_fresh => {
                let deadline = clock::now() + pool.settings.timeouts.connect;
                Box::pin(self.connect_shared(None, deadline)).await
            }
            None => Box::pin(self.share()).await,
        }
    }

    /// The same, with an end of the attempt, of which connecting is a part.
    pub(super) async fn connect_within(
        &self,
        bound: Duration,
        is_fresh: bool,
    ) -> Result<Box<BackendConnection>, AttemptError> {
        let connecting = clock::timeout(bound, self.connect(is_fresh));
        connecting.await.unwrap_or_else(|_| {
            let detail = detail::ran_out("retry.per_try_timeout", bound);
            Err(AttemptError::unsent(Failure::BackendTimeout).because(detail))
        })
    }

    /// A connection in the name of this request's client. It is kept and shared with nobody: what the backend believes of
    /// it is true for this client only, and behind a trusted proxy the next request of the same connection may be another's.
    async fn connect_for_client(
        &self,
        (version, header): (ProxyVersion, ProxyHeader),
    ) -> Result<Box<BackendConnection>, AttemptError> {
        let mut introduction = Vec::new();
        header.write(version, &mut introduction);
        let bound = self.pool.settings.timeouts.connect;
        let offer = match self.need.upgrades {
            true => Offer::Sequential,
            false => Offer::Both,
        };
        let Reached { stream, .. } = self.reach(&introduction, (offer, bound)).await?;
        let (connection, _) = self.begin(stream);
        let mut connection = BackendConnection::new(self.member.backend.id, connection);
        connection.is_of_one_client = true;
        connection.tls_generation = self.member.tls_generation(self.pool);
        Ok(connection)
    }

    /// A connection of its own.
    async fn dial(&self) -> Result<Box<BackendConnection>, AttemptError> {
        let bound = self.pool.settings.timeouts.connect;
        let Reached { stream, destination } = self.reach(&[], (Offer::Sequential, bound)).await?;
        Ok(self.sequential(Connection::new(stream), destination))
    }

    /// A part of a connection that others use too; or a connection of its own, where the backend chooses a protocol that
    /// carries one request at a time.
    async fn share(&self) -> Result<Box<BackendConnection>, AttemptError> {
        let worker = self.need.worker;
        let id = self.member.backend.id;
        let bound = self.pool.settings.timeouts.connect;
        let deadline = clock::now() + bound;
        for _ in 0..WAITS {
            let wanted = (&*self.member.backend, self.member.tls_generation(self.pool));
            if let Some(connection) = worker.multiplexed.take(wanted, worker.wheel.now()) {
                count_reused(worker, self.pool);
                let mut connection = BackendConnection::new(id, connection);
                connection.is_reused = true;
                return Ok(connection);
            }
            match worker.multiplexed.claim(id) {
                SingleFlight::Lead(lead) => return self.connect_shared(Some(lead), deadline).await,
                SingleFlight::Independent => break,
                SingleFlight::Follow(new_connection) => {
                    if clock::timeout_at(deadline, new_connection.notified())
                        .await
                        .is_err()
                    {
                        let detail = explain(&DialError::TimedOut, self.member, bound);
                        return Err(AttemptError::unsent(Failure::ConnectFailed).because(detail));
                    }
                }
            }
        }
        self.connect_shared(None, deadline).await
    }

    /// Makes a connection until `deadline`, which is shared if it carries many requests at a time.
    async fn connect_shared(
        &self,
        lead: Option<ConnectLead>,
        deadline: Instant,
    ) -> Result<Box<BackendConnection>, AttemptError> {
        let multiplexed = &self.need.worker.multiplexed;
        let id = self.member.backend.id;
        let bound = deadline.saturating_duration_since(clock::now());
        let Reached { stream, destination } = self.reach(&[], (Offer::Both, bound)).await?;
        let (connection, shared) = self.begin(stream);
        multiplexed.set_protocol(id, shared.is_none());
        let Some(shared) = shared else {
            return Ok(self.sequential(connection, destination));
        };
        let wanted = (&*self.member.backend, self.member.tls_generation(self.pool));
        multiplexed.put(wanted, shared, destination);
        drop(lead);
        Ok(BackendConnection::new(id, connection))
    }

    /// Begins the protocol on a new connection. Gives the connection for this request, and what other requests can share of it.
    fn begin(&self, stream: Stream) -> (Connection, Option<SharedConnection>) {
        let scheme = self.member.backend.address.scheme;
        let Need { worker, limits, .. } = self.need;
        let now = worker.wheel.now();
        match NewConnection::begin(stream, scheme, limits, now) {
            NewConnection::Sequential(connection) => (connection, None),
            NewConnection::Multiplexed(shared, mut driver) => {
                let connection = shared.open(now);
                let worker = Rc::clone(worker);
                let drivers = worker.drivers.clone();
                drivers.spawn(async move { poll_fn(|context| driver.poll(context, &worker.buffers)).await });
                (connection, Some(shared))
            }
        }
    }

    /// A new connection that carries one request after the other.
    fn sequential(&self, connection: Connection, destination: Destination) -> Box<BackendConnection> {
        let mut connection = BackendConnection::new(self.member.backend.id, connection);
        connection.tls_generation = self.member.tls_generation(self.pool);
        connection.destination = destination;
        connection
    }

    /// Dials, sends `introduction`, and shakes hands where TLS is spoken.
    async fn reach(
        &self,
        introduction: &[u8],
        (offer, bound): (Offer, Duration),
    ) -> Result<Reached, AttemptError> {
        let backend = &self.member.backend;
        let departures = backend.departures();
        let secured = self.member.secured(self.pool, offer);
        let connected = net::connect(backend, introduction, secured, bound).await;
        match connected.and_then(not_kept_back) {
            Ok(stream) => {
                let worker = self.need.worker;
                worker.counters.backend_connections_opened.increment();
                self.pool.connections.count(worker.index, ConnectionUse::Opened);
                // Only a name can lead elsewhere, so that nothing else costs a system call.
                let named = backend.address.has_name().then(|| stream.peer_address());
                let destination = Destination::new(named.flatten(), departures);
                Ok(Reached { stream, destination })
            }
            Err(error) => {
                tracing::debug!(backend = %backend.address, %error, "Could not connect to backend");
                let detail = explain(&error, self.member, self.pool.settings.timeouts.connect);
                Err(AttemptError::unconnected(&error).because(detail))
            }
        }
    }
}

/// The PROXY header with the client as the log names it.
fn proxy_header(request: &Request<'_>) -> ProxyHeader {
    let client = &request.client;
    let named = request.identity.named.map(|ip| SocketAddr::new(ip, 0));
    match named.or_else(|| client.peer.ip_address()) {
        Some(source) => ProxyHeader::of_client(source, client.destination()),
        None => ProxyHeader::Unix,
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

/// Refuses a connection that took one of the descriptors kept back for probes.
fn not_kept_back(stream: Stream) -> Result<Stream, DialError> {
    match net::is_reserved(&stream) {
        true => Err(DialError::NoDescriptor(std::io::ErrorKind::Other.into())),
        false => Ok(stream),
    }
}
