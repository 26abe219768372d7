//! Connections to backends, and the idle ones of one worker. The most recently used connection is taken first, so that surplus
//! ones grow old; those move to the idle pool that all workers share.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::FixedState;

use super::Member;
use crate::backend::{Backend, BackendId, Destination, Scheme};
use crate::buffer::Buffers;
use crate::clock::{Instant, TICK};
use crate::head::{Field, ResponseHead};
use crate::message::{Connection, HeadScan};

/// A connection that has been idle for this long moves to the shared idle pool, where other workers can take it.
const SHARED_AFTER: Duration = Duration::from_secs(1);
/// A connection that has been idle for this long is closed while the backend does not respond on a new one. The backend may
/// serve one connection at a time: requests and probes on a new connection would wait until the last idle one is closed.
/// Under load a connection is used again sooner.
const UNANSWERED_IDLE: Duration = Duration::from_millis(100);
/// Maximum number of idle connections that one worker keeps for one backend; more are closed.
const MAX_IDLE_PER_BACKEND: usize = 1024;
/// Maximum number of unused parse buffers: as many as a busy worker uses at the same time.
const MAX_PARSE_BUFFERS: usize = 256;
/// Maximum number of connections that one sweep closes. The kernel takes about 5 µs for each, and the worker's requests wait
/// for it; a reload that removes a thousand backends leaves thousands to close.
const MAX_CLOSED_PER_SWEEP: usize = 64;

/// A connection to a backend, with the state for reading responses.
#[derive(Debug)]
pub struct BackendConnection {
    /// The backend.
    pub backend: BackendId,
    /// The transport and its buffers.
    pub connection: Connection,
    /// The scanner for response heads.
    pub scan: HeadScan,
    /// The head that was read last.
    pub head: ResponseHead,
    /// Length of that head, which is still at the front of the input.
    pub head_end: usize,
    /// Whether it has carried an exchange before this one.
    pub is_reused: bool,
    /// Whether it began with a PROXY header that names one client: it carries no requests of other clients.
    pub is_of_one_client: bool,
    /// Whether the backend may have authenticated a user on it (NTLM, Negotiate): it carries requests of one client only.
    pub is_of_one_user: bool,
    /// How long the backend keeps it open while it is idle.
    pub keep_for: Duration,
    /// How long it had been idle when it was taken for this exchange.
    pub idle_for: Duration,
    /// The TLS settings that it was established with: [`Member::tls_generation`].
    pub tls_generation: u64,
    /// The address that it is connected to.
    pub destination: Destination,
}

impl BackendConnection {
    /// Wraps a new connection.
    pub fn new(backend: BackendId, connection: Connection) -> Box<Self> {
        Box::new(Self {
            backend,
            connection,
            scan: HeadScan::default(),
            head: ResponseHead::default(),
            head_end: 0,
            is_reused: false,
            is_of_one_client: false,
            is_of_one_user: false,
            keep_for: Duration::ZERO,
            idle_for: Duration::ZERO,
            tls_generation: 0,
            destination: Destination::default(),
        })
    }
}

/// How sure a request has to be that an idle connection is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Care {
    /// As far as the runtime was notified: the request can be sent again.
    Usual,
    /// The request cannot be sent again: a system call makes sure, and the connection must not have been idle for longer than
    /// this, if the backend is known to close idle connections.
    Special(Option<Duration>),
}

impl Care {
    /// That of a request which cannot be sent again, at this backend.
    pub fn of(backend: &Backend, now: Instant) -> Self {
        Self::Special(backend.reuse.safe_age(now))
    }

    /// Whether a connection that has been idle for this long is too old. Times are exact to a tick, so that with a very small
    /// maximum every connection is.
    pub(super) fn is_too_old(self, idle_for: Duration) -> bool {
        match self {
            Self::Usual | Self::Special(None) => false,
            Self::Special(Some(most)) => idle_for + TICK > most,
        }
    }
}

struct Idle {
    connection: Box<BackendConnection>,
    since: Instant,
    until: Instant,
}

