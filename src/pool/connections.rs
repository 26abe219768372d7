//! Connections to backends: the idle ones of one worker, and what belongs to each. The one used last is taken first, so
//! that surplus ones grow old; those become spare for all workers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;

use super::Member;
use crate::backend::{Backend, BackendId, Destination, Scheme};
use crate::buffer::Buffers;
use crate::head::{Field, ResponseHead};
use crate::http1::HeadScan;
use crate::http2;
use crate::message::Connection;
use crate::net::Stream;

/// After so long without use a connection is spare: others may have it.
const SHARED_AFTER: Duration = Duration::from_secs(1);
/// How long a connection has been idle that is closed while its backend leaves new ones without an answer: it may be one
/// that serves one connection at a time, and whoever waits for it on a new one, a probe too, would wait until the last idle
/// one is closed. Under load one is used again sooner.
const A_MOMENT: Duration = Duration::from_millis(100);
/// Idle connections kept for one backend by one worker; more are closed.
const KEPT_PER_BACKEND: usize = 1024;
/// Memory for reading heads that is kept: for as many as are read at once on a busy worker.
const READING_KEPT: usize = 256;
/// Connections that one sweep closes: the kernel takes about 5 µs for each, and the worker's requests wait meanwhile. A
/// reload without a thousand backends leaves thousands to close.
const CLOSED_AT_ONCE: usize = 64;

/// A connection to a backend, with what reading an answer needs.
#[derive(Debug)]
pub struct BackendConnection {
    /// Whose it is.
    pub backend: BackendId,
    /// The bytes.
    pub connection: Connection,
    /// Reads heads from it.
    pub scan: HeadScan,
    /// The head read last.
    pub head: ResponseHead,
    /// Length of that head, which still stands at the front of the input.
    pub head_end: usize,
    /// Whether it has carried an exchange before this one.
    pub is_reused: bool,
    /// Whether it was begun in the name of one client: it carries nothing of others.
    pub is_of_one_client: bool,
    /// Whether the backend may take whoever comes next on it for the user of a request before: it is for one client alone.
    pub is_of_one_user: bool,
    /// How long the backend keeps it open while it is idle.
    pub keep_for: Duration,
    /// The rules of TLS that it was made under: [`Member::tls_generation`].
    pub tls_generation: u64,
    /// Where it leads.
    pub destination: Destination,
}

impl BackendConnection {
    /// Begins with a fresh connection.
    pub fn new(backend: BackendId, stream: Stream) -> Box<Self> {
        Self::over(backend, Connection::new(stream))
    }

    /// Begins with a stream of one that is shared.
    pub fn of_stream(backend: BackendId, stream: http2::Stream) -> Box<Self> {
        Self::over(backend, Connection::of_stream(stream))
    }

    fn over(backend: BackendId, connection: Connection) -> Box<Self> {
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
            tls_generation: 0,
            destination: Destination::default(),
        })
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
    round: RefCell<Round>,
    /// Memory for reading heads, which an idle connection has no use for. The next to read one finds it in the processor's cache,
    /// however many backends there are.
    reading: RefCell<Vec<(HeadScan, Vec<Field>)>>,
}

/// How far the sweeping is.
#[derive(Default)]
struct Round {
    /// Backends that were not looked at in this round.
    unseen: Vec<BackendId>,
    /// How many of them one sweep looks at.
    share: usize,
    /// Nobody takes them any more; those found last are closed first, because a backend may wait for that.
    leaving: Vec<Idle>,
}

