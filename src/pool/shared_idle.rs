//! Connections to one backend that the worker that made them does not need for now, there for any worker that would have
//! to connect anew. Looked at only then: the usual request never comes here.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::BackendConnection;
use crate::backend::{Backend, Destination};
use crate::net::Stream;

/// Spare connections kept for one backend; more are closed. As many workers as any machine has can take one each at once.
const KEPT: usize = 256;
/// From one look for closed ones to the next, whoever looks.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The spare connections of one backend. The lock is held for a few moves of memory, but for the sweep once a second.
#[derive(Debug, Default)]
pub struct SharedIdlePool(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    entries: Vec<SharedIdle>,
    swept: Option<Instant>,
    /// [`Backend::departures`] at that time.
    departures: u64,
}

/// Not registered with any runtime.
#[derive(Debug)]
struct SharedIdle {
    stream: OwnedFd,
    until: Instant,
    destination: Destination,
}

impl SharedIdlePool {
    /// Keeps a connection until then at most; one that cannot be kept is closed.
    pub(super) fn put(&self, connection: BackendConnection, until: Instant) {
        let destination = connection.destination;
        let Some(stream) = connection
            .connection
            .into_stream()
            .and_then(Stream::into_descriptor)
        else {
            return;
        };
        let mut kept = self.kept();
        if kept.entries.len() < KEPT {
            kept.entries.push(SharedIdle {
                stream,
                until,
                destination,
            });
        }
    }

    /// Whether one more would be kept.
    pub(super) fn has_room(&self) -> bool {
        self.len() < KEPT
    }

    /// Takes the one put last that is still open and quiet, which the kernel is asked about: nobody has watched it. It leads where
    /// `backend`, whose spare connections these are, is now.
    pub fn take(&self, backend: &Backend, now: Instant) -> Option<Box<BackendConnection>> {
        loop {
            let mut shared_idle = self.kept().entries.pop()?;
            if shared_idle.usable(backend, now) {
                let mut connection = BackendConnection::new(backend.id, shared_idle.stream.into());
                connection.is_reused = true;
                connection.destination = shared_idle.destination;
                return Some(connection);
            }
        }
    }

    /// Closes those that are too old, that were closed by the backend, on which something arrived, or that lead where the backend is no
    /// more.
    pub(super) fn sweep(&self, backend: &Backend, now: Instant) {
        let departures = backend.departures();
        let mut kept = self.kept();
        let is_due = |last| now.saturating_duration_since(last) >= SWEEP_EVERY;
        let is_due = kept.departures != departures || kept.swept.is_none_or(is_due);
        if !kept.entries.is_empty() && is_due {
            kept.swept = Some(now);
            kept.departures = departures;
            kept.entries
                .retain_mut(|shared_idle| shared_idle.usable(backend, now));
        }
    }

    /// Closes all.
    pub fn clear(&self) {
        self.kept().entries.clear();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.kept().entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharedIdle {
    fn usable(&mut self, backend: &Backend, now: Instant) -> bool {
        now < self.until
            && self.destination.is_current(backend)
            && !crate::net::is_readable_or_closed_now(&self.stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Address;
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    const SECOND: Duration = Duration::from_secs(1);

    /// A backend by its name.
    fn named() -> std::sync::Arc<Backend> {
        Backend::new(Address::parse("http://a:1").unwrap(), 1, false)
    }

    /// What the backend sees, and a spare connection to it that may be kept for a minute.
    fn kept(shared_idle: &SharedIdlePool, now: Instant) -> TcpStream {
        kept_to(shared_idle, now, Destination::default())
    }

    fn kept_to(shared_idle: &SharedIdlePool, now: Instant, destination: Destination) -> TcpStream {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut connection = BackendConnection::new(named().id, OwnedFd::from(ours).into());
        connection.destination = destination;
        shared_idle.put(*connection, now + 60 * SECOND);
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
    fn what_one_worker_put_another_takes_once() {
        on_worker(|shared_idle, now| {
            let mut backend = kept(&shared_idle, now);
            let other = std::thread::scope(|scope| {
                let thread = scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
                    runtime.unwrap().block_on(async {
                        let taken = shared_idle.take(&named(), now).unwrap();
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
    fn one_that_was_closed_or_has_bytes_nobody_asked_for_is_not_taken() {
        on_worker(|shared_idle, now| {
            drop(kept(&shared_idle, now));
            assert!(shared_idle.take(&named(), now).is_none());
            let mut backend = kept(&shared_idle, now);
            backend.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            assert!(shared_idle.take(&named(), now).is_none());
        });
    }

    #[test]
    fn one_that_is_too_old_is_not_taken() {
        on_worker(|shared_idle, now| {
            let _backend = kept(&shared_idle, now);
            assert!(shared_idle.take(&named(), now + 60 * SECOND).is_none());
        });
    }

    #[test]
    fn closed_ones_are_found_once_a_second() {
        on_worker(|shared_idle, now| {
            let _backend = kept(&shared_idle, now);
            drop(kept(&shared_idle, now));
            shared_idle.sweep(&named(), now);
            assert_eq!(shared_idle.len(), 1);
            drop(kept(&shared_idle, now));
            shared_idle.sweep(&named(), now + SECOND / 2);
            assert_eq!(shared_idle.len(), 2, "not yet");
            shared_idle.sweep(&named(), now + SECOND);
            assert_eq!(shared_idle.len(), 1);
        });
    }

    #[test]
    fn those_that_lead_where_the_backend_is_no_more_are_closed_at_the_next_sweep_and_never_taken() {
        on_worker(|shared_idle, now| {
            let named = named();
            let [stays, leaves] = [1, 2].map(|last| ([127, 0, 0, last], 1).into());
            named.resolve_to(vec![stays, leaves]);
            let to = |address| Destination::new(Some(address), named.departures());
            let _kept = [stays, leaves, leaves].map(|address| kept_to(&shared_idle, now, to(address)));
            shared_idle.sweep(&named, now);
            named.resolve_to(vec![stays]);
            let taken = shared_idle.take(&named, now).unwrap();
            assert!(taken.destination == to(stays) && shared_idle.is_empty());
            shared_idle.put(*taken, now + 60 * SECOND);
            named.resolve_to(vec![leaves]);
            shared_idle.sweep(&named, now);
            assert!(shared_idle.is_empty(), "not only once a second");
        });
    }
}