/// The idle connections of one worker.
#[derive(Default)]
pub struct IdleConnections {
    by_backend: RefCell<HashMap<BackendId, Vec<Idle>, FixedState>>,
    round: RefCell<SweepRound>,
    /// Buffers for parsing heads, which idle connections do not need. With few of them, the next one used is still in the CPU
    /// cache, however many backends there are.
    parse_buffers: RefCell<Vec<(HeadScan, Vec<Field>)>>,
}

/// Progress of a sweep over all backends.
#[derive(Default)]
struct SweepRound {
    /// Backends that this round has not visited yet.
    remaining: Vec<BackendId>,
    /// Number of backends that one call visits.
    share: usize,
    /// Connections to close, which cannot be taken any more. The newest are closed first, because a backend may wait for that.
    closing: Vec<Idle>,
}

impl IdleConnections {
    /// Takes the most recently used connection. Closes connections on which bytes arrived or that the backend closed, because
    /// their next bytes belong to no request. Also closes connections of another `tls_generation`, and connections to an address
    /// that the backend's name no longer resolves to.
    pub fn take(
        &self,
        (backend, tls_generation): (&Backend, u64),
        now: Instant,
        care: Care,
    ) -> Option<Box<BackendConnection>> {
        let mut by_backend = self.by_backend.borrow_mut();
        let idle = by_backend.get_mut(&backend.id)?;
        // The last one was used most recently: if it is too old, all are.
        let is_young_enough = |idle: &mut Idle| {
            care == Care::Usual || !care.is_too_old(now.saturating_duration_since(idle.since))
        };
        while let Some(Idle {
            mut connection,
            since,
            until,
        }) = idle.pop_if(is_young_enough)
        {
            let idle_for = now.saturating_duration_since(since);
            let is_allowed = connection.tls_generation == tls_generation
                && now < until
                && connection.destination.is_current(backend);
            if !is_allowed {
                continue;
            }
            let asks_kernel = care != Care::Usual;
            if connection.connection.is_readable_or_closed(asks_kernel) {
                backend.reuse.closed_after(idle_for, now);
            } else {
                connection.is_reused = true;
                connection.idle_for = idle_for;
                if let Some(buffers) = self.parse_buffers.borrow_mut().pop() {
                    (connection.scan, connection.head.fields) = buffers;
                }
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection for at most `keep`. Its last response must have been read to its proven end. A connection that is
    /// limited to one client is closed.
    pub fn give_back(
        &self,
        mut connection: Box<BackendConnection>,
        now: Instant,
        keep: Duration,
        buffers: &Buffers,
    ) {
        connection.connection.release_buffers(buffers);
        if connection.is_of_one_client || connection.is_of_one_user {
            return;
        }
        self.take_parse_buffers(&mut connection);
        let mut by_backend = self.by_backend.borrow_mut();
        let idle = by_backend.entry(connection.backend).or_default();
        if idle.len() < MAX_IDLE_PER_BACKEND {
            idle.push(Idle {
                connection,
                since: now,
                until: now + keep,
            });
        }
    }

    /// Takes the parse buffers from a connection that becomes idle.
    fn take_parse_buffers(&self, connection: &mut BackendConnection) {
        connection.scan.clear();
        connection.head.clear();
        let scan = std::mem::take(&mut connection.scan);
        let fields = std::mem::take(&mut connection.head.fields);
        let mut parse_buffers = self.parse_buffers.borrow_mut();
        if parse_buffers.len() < MAX_PARSE_BUFFERS {
            parse_buffers.push((scan, fields));
        }
    }

    /// Begins a round over all backends, which `parts` calls of [`Self::sweep`] complete, so that no request waits for a whole
    /// round.
    pub fn begin_sweep(&self, parts: usize) {
        let mut round = self.round.borrow_mut();
        round.remaining.clear();
        round.remaining.extend(self.by_backend.borrow().keys());
        round.share = round.remaining.len().div_ceil(parts.max(1));
    }

    /// Does the next part of the round. Closes connections that are too old, that are readable or closed, whose address the
    /// backend has left, that block a backend (see `UNANSWERED_IDLE`), or whose backend is no `member` any more. Moves
    /// connections that were idle for a while to the shared idle pool. Closes at most `MAX_CLOSED_PER_SWEEP`, and more at the
    /// next call.
    pub fn sweep<'m>(&self, now: Instant, member: impl Fn(BackendId) -> Option<&'m Member>) {
        let mut by_backend = self.by_backend.borrow_mut();
        let SweepRound {
            remaining,
            share,
            closing,
        } = &mut *self.round.borrow_mut();
        for backend in remaining.drain(remaining.len().saturating_sub(*share)..) {
            match (member(backend), by_backend.get_mut(&backend)) {
                (Some(member), Some(idle)) => sweep_backend(idle, member, now, closing),
                (None, _) => {
                    let left = by_backend.remove(&backend).into_iter().flatten();
                    closing.extend(left);
                }
                (Some(_), None) => {}
            }
        }
        closing.truncate(closing.len().saturating_sub(MAX_CLOSED_PER_SWEEP));
    }

    /// Moves all idle connections to the shared idle pools of their backends, because this worker ends; closes those that cannot move.
    pub fn share_all<'m>(&self, member: impl Fn(BackendId) -> Option<&'m Member>) {
        for (backend, idle) in std::mem::take(&mut *self.by_backend.borrow_mut()) {
            let Some(member) = member(backend) else { continue };
            if member.backend.address.scheme == Scheme::Https {
                continue;
            }
            for Idle {
                connection,
                since,
                until,
            } in idle
            {
                member.shared_idle.put(*connection, since, until);
            }
        }
    }

    /// Closes all idle connections.
    pub fn clear(&self) {
        self.by_backend.borrow_mut().clear();
        self.round.borrow_mut().closing.clear();
    }

    /// Number of idle connections.
    pub fn len(&self) -> usize {
        self.by_backend.borrow().values().map(Vec::len).sum()
    }

    /// Whether there are no idle connections.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Sweeps the idle connections of one backend: moves those to close to `closing`, and those that were idle for a while to the
/// shared idle pool.
fn sweep_backend(idle: &mut Vec<Idle>, member: &Member, now: Instant, closing: &mut Vec<Idle>) {
    let backend = &*member.backend;
    let is_expired = |idle: &mut Idle| {
        let connection = &mut *idle.connection;
        let is_closed = connection.connection.is_readable_or_closed(false);
        if is_closed {
            let idle_for = now.saturating_duration_since(idle.since);
            backend.reuse.closed_after(idle_for, now);
        }
        now >= idle.until || !connection.destination.is_current(backend) || is_closed
    };
    closing.extend(idle.extract_if(.., is_expired));
    // Ordered by last use, oldest first.
    let since = |age| move |idle: &Idle| now.saturating_duration_since(idle.since) >= age;
    if member.backend.has_unanswered() {
        closing.extend(idle.drain(..idle.partition_point(since(UNANSWERED_IDLE))));
        member.shared_idle.clear();
    }
    // The state of a TLS connection cannot leave its worker; only a bare descriptor can.
    if member.backend.address.scheme != Scheme::Https {
        for idle in idle.drain(..idle.partition_point(since(SHARED_AFTER))) {
            if member.shared_idle.has_room() {
                member.shared_idle.put(*idle.connection, idle.since, idle.until);
            } else {
                closing.push(idle);
            }
        }
    }
    member.shared_idle.sweep(&member.backend, now);
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read as _};
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    use super::*;
    use crate::backend::Address;
    use crate::clock;

    const KEEP: Duration = Duration::from_secs(60);

    /// Gives back one connection to each of `backends` backends; returns the backends' ends.
    fn idle(connections: &IdleConnections, backends: usize, now: Instant) -> Vec<TcpStream> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let one = |_| {
            let ours = TcpStream::connect(address).unwrap();
            ours.set_nonblocking(true).unwrap();
            let connection =
                BackendConnection::new(BackendId::next(), Connection::new(OwnedFd::from(ours).into()));
            connections.give_back(connection, now, KEEP, &Buffers::default());
            let theirs = listener.accept().unwrap().0;
            theirs.set_nonblocking(true).unwrap();
            theirs
        };
        (0..backends).map(one).collect()
    }