impl IdleConnections {
    /// Takes the connection that was used last and is still quiet: one on which anything arrived, or that was closed, is
    /// dropped, because its next bytes belong to nobody. `asks_kernel` makes sure of it with a system call. Dropped too is one
    /// that was made under other `tls_generation` of TLS, or that leads to an address that the backend's name has left.
    pub fn take(
        &self,
        (backend, tls_generation): (&Backend, u64),
        now: Instant,
        asks_kernel: bool,
    ) -> Option<Box<BackendConnection>> {
        let mut by_backend = self.by_backend.borrow_mut();
        let idle = by_backend.get_mut(&backend.id)?;
        while let Some(Idle {
            mut connection,
            until,
            ..
        }) = idle.pop()
        {
            let is_allowed = connection.tls_generation == tls_generation
                && now < until
                && connection.destination.is_current(backend);
            if is_allowed && !connection.connection.is_readable_or_closed(asks_kernel) {
                connection.is_reused = true;
                if let Some(memory) = self.reading.borrow_mut().pop() {
                    (connection.scan, connection.head.fields) = memory;
                }
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose last answer was read to its proven end, for at most `keep`; closes one of one client or user.
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
        self.take_memory(&mut connection);
        let mut by_backend = self.by_backend.borrow_mut();
        let idle = by_backend.entry(connection.backend).or_default();
        if idle.len() < KEPT_PER_BACKEND {
            idle.push(Idle {
                connection,
                since: now,
                until: now + keep,
            });
        }
    }

    /// Takes what reading a head needs from a connection that is about to be idle.
    fn take_memory(&self, connection: &mut BackendConnection) {
        connection.scan.clear();
        connection.head.clear();
        let scan = std::mem::take(&mut connection.scan);
        let fields = std::mem::take(&mut connection.head.fields);
        let mut reading = self.reading.borrow_mut();
        if reading.len() < READING_KEPT {
            reading.push((scan, fields));
        }
    }

    /// Begins to look through all of them, which so many calls of [`Self::sweep`] do together: no request waits for the
    /// whole of it.
    pub fn begin_sweep(&self, parts: usize) {
        let mut round = self.round.borrow_mut();
        round.unseen.clear();
        round.unseen.extend(self.by_backend.borrow().keys());
        round.share = round.unseen.len().div_ceil(parts.max(1));
    }

    /// Does the next part: closes those that are too old, that have news, that lead where their backend is no more, that a backend may
    /// need closed, or whose backend has no `member` any more; makes those spare that were not used for a while. Closes a few of many, and more at the
    /// next call.
    pub fn sweep<'m>(&self, now: Instant, member: impl Fn(BackendId) -> Option<&'m Member>) {
        let mut by_backend = self.by_backend.borrow_mut();
        let Round {
            unseen,
            share,
            leaving,
        } = &mut *self.round.borrow_mut();
        for backend in unseen.drain(unseen.len().saturating_sub(*share)..) {
            match (member(backend), by_backend.get_mut(&backend)) {
                (Some(member), Some(idle)) => sort_out(idle, member, now, leaving),
                (None, _) => {
                    let left = by_backend.remove(&backend).into_iter().flatten();
                    leaving.extend(left);
                }
                (Some(_), None) => {}
            }
        }
        leaving.truncate(leaving.len().saturating_sub(CLOSED_AT_ONCE));
    }

    /// Closes all.
    pub fn clear(&self) {
        self.by_backend.borrow_mut().clear();
        self.round.borrow_mut().leaving.clear();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_backend.borrow().values().map(Vec::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Moves what is not to be kept from `idle` to `leaving`, and what was not used for a while to where all workers find it.
fn sort_out(idle: &mut Vec<Idle>, member: &Member, now: Instant, leaving: &mut Vec<Idle>) {
    let backend = &*member.backend;
    let is_useless = |idle: &mut Idle| {
        let connection = &mut *idle.connection;
        now >= idle.until
            || !connection.destination.is_current(backend)
            || connection.connection.is_readable_or_closed(false)
    };
    leaving.extend(idle.extract_if(.., is_useless));
    // They stand in the order in which they were used.
    let since = |age| move |idle: &Idle| now.saturating_duration_since(idle.since) >= age;
    if member.backend.has_unanswered() {
        leaving.extend(idle.drain(..idle.partition_point(since(A_MOMENT))));
        member.shared_idle.clear();
    }
    // A TLS session lives in the memory of its worker.
    if member.backend.address.scheme != Scheme::Https {
        for idle in idle.drain(..idle.partition_point(since(SHARED_AFTER))) {
            if member.shared_idle.has_room() {
                member.shared_idle.put(*idle.connection, idle.until);
            } else {
                leaving.push(idle);
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

    /// Gives back one connection to each of so many backends; what the backends see.
    fn idle(connections: &IdleConnections, backends: usize, now: Instant) -> Vec<TcpStream> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let one = |_| {
            let ours = TcpStream::connect(address).unwrap();
            ours.set_nonblocking(true).unwrap();
            let connection = BackendConnection::new(BackendId::next(), OwnedFd::from(ours).into());
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
    async fn thousands_that_lost_their_backends_are_closed_a_few_at_a_time() {
        let (connections, now) = (IdleConnections::default(), clock::now());
        let backends = idle(&connections, 2 * CLOSED_AT_ONCE + 1, now);
        connections.begin_sweep(1);
        for wanted in [1, 2, 3] {
            connections.sweep(now, |_| None);
            assert!(connections.is_empty(), "nobody can take one");
            let wanted = (wanted * CLOSED_AT_ONCE).min(backends.len());
            assert_eq!(closed(&backends), wanted);
        }
    }

    /// Gives back a connection to a backend that has a name, in which each of these addresses is; which leads to the first.
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
        let mut connection = BackendConnection::new(backend.id, OwnedFd::from(ours).into());
        connection.destination = Destination::new(addresses.first().copied(), backend.departures());
        connections.give_back(connection, now, KEEP, &Buffers::default());
        (backend, listener.accept().unwrap().0)
    }

    #[tokio::test]
    async fn one_that_leads_to_an_address_that_left_is_not_taken_and_one_that_stays_is() {
        let (connections, now) = (IdleConnections::default(), clock::now());
        let [first, second, third] = [1, 2, 3].map(|last| SocketAddr::from(([127, 0, 0, last], 1)));
        let (backend, _open) = idle_at_first(&connections, &[first, second], now);
        backend.resolve_to(vec![third, first]);
        let taken = connections.take((&backend, 0), now, false).unwrap();
        connections.give_back(taken, now, KEEP, &Buffers::default());
        backend.resolve_to(vec![third]);
        assert!(connections.take((&backend, 0), now, false).is_none());
        assert!(connections.is_empty());
    }

    #[tokio::test]
    async fn a_round_looks_at_a_part_of_the_backends_at_a_time() {
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
