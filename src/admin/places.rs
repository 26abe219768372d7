//! The connections of the admin API by how long each has waited for its next request: where there are too many, the one that has
//! waited longest is closed, and the newest, which may be a probe, always has a place.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use tokio::time::Instant;

use super::COMMANDS_WAITING;

/// Connections at one time. Scrapers, dashboards and operators are few.
pub(super) const CONNECTIONS: usize = 64;

// Requests that are being served are not closed. All but commands are served at once, and commands that wait are bounded: the
// other places are there for the probes, whatever clients do.
const _: () = assert!(COMMANDS_WAITING + 16 < CONNECTIONS);

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Places(Arc<Mutex<Vec<Arc<Place>>>>);

/// One connection.
#[derive(Debug)]
pub(super) struct Place(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Since when it waits for a request, of which a part may have come; `None` while one is being served.
    waiting_since: Option<Instant>,
    is_evicted: bool,
    waker: Option<Waker>,
}

/// Frees the place when the connection ends.
#[derive(Debug)]
pub(super) struct Taken {
    place: Arc<Place>,
    all: Arc<Mutex<Vec<Arc<Place>>>>,
}

/// A request that is being served, until this is dropped.
pub(super) struct Serving(Arc<Place>);

impl Places {
    /// Takes a place for a new connection, which another one may lose. `None` when all others are being served.
    pub(super) fn take(&self) -> Option<Taken> {
        if lock(&self.0).len() >= CONNECTIONS && !self.evict() {
            return None;
        }
        let place = Arc::new(Place(Mutex::new(State {
            waiting_since: Some(Instant::now()),
            is_evicted: false,
            waker: None,
        })));
        lock(&self.0).push(Arc::clone(&place));
        Some(Taken {
            place,
            all: Arc::clone(&self.0),
        })
    }

    /// Closes the connection that has waited longest; whether there was one.
    pub(super) fn evict(&self) -> bool {
        let mut all = lock(&self.0);
        let waiting = all.iter().enumerate();
        let waiting = waiting.filter_map(|(index, place)| Some((lock(&place.0).waiting_since?, index)));
        let Some((_, index)) = waiting.min() else {
            return false;
        };
        all.swap_remove(index).evict();
        true
    }
}

impl Place {
    /// Says that a request is being served: its connection keeps its place meanwhile.
    pub(super) fn serve(self: Arc<Self>) -> Serving {
        lock(&self.0).waiting_since = None;
        Serving(self)
    }

    /// Whether a request is being served.
    pub(super) fn is_serving(&self) -> bool {
        lock(&self.0).waiting_since.is_none()
    }

    /// Whether the connection is to end; if not, the task of `context` is woken when it is.
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

impl Taken {
    /// The place.
    pub(super) fn place(&self) -> &Arc<Place> {
        &self.place
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        lock(&self.all).retain(|place| !Arc::ptr_eq(place, &self.place));
    }
}

impl Drop for Serving {
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

    fn is_evicted(taken: &Taken) -> bool {
        let noop = Context::from_waker(Waker::noop());
        taken.place().poll_evicted(&noop)
    }

    #[test]
    fn the_one_that_has_waited_longest_loses_its_place_and_one_that_is_served_keeps_it() {
        let places = Places::default();
        let all: Vec<Taken> = (0..CONNECTIONS).map(|_| places.take().unwrap()).collect();
        let serving = Arc::clone(all[0].place()).serve();
        drop(Arc::clone(all[1].place()).serve());
        let _new = places.take().unwrap();
        let evicted: Vec<usize> = (0..CONNECTIONS)
            .filter(|&index| is_evicted(&all[index]))
            .collect();
        assert_eq!(evicted, [2], "0 is being served, 1 was used last");
        drop(serving);
    }

    #[test]
    fn a_connection_that_ends_leaves_its_place_to_the_next() {
        let places = Places::default();
        let mut all: Vec<Taken> = (0..CONNECTIONS).map(|_| places.take().unwrap()).collect();
        drop(all.pop());
        all.push(places.take().unwrap());
        assert!(!all.iter().any(is_evicted));
    }

    #[test]
    fn nobody_loses_a_place_while_all_are_being_served() {
        let places = Places::default();
        let all: Vec<Taken> = (0..CONNECTIONS).map(|_| places.take().unwrap()).collect();
        let _serving: Vec<Serving> = all
            .iter()
            .map(|taken| Arc::clone(taken.place()).serve())
            .collect();
        assert!(places.take().is_none());
    }
}
