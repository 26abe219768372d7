//! Limits the number of connections of the admin API. If there are too many, the one that has waited longest for a request is
//! evicted, so that a new connection, which may be a probe, is always accepted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use tokio::time::Instant;

use super::{CHANGES_WAITING, COMMANDS_WAITING};

/// Maximum number of connections. Scrapers, dashboards and operators are few.
pub(super) const CONNECTIONS: usize = 64;

// Connections with an active request that is whole are not evicted. All requests except commands are served at once, and queued commands are
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
    /// Since when it waits for a whole request, of which a part may have arrived; `None` while it must not be evicted.
    waiting_since: Option<Instant>,
    /// Whether the head of a request has arrived that has no response yet.
    is_active: bool,
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
#[derive(Debug)]
pub(super) struct ActiveRequest(Arc<ConnectionEntry>);

impl Connections {
    /// Adds a new connection and evicts another one if necessary. `None` if all others have an active request.
    pub(super) fn register(&self) -> Option<Registration> {
        if lock(&self.0).len() >= CONNECTIONS && !self.evict() {
            return None;
        }
        let entry = Arc::new(ConnectionEntry(Mutex::new(State {
            waiting_since: Some(Instant::now()),
            is_active: false,
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
    /// Begins a request, whose body may be missing, until the result is dropped.
    pub(super) fn begin_request(self: Arc<Self>) -> ActiveRequest {
        lock(&self.0).is_active = true;
        ActiveRequest(self)
    }

    /// Whether a request is active.
    pub(super) fn is_active(&self) -> bool {
        lock(&self.0).is_active
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

impl ActiveRequest {
    /// Protects the connection from eviction until the request ends, because nothing is missing any more. A client that keeps
    /// back a part of its body could otherwise hold its place for as long as it likes.
    pub(super) fn received(&self) {
        lock(&self.0.0).waiting_since = None;
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let mut state = lock(&self.0.0);
        state.is_active = false;
        state.waiting_since = Some(Instant::now());
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

    /// As many connections as there may be.
    fn full(connections: &Connections) -> Vec<Registration> {
        let all = (0..CONNECTIONS).map(|_| connections.register().unwrap());
        all.collect()
    }

    /// An active request on each of them.
    fn begun(all: &[Registration]) -> Vec<ActiveRequest> {
        let entries = all.iter().map(|registration| Arc::clone(registration.entry()));
        entries.map(ConnectionEntry::begin_request).collect()
    }

    #[test]
    fn the_connection_that_has_waited_longest_is_evicted_and_an_active_one_is_not() {
        let connections = Connections::default();
        let all = full(&connections);
        let active = Arc::clone(all[0].entry()).begin_request();
        active.received();
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
        let mut all = full(&connections);
        drop(all.pop());
        all.push(connections.register().unwrap());
        assert!(!all.iter().any(is_evicted));
    }

    #[test]
    fn none_is_evicted_while_all_are_active() {
        let connections = Connections::default();
        let all = full(&connections);
        let active = begun(&all);
        active.iter().for_each(ActiveRequest::received);
        assert!(connections.register().is_none());
    }

    #[test]
    fn a_request_without_the_whole_of_its_body_can_be_evicted() {
        let connections = Connections::default();
        let all = full(&connections);
        let active = begun(&all);
        active.iter().skip(1).for_each(ActiveRequest::received);
        let new = connections.register().unwrap();
        assert!(is_evicted(&all[0]) && all[0].entry().is_active());
        assert!(!all.iter().skip(1).any(is_evicted) && !is_evicted(&new));
    }
}
