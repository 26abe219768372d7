//! The connections of one worker to backends that requests share, because each carries many at a time. While one request establishes a connection, other
//! requests for the same backend wait for it instead of establishing another (single flight).

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use foldhash::fast::FixedState;
use tokio::sync::Notify;

use crate::backend::{Backend, BackendId, Destination};
use crate::clock::Instant;
use crate::message::{Connection, SharedConnection};

/// Maximum number of connections that one worker keeps to one backend, of about a hundred requests each.
const MAX_PER_BACKEND: usize = 64;

/// The connections of one worker that carry many requests at a time.
#[derive(Debug, Default)]
pub struct MultiplexedConnections {
    by_backend: RefCell<HashMap<BackendId, BackendConnections, FixedState>>,
}

#[derive(Debug, Default)]
struct BackendConnections {
    /// The TLS settings that the connections were established with.
    tls_generation: u64,
    /// [`Backend::departures`] when all of the connections led to current addresses.
    departures: u64,
    open: Vec<OpenConnection>,
    /// Wakes the requests that wait for the connection being established; `None` when none is.
    lead: Option<Rc<Notify>>,
    /// Whether the backend chose a protocol last time (ALPN) that carries one request at a time: then no request waits for
    /// another.
    is_sequential: bool,
}

/// A connection that carries requests, and its address.
#[derive(Debug)]
struct OpenConnection {
    connection: SharedConnection,
    destination: Destination,
}

impl BackendConnections {
    /// Drops connections with older TLS settings and connections to addresses that the backend has left; their running requests
    /// continue. Returns whether `tls_generation` is the newest seen.
    fn adopt_generation(&mut self, backend: &Backend, tls_generation: u64) -> bool {
        if tls_generation > self.tls_generation {
            self.tls_generation = tls_generation;
            self.open.clear();
        }
        self.follow_address(backend);
        tls_generation == self.tls_generation
    }

    fn follow_address(&mut self, backend: &Backend) {
        let departures = backend.departures();
        if departures != self.departures {
            self.departures = departures;
            self.open.retain_mut(|open| open.destination.is_current(backend));
        }
    }
}

/// What a request does when no connection has room for it.
pub enum SingleFlight {
    /// Establish one; no other request does until this is dropped.
    Lead(ConnectLead),
    /// Wait until another request has established one, or failed.
    Follow(Rc<Notify>),
    /// Establish one for this request alone.
    Independent,
}

/// The right to establish a connection. Wakes the waiting requests when it is dropped.
pub struct ConnectLead {
    shared: Rc<MultiplexedConnections>,
    backend: BackendId,
}

impl Drop for ConnectLead {
    fn drop(&mut self) {
        let mut by_backend = self.shared.by_backend.borrow_mut();
        let lead = by_backend
            .get_mut(&self.backend)
            .and_then(|entry| entry.lead.take());
        if let Some(notify) = lead {
            notify.notify_waiters();
        }
    }
}

impl MultiplexedConnections {
    /// Opens a connection for one request on one that has room, leads to a current address and has this `tls_generation`.
    pub fn take(&self, (backend, tls_generation): (&Backend, u64), now: Instant) -> Option<Connection> {
        let mut by_backend = self.by_backend.borrow_mut();
        let entry = by_backend.get_mut(&backend.id)?;
        if !entry.adopt_generation(backend, tls_generation) {
            return None;
        }
        let mut open = entry.open.iter().map(|open| &open.connection);
        open.find(|shared| shared.has_room())
            .map(|shared| shared.open(now))
    }

    /// Decides what a request does when [`Self::take`] found no connection.
    pub fn claim(self: &Rc<Self>, backend: BackendId) -> SingleFlight {
        let mut by_backend = self.by_backend.borrow_mut();
        let entry = by_backend.entry(backend).or_default();
        if entry.is_sequential {
            return SingleFlight::Independent;
        }
        if let Some(notify) = &entry.lead {
            return SingleFlight::Follow(Rc::clone(notify));
        }
        entry.lead = Some(Rc::default());
        SingleFlight::Lead(ConnectLead {
            shared: Rc::clone(self),
            backend,
        })
    }

    /// Records whether a backend chose a protocol that carries one request at a time.
    pub fn set_protocol(&self, backend: BackendId, is_sequential: bool) {
        self.by_backend
            .borrow_mut()
            .entry(backend)
            .or_default()
            .is_sequential = is_sequential;
    }

    /// Shares a connection, unless newer TLS settings are in use by now or the backend's name no longer resolves to its
    /// `destination`.
    pub fn put(
        &self,
        (backend, tls_generation): (&Backend, u64),
        connection: SharedConnection,
        mut destination: Destination,
    ) {
        let mut by_backend = self.by_backend.borrow_mut();
        let entry = by_backend.entry(backend.id).or_default();
        if !entry.adopt_generation(backend, tls_generation) || !destination.is_current(backend) {
            return;
        }
        let open = &mut entry.open;
        open.retain(|open| !open.connection.is_over());
        if open.len() < MAX_PER_BACKEND {
            open.push(OpenConnection {
                connection,
                destination,
            });
        }
    }

    /// Drops connections that have ended, connections to addresses that their backend has left, and connections without
    /// requests for as long as `idle_timeout` returns for their backend; `None` means that the backend is no member any more.
    pub fn sweep<'b>(
        &self,
        now: Instant,
        idle_timeout: impl Fn(BackendId) -> Option<(&'b Backend, Duration)>,
    ) {
        self.by_backend.borrow_mut().retain(|backend, entry| {
            let (backend, keep) = idle_timeout(*backend).unzip();
            if let Some(backend) = backend {
                entry.follow_address(backend);
            }
            entry.open.retain(|open| {
                let shared = &open.connection;
                let is_old = keep.is_none_or(|keep| now.saturating_duration_since(shared.used()) >= keep);
                let is_unused = is_old && shared.running() == 0;
                !shared.is_over() && !is_unused
            });
            keep.is_some() || !entry.open.is_empty() || entry.lead.is_some()
        });
    }
}
