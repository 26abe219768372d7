//! Parks client connections that have been idle for a while, to save memory. A connection with a task costs the runtime's
//! state for task and socket, a timer and the futures; a parked one costs a descriptor and an address. It gets a task again
//! when bytes arrive.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::eviction::{EvictionQueue, EvictionTicket, WakeTarget};
use super::queue::Queue;
use super::worker_set::OpenConnection;
use crate::clock::Instant;
use crate::net::{ClientAddress, Watch};
use crate::proxy::Peer;
use crate::telemetry::metrics::WorkerCounters;

/// How long a connection is idle before it is parked. Parking costs four system calls, which busy connections should not
/// pay. If many connections arrive at once and then wait, later ones reuse the memory of those already parked.
pub(super) const PARK_AFTER: Duration = Duration::from_millis(200);

/// An idle connection after its first request, off the runtime.
pub(super) struct Parked {
    pub(super) stream: OwnedFd,
    pub(super) peer: ParkedPeer,
    pub(super) open: OpenConnection,
    /// Number of requests served.
    pub(super) served: u64,
    /// When it became idle.
    pub(super) since: Instant,
}

/// The client of a parked connection. The texts derived from its address are dropped, so that whole memory pages become
/// free.
pub(super) enum ParkedPeer {
    /// Only its address and its listener are known.
    Address(ClientAddress, usize),
    /// More is known, for example its certificate.
    Peer(Rc<Peer>),
}

impl ParkedPeer {
    pub(super) fn of(peer: Rc<Peer>) -> Self {
        match peer.only_address() {
            Some(address) => Self::Address(address, peer.listener),
            None => Self::Peer(peer),
        }
    }

    pub(super) fn into_peer(self) -> Rc<Peer> {
        match self {
            Self::Address(address, listener) => {
                let mut peer = Peer::new(address);
                peer.listener = listener;
                Rc::new(peer)
            }
            Self::Peer(peer) => peer,
        }
    }

    /// The id of its listener.
    pub(super) fn listener(&self) -> usize {
        match self {
            Self::Address(_, listener) => *listener,
            Self::Peer(peer) => peer.listener,
        }
    }
}

struct ParkedEntry {
    parked: Parked,
    _ticket: EvictionTicket,
}

/// The parked connections of one worker, the longest idle first.
pub(super) struct ParkedConnections {
    watch: RefCell<Watch>,
    entries: RefCell<Queue<ParkedEntry>>,
    waiting: EvictionQueue,
    counters: Arc<WorkerCounters>,
}

impl ParkedConnections {
    /// Creates an empty set on the current runtime. Parked connections join `waiting`.
    ///
    /// # Errors
    /// The process or the system is out of descriptors or memory.
    pub(super) fn new(waiting: EvictionQueue, counters: Arc<WorkerCounters>) -> io::Result<Self> {
        Ok(Self {
            watch: RefCell::new(Watch::new()?),
            entries: RefCell::default(),
            waiting,
            counters,
        })
    }

    /// Parks a connection that has no unread bytes and none to send.
    ///
    /// # Errors
    /// It cannot be watched; it is closed then.
    pub(super) fn park(&self, parked: Parked) -> io::Result<()> {
        let mut entries = self.entries.borrow_mut();
        let key = entries.next_key();
        self.watch.borrow().add(&parked.stream, key)?;
        let ticket = self.waiting.join(WakeTarget::Parked(key), parked.served);
        entries.push(ParkedEntry {
            parked,
            _ticket: ticket,
        });
        self.counters.connections_parked.up();
        Ok(())
    }

    /// Waits until some are readable or closed, and takes them out.
    ///
    /// # Errors
    /// Errors of the runtime.
    pub(super) async fn take_readable(&self) -> io::Result<Vec<Parked>> {
        poll_fn(|context| {
            let mut watch = self.watch.borrow_mut();
            watch.poll(context).map_ok(|keys| keys.collect::<Vec<_>>())
        })
        .await
        .map(|keys| keys.into_iter().filter_map(|key| self.take(key)).collect())
    }

    /// Takes out the connection with this key.
    pub(super) fn take(&self, key: usize) -> Option<Parked> {
        let entry = self.entries.borrow_mut().remove(key)?;
        self.watch.borrow().remove(&entry.parked.stream);
        self.counters.connections_parked.down();
        Some(entry.parked)
    }

    /// Closes all connections that have been idle for `timeout`.
    pub(super) fn close_idle(&self, now: Instant, timeout: Duration) {
        loop {
            let mut entries = self.entries.borrow_mut();
            let first = entries.first().map(|(key, entry)| (key, entry.parked.since));
            drop(entries);
            match first {
                Some((key, since)) if now.saturating_duration_since(since) >= timeout => drop(self.take(key)),
                _ => return,
            }
        }
    }

    /// Takes out all connections, or those of one listener.
    pub(super) fn take_all(&self, of: Option<usize>) -> Vec<Parked> {
        let entries = self.entries.borrow();
        let is_meant = |parked: &Parked| of.is_none_or(|listener| parked.peer.listener() == listener);
        let meant = entries.iter().filter(|(_, entry)| is_meant(&entry.parked));
        let keys: Vec<usize> = meant.map(|(key, _)| key).collect();
        drop(entries);
        keys.into_iter().filter_map(|key| self.take(key)).collect()
    }
}