    fn closed(backends: &[TcpStream]) -> usize {
        let is_open = |mut backend: &TcpStream| {
            let read = backend.read(&mut [0]);
            read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        };
        backends.iter().filter(|backend| !is_open(backend)).count()
    }

    #[tokio::test]
    async fn connections_of_removed_backends_are_closed_a_few_per_sweep() {
        let (connections, now) = (IdleConnections::default(), clock::now());
        let backends = idle(&connections, 2 * MAX_CLOSED_PER_SWEEP + 1, now);
        connections.begin_sweep(1);
        for wanted in [1, 2, 3] {
            connections.sweep(now, |_| None);
            assert!(connections.is_empty(), "none can be taken");
            let wanted = (wanted * MAX_CLOSED_PER_SWEEP).min(backends.len());
            assert_eq!(closed(&backends), wanted);
        }
    }

    /// Gives back a connection to the first of `addresses`, which a backend's name resolves to.
    fn idle_at_first(
        connections: &IdleConnections,
        addresses: &[SocketAddr],
        now: Instant,
    ) -> (Arc<Backend>, TcpStream) {
        let backend = Backend::new(Address::parse("http://a:1").unwrap(), 1, false);
        backend.resolve_to(addresses.to_vec());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut connection = BackendConnection::new(backend.id, Connection::new(OwnedFd::from(ours).into()));
        connection.destination = Destination::new(addresses.first().copied(), backend.departures());
        connections.give_back(connection, now, KEEP, &Buffers::default());
        (backend, listener.accept().unwrap().0)
    }

