//! Where client connections stand that have been idle for a while. A connection with a task costs the runtime's state of
//! task and socket, an alarm and the futures; one that is parked costs a descriptor and a name. It gets a task again when
//! something comes by it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::eviction::{EvictionQueue, EvictionTicket, WakeTarget};
use super::queue::Queue;
use super::worker_set::OpenConnection;
use crate::net::{ClientAddress, Watch};
use crate::proxy::Peer;
use crate::telemetry::metrics::WorkerCounters;

/// How long a connection has been idle that is parked. Parking costs four calls, which who is busy does not pay; and when
/// many come at once and then wait, what they held is used again for those that come after them.
pub(super) const PARK_AFTER: Duration = Duration::from_millis(200);

/// An idle connection after its first request, off the runtime.
pub(super) struct Parked {
    pub(super) stream: OwnedFd,
    pub(super) name: Name,
    pub(super) open: OpenConnection,
    /// Requests that were served.
    pub(super) served: u64,
    /// Since when it is idle.
    pub(super) since: Instant,
}

/// The other end of one that is parked. What is written out of an address for requests is dropped, so that whole pages of
/// memory become free.
pub(super) enum Name {
    /// Its address says everything.
    Address(ClientAddress),
    /// More is known of it.
    Peer(Rc<Peer>),
}

impl Name {
    pub(super) fn of(peer: Rc<Peer>) -> Self {
        match peer.only_address() {
            Some(address) => Self::Address(address),
            None => Self::Peer(peer),
        }
    }

    pub(super) fn into_peer(self) -> Rc<Peer> {
        match self {
            Self::Address(address) => Rc::new(Peer::new(address)),
            Self::Peer(peer) => peer,
        }
    }
}

struct ParkedEntry {
    parked: Parked,
    _ticket: EvictionTicket,
}

/// The parked connections of one worker, those that have been there longest first.
pub(super) struct ParkedConnections {
    watch: RefCell<Watch>,
    entries: RefCell<Queue<ParkedEntry>>,
    waiting: EvictionQueue,
    counters: Arc<WorkerCounters>,
}

impl ParkedConnections {
    /// Makes an empty one on the current runtime. Who is parked waits in `waiting`.
    ///
    /// # Errors
    /// The process or the machine lacks something.
    pub(super) fn new(waiting: EvictionQueue, counters: Arc<WorkerCounters>) -> io::Result<Self> {
        Ok(Self {
            watch: RefCell::new(Watch::new()?),
            entries: RefCell::default(),
            waiting,
            counters,
        })
    }

    /// Parks a connection, of which nothing is unread and nothing waits to be written.
    ///
    /// # Errors
    /// It cannot be watched: it is closed then.
    pub(super) fn park(&self, parked: Parked) -> io::Result<()> {
        let mut entries = self.entries.borrow_mut();
        let key = entries.next_key();
        self.watch.borrow().add(&parked.stream, key)?;
        let ticket = self.waiting.join(WakeTarget::Parked(key));
        entries.push(ParkedEntry {
            parked,
            _ticket: ticket,
        });
        self.counters.connections_parked.up();
        Ok(())
    }

    /// Waits until some have news; they are not parked any more.
    ///
    /// # Errors
    /// Those of the runtime.
    pub(super) async fn closing(&self) -> io::Result<Vec<Parked>> {
        poll_fn(|context| {
            let mut watch = self.watch.borrow_mut();
            watch.poll(context).map_ok(|keys| keys.collect::<Vec<_>>())
        })
        .await
        .map(|keys| keys.into_iter().filter_map(|key| self.take(key)).collect())
    }

    /// Takes one out.
    pub(super) fn take(&self, key: usize) -> Option<Parked> {
        let entry = self.entries.borrow_mut().remove(key)?;
        self.watch.borrow().remove(&entry.parked.stream);
        self.counters.connections_parked.down();
        Some(entry.parked)
    }

    /// Closes all that have been idle for `longest`.
    pub(super) fn close_old(&self, now: Instant, longest: Duration) {
        loop {
            let mut entries = self.entries.borrow_mut();
            let first = entries.first().map(|(key, entry)| (key, entry.parked.since));
            drop(entries);
            match first {
                Some((key, since)) if now.saturating_duration_since(since) >= longest => drop(self.take(key)),
                _ => return,
            }
        }
    }

    /// Takes out all.
    pub(super) fn take_all(&self) -> Vec<Parked> {
        let keys: Vec<usize> = self.entries.borrow().iter().map(|(key, _)| key).collect();
        keys.into_iter().filter_map(|key| self.take(key)).collect()
    }
}
