//! Idle connections to one backend that any worker can take. Workers put surplus connections here, and look here only before
//! they would establish a new one, so the usual request never takes the lock.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{BackendConnection, Care};
use crate::backend::{Backend, Destination};
use crate::clock::Instant;
use crate::message::Connection;
use crate::net::Stream;

/// Maximum number of shared connections of one backend; more are closed. Enough for every worker of a large machine to take
/// one at the same time.
const MAX_CONNECTIONS: usize = 256;
/// Minimum time between two sweeps, by any worker.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The shared idle connections of one backend. The lock is held for a few moves of memory, except for the sweep once a second.
#[derive(Debug, Default)]
pub struct SharedIdlePool {
    state: Mutex<PoolState>,
    /// The number of entries, for those who only ask for that.
    len: AtomicUsize,
}

#[derive(Debug, Default)]
struct PoolState {
    entries: Vec<SharedIdle>,
    /// When the last sweep ran.
    swept: Option<Instant>,
    /// [`Backend::departures`] at the last sweep.
    departures: u64,
}

/// A shared connection. Its descriptor is not registered with any runtime.
#[derive(Debug)]
struct SharedIdle {
    stream: OwnedFd,
    /// Since when it is idle.
    since: Instant,
    until: Instant,
    destination: Destination,
}

impl SharedIdlePool {
    /// Keeps a connection until `until` at most; closes it when there is no room or its descriptor cannot be shared.
    pub(super) fn put(&self, connection: BackendConnection, since: Instant, until: Instant) {
        let destination = connection.destination;
        let Some(stream) = connection
            .connection
            .into_stream()
            .and_then(Stream::into_descriptor)
        else {
            return;
        };
        self.change(|state| {
            if state.entries.len() < MAX_CONNECTIONS {
                state.entries.push(SharedIdle {
                    stream,
                    since,
                    until,
                    destination,
                });
            }
        });
    }

    /// Whether there is room for another connection.
    pub(super) fn has_room(&self) -> bool {
        self.len() < MAX_CONNECTIONS
    }

    /// Takes the newest connection that is open, has nothing to read and leads to a current address of `backend`. A system call
    /// checks this, because no runtime watches the connection meanwhile.
    pub fn take(&self, backend: &Backend, now: Instant, care: Care) -> Option<Box<BackendConnection>> {
        let is_young_enough = |idle: &mut SharedIdle| !care.is_too_old(idle.idle_for(now));
        loop {
            let mut shared_idle = self.change(|state| state.entries.pop_if(is_young_enough))?;
            if shared_idle.is_usable(backend, now) {
                let idle_for = shared_idle.idle_for(now);
                let mut connection =
                    BackendConnection::new(backend.id, Connection::new(shared_idle.stream.into()));
                connection.is_reused = true;
                connection.idle_for = idle_for;
                connection.destination = shared_idle.destination;
                return Some(connection);
            }
        }
    }

    /// Closes connections that are too old, that are readable or closed, or whose address the backend has left.
    pub(super) fn sweep(&self, backend: &Backend, now: Instant) {
        let departures = backend.departures();
        self.change(|state| {
            let is_due = |last| now.saturating_duration_since(last) >= SWEEP_EVERY;
            let is_due = state.departures != departures || state.swept.is_none_or(is_due);
            if !state.entries.is_empty() && is_due {
                state.swept = Some(now);
                state.departures = departures;
                state
                    .entries
                    .retain_mut(|shared_idle| shared_idle.is_usable(backend, now));
            }
        });
    }

    /// Closes all shared connections.
    pub fn clear(&self) {
        self.change(|state| state.entries.clear());
    }

    /// Number of shared connections. Takes no lock.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether there are no shared connections.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn change<T>(&self, change: impl FnOnce(&mut PoolState) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut state);
        self.len.store(state.entries.len(), Ordering::Relaxed);
        result
    }
}

impl SharedIdle {
    fn is_usable(&mut self, backend: &Backend, now: Instant) -> bool {
        if now >= self.until || !self.destination.is_current(backend) {
            return false;
        }
        let is_closed = crate::net::is_readable_or_closed_now(&self.stream);
        if is_closed {
            backend.reuse.closed_after(self.idle_for(now), now);
        }
        !is_closed
    }