    #[tokio::test]
    async fn only_connections_to_current_addresses_are_taken() {
        let (connections, now) = (IdleConnections::default(), clock::now());
        let [first, second, third] = [1, 2, 3].map(|last| SocketAddr::from(([127, 0, 0, last], 1)));
        let (backend, _open) = idle_at_first(&connections, &[first, second], now);
        backend.resolve_to(vec![third, first]);
        let taken = connections.take((&backend, 0), now, Care::Usual).unwrap();
        connections.give_back(taken, now, KEEP, &Buffers::default());
        backend.resolve_to(vec![third]);
        assert!(connections.take((&backend, 0), now, Care::Usual).is_none());
        assert!(connections.is_empty());
    }

    #[tokio::test]
    async fn a_request_that_cannot_be_sent_again_takes_no_old_connection_once_a_close_was_seen() {
        let (connections, now) = (IdleConnections::default(), clock::now());
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let (backend, _open) = idle_at_first(&connections, &[address], now);
        let later = now + Duration::from_secs(5);
        let take = |care| {
            let taken = connections.take((&backend, 0), later, care)?;
            assert_eq!(taken.idle_for, Duration::from_secs(5));
            connections.give_back(taken, now, KEEP, &Buffers::default());
            Some(())
        };
        assert!(take(Care::of(&backend, later)).is_some(), "no close was seen");
        for (closed_after, is_taken) in [(60, true), (11, true), (10, false), (1, false)] {
            backend
                .reuse
                .closed_after(Duration::from_secs(closed_after), later);
            let taken = take(Care::of(&backend, later));
            assert_eq!(taken.is_some(), is_taken, "{closed_after}");
            assert!(take(Care::Usual).is_some(), "{closed_after}");
        }
    }

    #[tokio::test]
    async fn the_time_after_which_a_backend_closes_is_learnt_when_a_connection_is_taken() {
        let (connections, now) = (IdleConnections::default(), clock::now());
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let (backend, theirs) = idle_at_first(&connections, &[address], now);
        drop(theirs);
        let later = now + Duration::from_secs(4);
        assert!(
            connections
                .take((&backend, 0), later, Care::of(&backend, later))
                .is_none()
        );
        assert_eq!(backend.reuse.safe_age(later), Some(Duration::from_secs(2)));
    }

    #[tokio::test]
    async fn each_sweep_visits_a_part_of_the_backends() {
        let (connections, now) = (IdleConnections::default(), clock::now());
        let _backends = idle(&connections, 5, now);
        connections.begin_sweep(2);
        let left = [(); 3].map(|()| {
            connections.sweep(now, |_| None);
            connections.len()
        });
        assert_eq!(left, [2, 0, 0]);
    }
}
