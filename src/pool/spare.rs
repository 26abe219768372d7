//! Connections to one backend that the worker that made them does not need for now, there for any worker that would have
//! to connect anew. Looked at only then: the usual request never comes here.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::BackendConnection;
use crate::backend::BackendId;
use crate::net::Stream;

/// Spare connections kept for one backend; more are closed. As many workers as any machine has can take one each at once.
const KEPT: usize = 256;
/// From one look for closed ones to the next, whoever looks.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The spare connections of one backend. The lock is held for a few moves of memory, but for the sweep once a second.
#[derive(Debug, Default)]
pub struct SpareConnections(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    spares: Vec<Spare>,
    swept: Option<Instant>,
}

/// Not registered with any runtime.
#[derive(Debug)]
struct Spare {
    stream: OwnedFd,
    until: Instant,
}

impl SpareConnections {
    /// Keeps a connection until then at most; one that cannot be kept is closed.
    pub(super) fn put(&self, connection: BackendConnection, until: Instant) {
        let Some(stream) = connection
            .connection
            .into_stream()
            .and_then(Stream::into_descriptor)
        else {
            return;
        };
        let mut kept = self.kept();
        if kept.spares.len() < KEPT {
            kept.spares.push(Spare { stream, until });
        }
    }

    /// Whether one more would be kept.
    pub(super) fn has_room(&self) -> bool {
        self.len() < KEPT
    }

    /// Takes the one put last that is still open and quiet, which the kernel is asked about: nobody has watched it.
    pub fn take(&self, backend: BackendId, now: Instant) -> Option<Box<BackendConnection>> {
        loop {
            let spare = self.kept().spares.pop()?;
            if spare.usable(now) {
                let mut connection = BackendConnection::new(backend, spare.stream.into());
                connection.is_reused = true;
                return Some(connection);
            }
        }
    }

    /// Closes those that are too old, that were closed by the backend, or on which something arrived.
    pub(super) fn sweep(&self, now: Instant) {
        let mut kept = self.kept();
        let is_due = |last| now.saturating_duration_since(last) >= SWEEP_EVERY;
        if !kept.spares.is_empty() && kept.swept.is_none_or(is_due) {
            kept.swept = Some(now);
            kept.spares.retain(|spare| spare.usable(now));
        }
    }

    /// Closes all.
    pub fn clear(&self) {
        self.kept().spares.clear();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.kept().spares.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spare {
    fn usable(&self, now: Instant) -> bool {
        now < self.until && !crate::net::has_news_now(&self.stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    const SECOND: Duration = Duration::from_secs(1);

    /// What the backend sees, and a spare connection to it that may be kept for a minute.
    fn kept(spare: &SpareConnections, now: Instant) -> TcpStream {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        ours.set_nonblocking(true).unwrap();
        let connection = BackendConnection::new(BackendId::next(), OwnedFd::from(ours).into());
        spare.put(*connection, now + 60 * SECOND);
        listener.accept().unwrap().0
    }

    /// Runs on a runtime like a worker's.
    fn on_worker(test: impl FnOnce(SpareConnections, Instant)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        runtime
            .unwrap()
            .block_on(async { test(SpareConnections::default(), crate::clock::now()) });
    }

    #[test]
    fn what_one_worker_put_another_takes_once() {
        on_worker(|spare, now| {
            let mut backend = kept(&spare, now);
            let other = std::thread::scope(|scope| {
                let thread = scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
                    runtime.unwrap().block_on(async {
                        let taken = spare.take(BackendId::next(), now).unwrap();
                        assert!(taken.is_reused && spare.is_empty());
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
        on_worker(|spare, now| {
            drop(kept(&spare, now));
            assert!(spare.take(BackendId::next(), now).is_none());
            let mut backend = kept(&spare, now);
            backend.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            assert!(spare.take(BackendId::next(), now).is_none());
        });
    }

    #[test]
    fn one_that_is_too_old_is_not_taken() {
        on_worker(|spare, now| {
            let _backend = kept(&spare, now);
            assert!(spare.take(BackendId::next(), now + 60 * SECOND).is_none());
        });
    }

    #[test]
    fn closed_ones_are_found_once_a_second() {
        on_worker(|spare, now| {
            let _backend = kept(&spare, now);
            drop(kept(&spare, now));
            spare.sweep(now);
            assert_eq!(spare.len(), 1);
            drop(kept(&spare, now));
            spare.sweep(now + SECOND / 2);
            assert_eq!(spare.len(), 2, "not yet");
            spare.sweep(now + SECOND);
            assert_eq!(spare.len(), 1);
        });
    }
}