    fn idle_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Address;
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    const SECOND: Duration = Duration::from_secs(1);

    /// A backend with a host name.
    fn named() -> std::sync::Arc<Backend> {
        Backend::new(Address::parse("http://a:1").unwrap(), 1, false)
    }

    /// Puts a connection that may be kept for a minute; returns the backend's end.
    fn put(shared_idle: &SharedIdlePool, now: Instant) -> TcpStream {
        put_to(shared_idle, now, Destination::default())
    }

    fn put_to(shared_idle: &SharedIdlePool, now: Instant, destination: Destination) -> TcpStream {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut connection = BackendConnection::new(named().id, Connection::new(OwnedFd::from(ours).into()));
        connection.destination = destination;
        shared_idle.put(*connection, now, now + 60 * SECOND);
        listener.accept().unwrap().0
    }

    /// Runs on a runtime like a worker's.
    fn on_worker(test: impl FnOnce(SharedIdlePool, Instant)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        runtime
            .unwrap()
            .block_on(async { test(SharedIdlePool::default(), crate::clock::now()) });
    }

    #[test]
    fn another_worker_takes_a_connection_once() {
        on_worker(|shared_idle, now| {
            let mut backend = put(&shared_idle, now);
            let other = std::thread::scope(|scope| {
                let thread = scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
                    runtime.unwrap().block_on(async {
                        let taken = shared_idle.take(&named(), now, Care::Usual).unwrap();
                        assert!(taken.is_reused && shared_idle.is_empty());
                        taken.connection.into_stream().unwrap().into_descriptor().unwrap()
                    })
                });
                thread.join().unwrap()
            });
            let other = TcpStream::from(other);
            (&other).write_all(b"hello").unwrap();
            let mut bytes = [0; 5];
            backend.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes, *b"hello");
        });
    }

    #[test]
    fn closed_and_readable_connections_are_not_taken() {
        on_worker(|shared_idle, now| {
            drop(put(&shared_idle, now));
            assert!(shared_idle.take(&named(), now, Care::Usual).is_none());
            let mut backend = put(&shared_idle, now);
            backend.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            assert!(shared_idle.take(&named(), now, Care::Usual).is_none());
        });
    }

    #[test]
    fn expired_connections_are_not_taken() {
        on_worker(|shared_idle, now| {
            let _backend = put(&shared_idle, now);
            assert!(
                shared_idle
                    .take(&named(), now + 60 * SECOND, Care::Usual)
                    .is_none()
            );
        });
    }

    #[test]
    fn closed_connections_are_swept_once_a_second() {
        on_worker(|shared_idle, now| {
            let _backend = put(&shared_idle, now);
            drop(put(&shared_idle, now));
            shared_idle.sweep(&named(), now);
            assert_eq!(shared_idle.len(), 1);
            drop(put(&shared_idle, now));
            shared_idle.sweep(&named(), now + SECOND / 2);
            assert_eq!(shared_idle.len(), 2, "not yet");
            shared_idle.sweep(&named(), now + SECOND);
            assert_eq!(shared_idle.len(), 1);
        });
    }

    #[test]
    fn connections_to_left_addresses_are_never_taken_and_closed_at_the_next_sweep() {
        on_worker(|shared_idle, now| {
            let named = named();
            let [stays, leaves] = [1, 2].map(|last| ([127, 0, 0, last], 1).into());
            named.resolve_to(vec![stays, leaves]);
            let to = |address| Destination::new(Some(address), named.departures());
            let _kept = [stays, leaves, leaves].map(|address| put_to(&shared_idle, now, to(address)));
            shared_idle.sweep(&named, now);
            named.resolve_to(vec![stays]);
            let taken = shared_idle.take(&named, now, Care::Usual).unwrap();
            assert!(taken.destination == to(stays) && shared_idle.is_empty());
            shared_idle.put(*taken, now, now + 60 * SECOND);
            named.resolve_to(vec![leaves]);
            shared_idle.sweep(&named, now);
            assert!(shared_idle.is_empty(), "swept at once, not after a second");
        });
    }
}
