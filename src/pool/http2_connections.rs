//! Connections to backends that requests share, because they speak HTTP/2: those of one worker. While one is being made,
//! whoever needs it too waits for it in place of making another.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use tokio::sync::Notify;

use crate::backend::{Backend, BackendId, Destination};
use crate::http2;

/// Connections to one backend by one worker, of a hundred requests each.
const KEPT_PER_BACKEND: usize = 64;

/// What one worker shares.
#[derive(Debug, Default)]
pub struct Http2Connections {
    by_backend: RefCell<HashMap<BackendId, Entry, FixedState>>,
}

#[derive(Debug, Default)]
struct Entry {
    /// The rules of TLS that those were made under.
    tls_generation: u64,
    /// [`Backend::departures`] when all of those led where the backend was.
    departures: u64,
    open: Vec<Open>,
    /// Whoever waits for the connection that is being made; `None` when none is.
    lead: Option<Rc<Notify>>,
    /// Whether the backend chose HTTP/1.1 when it was asked last: then nobody waits for anybody.
    chose_http1: bool,
}

/// A connection that carries requests, and where it leads.
#[derive(Debug)]
struct Open {
    connection: http2::Shared,
    destination: Destination,
}

impl Entry {
    /// Lets go of what was made under rules that are older than these, and of what leads where the backend is no more; requests under
    /// way go on. Whether no rules are newer.
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

/// What to do where no connection has room.
pub enum SingleFlight {
    /// Make one; nobody else does until this is dropped.
    Lead(ConnectLead),
    /// Wait until somebody else has made one, or failed.
    Follow(Rc<Notify>),
    /// Make one for this request alone.
    Independent,
}

/// The right to make a connection.
pub struct ConnectLead {
    shared: Rc<Http2Connections>,
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

impl Http2Connections {
    /// A stream of a connection that has room, leads where the backend is, and was made under these `tls_generation` of TLS.
    pub fn take(&self, (backend, tls_generation): (&Backend, u64), now: Instant) -> Option<http2::Stream> {
        let mut by_backend = self.by_backend.borrow_mut();
        let entry = by_backend.get_mut(&backend.id)?;
        if !entry.adopt_generation(backend, tls_generation) {
            return None;
        }
        let mut open = entry.open.iter().map(|open| &open.connection);
        open.find(|shared| shared.has_room())
            .map(|shared| shared.open(now))
    }

    /// What to do where there is none.
    pub fn claim(self: &Rc<Self>, backend: BackendId) -> SingleFlight {
        let mut by_backend = self.by_backend.borrow_mut();
        let entry = by_backend.entry(backend).or_default();
        if entry.chose_http1 {
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

    /// Takes down that a backend chose HTTP/1.1, or did not.
    pub fn set_protocol(&self, backend: BackendId, http1: bool) {
        self.by_backend
            .borrow_mut()
            .entry(backend)
            .or_default()
            .chose_http1 = http1;
    }

    /// Shares a connection, unless others are made under newer rules by now, or the backend's name has left its `destination`.
    pub fn put(
        &self,
        (backend, tls_generation): (&Backend, u64),
        connection: http2::Shared,
        mut destination: Destination,
    ) {
        let mut by_backend = self.by_backend.borrow_mut();
        let entry = by_backend.entry(backend.id).or_default();
        if !entry.adopt_generation(backend, tls_generation) || !destination.is_current(backend) {
            return;
        }
        let open = &mut entry.open;
        open.retain(|open| !open.connection.is_over());
        if open.len() < KEPT_PER_BACKEND {
            open.push(Open {
                connection,
                destination,
            });
        }
    }

    /// Lets go of those that are over, of those that lead where their backend is no more, and of those without requests for as long as
    /// `kept` says of their backend; `None` says that the backend is no member any more.
    pub fn sweep<'b>(&self, now: Instant, kept: impl Fn(BackendId) -> Option<(&'b Backend, Duration)>) {
        self.by_backend.borrow_mut().retain(|backend, entry| {
            let (backend, keep) = kept(*backend).unzip();
            if let Some(backend) = backend {
                entry.follow_address(backend);
            }
            entry.open.retain(|open| {
                let shared = &open.connection;
                let is_old = keep.is_none_or(|keep| now.saturating_duration_since(shared.used()) >= keep);
                let is_of_no_use = is_old && shared.running() == 0;
                !shared.is_over() && !is_of_no_use
            });
            keep.is_some() || !entry.open.is_empty() || entry.lead.is_some()
        });
    }
}
