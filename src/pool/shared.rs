//! Connections to backends that requests share, because they speak HTTP/2: those of one worker. While one is being made,
//! whoever needs it too waits for it in place of making another.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use tokio::sync::Notify;

use crate::backend::BackendId;
use crate::http2;

/// Connections to one backend by one worker, of a hundred requests each.
const KEPT_PER_BACKEND: usize = 64;

/// What one worker shares.
#[derive(Debug, Default)]
pub struct SharedConnections {
    by_backend: RefCell<HashMap<BackendId, Entry, FixedState>>,
}

#[derive(Debug, Default)]
struct Entry {
    /// The rules of TLS that those were made under.
    rules: u64,
    open: Vec<http2::Shared>,
    /// Whoever waits for the connection that is being made; `None` when none is.
    making: Option<Rc<Notify>>,
    /// Whether the backend chose HTTP/1.1 when it was asked last: then nobody waits for anybody.
    chose_http1: bool,
}

impl Entry {
    /// Lets go of what was made under rules that are older than these; requests under way go on. Whether none are newer.
    fn follow(&mut self, rules: u64) -> bool {
        if rules > self.rules {
            self.rules = rules;
            self.open.clear();
        }
        rules == self.rules
    }
}

/// What to do where no connection has room.
pub enum Claim {
    /// Make one; nobody else does until this is dropped.
    Make(Making),
    /// Wait until somebody else has made one, or failed.
    Wait(Rc<Notify>),
    /// Make one for this request alone.
    Alone,
}

/// The right to make a connection.
pub struct Making {
    shared: Rc<SharedConnections>,
    backend: BackendId,
}

impl Drop for Making {
    fn drop(&mut self) {
        let mut by_backend = self.shared.by_backend.borrow_mut();
        let making = by_backend
            .get_mut(&self.backend)
            .and_then(|entry| entry.making.take());
        if let Some(notify) = making {
            notify.notify_waiters();
        }
    }
}

impl SharedConnections {
    /// A stream of a connection that has room and was made under these `rules` of TLS.
    pub fn take(&self, (backend, rules): (BackendId, u64), now: Instant) -> Option<http2::Stream> {
        let mut by_backend = self.by_backend.borrow_mut();
        let entry = by_backend.get_mut(&backend)?;
        if !entry.follow(rules) {
            return None;
        }
        let mut open = entry.open.iter();
        open.find(|shared| shared.has_room())
            .map(|shared| shared.open(now))
    }

    /// What to do where there is none.
    pub fn claim(self: &Rc<Self>, backend: BackendId) -> Claim {
        let mut by_backend = self.by_backend.borrow_mut();
        let entry = by_backend.entry(backend).or_default();
        if entry.chose_http1 {
            return Claim::Alone;
        }
        if let Some(notify) = &entry.making {
            return Claim::Wait(Rc::clone(notify));
        }
        entry.making = Some(Rc::default());
        Claim::Make(Making {
            shared: Rc::clone(self),
            backend,
        })
    }

    /// Takes down that a backend chose HTTP/1.1, or did not.
    pub fn chose(&self, backend: BackendId, http1: bool) {
        self.by_backend
            .borrow_mut()
            .entry(backend)
            .or_default()
            .chose_http1 = http1;
    }

    /// Shares a connection, unless others are made under newer rules by now.
    pub fn put(&self, (backend, rules): (BackendId, u64), connection: http2::Shared) {
        let mut by_backend = self.by_backend.borrow_mut();
        let entry = by_backend.entry(backend).or_default();
        if !entry.follow(rules) {
            return;
        }
        let open = &mut entry.open;
        open.retain(|shared| !shared.is_over());
        if open.len() < KEPT_PER_BACKEND {
            open.push(connection);
        }
    }

    /// Lets go of those that are over, and of those without requests for as long as `keep` says of their backend; `None` says
    /// that the backend is no member any more.
    pub fn sweep(&self, now: Instant, keep: impl Fn(BackendId) -> Option<Duration>) {
        self.by_backend.borrow_mut().retain(|backend, entry| {
            let keep = keep(*backend);
            entry.open.retain(|shared| {
                let is_old = keep.is_none_or(|keep| now.saturating_duration_since(shared.used()) >= keep);
                let is_of_no_use = is_old && shared.running() == 0;
                !shared.is_over() && !is_of_no_use
            });
            keep.is_some() || !entry.open.is_empty() || entry.making.is_some()
        });
    }
}
