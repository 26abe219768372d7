//! Limits the number of connections of the admin API. If there are too many, the one that has waited longest for a request is
//! evicted, so that a new connection, which may be a probe, is always accepted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use tokio::time::Instant;

use super::{CHANGES_WAITING, COMMANDS_WAITING};

/// Maximum number of connections. Scrapers, dashboards and operators are few.
pub(super) const CONNECTIONS: usize = 64;

// Connections with an active request are not evicted. All requests except commands are served at once, and queued commands are
// bounded, so at least 16 connections remain for probes, whatever clients do.
const _: () = assert!(COMMANDS_WAITING + CHANGES_WAITING + 16 < CONNECTIONS);

/// All connections of the admin API.
#[derive(Debug, Default)]
pub(super) struct Connections(Arc<Mutex<Vec<Arc<ConnectionEntry>>>>);

/// One connection.
#[derive(Debug)]
pub(super) struct ConnectionEntry(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Since when it waits for a request, of which a part may have arrived; `None` while a request is active.
    waiting_since: Option<Instant>,
    is_evicted: bool,
    waker: Option<Waker>,
}

/// Removes the connection's entry when it is dropped.
#[derive(Debug)]
pub(super) struct Registration {
    entry: Arc<ConnectionEntry>,
    all: Arc<Mutex<Vec<Arc<ConnectionEntry>>>>,
}

/// An active request, until this is dropped.
pub(super) struct ActiveRequest(Arc<ConnectionEntry>);

impl Connections {
    /// Adds a new connection and evicts another one if necessary. `None` if all others have an active request.
    pub(super) fn register(&self) -> Option<Registration> {
        if lock(&self.0).len() >= CONNECTIONS && !self.evict() {
            return None;
        }
        let entry = Arc::new(ConnectionEntry(Mutex::new(State {
            waiting_since: Some(Instant::now()),
            is_evicted: false,
            waker: None,
        })));
        lock(&self.0).push(Arc::clone(&entry));
        Some(Registration {
            entry,
            all: Arc::clone(&self.0),
        })
    }

    /// Evicts the connection that has waited longest. Returns whether there was one.
    pub(super) fn evict(&self) -> bool {
        let mut all = lock(&self.0);
        let waiting = all.iter().enumerate();
        let waiting = waiting.filter_map(|(index, entry)| Some((lock(&entry.0).waiting_since?, index)));
        let Some((_, index)) = waiting.min() else {
            return false;
        };
        all.swap_remove(index).evict();
        true
    }
}

impl ConnectionEntry {
    /// Protects the connection from eviction until the result is dropped.
    pub(super) fn begin_request(self: Arc<Self>) -> ActiveRequest {
        lock(&self.0).waiting_since = None;
        ActiveRequest(self)
    }

    /// Whether a request is active.
    pub(super) fn is_active(&self) -> bool {
        lock(&self.0).waiting_since.is_none()
    }

    /// Whether the connection is evicted; if not, the task of `context` is woken when it is.
    pub(super) fn poll_evicted(&self, context: &Context<'_>) -> bool {
        let mut state = lock(&self.0);
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            waker => *waker = Some(context.waker().clone()),
        }
        state.is_evicted
    }

    fn evict(&self) {
        let mut state = lock(&self.0);
        state.is_evicted = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

impl Registration {
    /// The entry.
    pub(super) fn entry(&self) -> &Arc<ConnectionEntry> {
        &self.entry
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        lock(&self.all).retain(|entry| !Arc::ptr_eq(entry, &self.entry));
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        lock(&self.0.0).waiting_since = Some(Instant::now());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_evicted(registration: &Registration) -> bool {
        let noop = Context::from_waker(Waker::noop());
        registration.entry().poll_evicted(&noop)
    }

    #[test]
    fn the_connection_that_has_waited_longest_is_evicted_and_an_active_one_is_not() {
        let connections = Connections::default();
        let all: Vec<Registration> = (0..CONNECTIONS)
            .map(|_| connections.register().unwrap())
            .collect();
        let active = Arc::clone(all[0].entry()).begin_request();
        drop(Arc::clone(all[1].entry()).begin_request());
        let _new = connections.register().unwrap();
        let evicted: Vec<usize> = (0..CONNECTIONS)
            .filter(|&index| is_evicted(&all[index]))
            .collect();
        assert_eq!(evicted, [2], "0 is active, 1 was used last");
        drop(active);
    }

    #[test]
    fn a_connection_that_ends_makes_room_for_the_next() {
        let connections = Connections::default();
        let mut all: Vec<Registration> = (0..CONNECTIONS)
            .map(|_| connections.register().unwrap())
            .collect();
        drop(all.pop());
        all.push(connections.register().unwrap());
        assert!(!all.iter().any(is_evicted));
    }

    #[test]
    fn none_is_evicted_while_all_are_active() {
        let connections = Connections::default();
        let all: Vec<Registration> = (0..CONNECTIONS)
            .map(|_| connections.register().unwrap())
            .collect();
        let _active: Vec<ActiveRequest> = all
            .iter()
            .map(|registration| Arc::clone(registration.entry()).begin_request())
            .collect();
        assert!(connections.register().is_none());
    }
}
