//! Connections to backends: the idle ones of one worker, and what belongs to each. The one used last is taken first, so
//! that surplus ones grow old; those become spare for all workers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;

use super::Member;
use crate::backend::{BackendId, Scheme};
use crate::buffer::Buffers;
use crate::head::ResponseHead;
use crate::http1::HeadScan;
use crate::http2;
use crate::message::Connection;
use crate::net::Stream;

/// After so long without use a connection is spare: others may have it.
const SPARE_AFTER: Duration = Duration::from_secs(1);
/// How long a connection has been idle that is closed while its backend leaves new ones without an answer: it may be one
/// that serves one connection at a time, and whoever waits for it on a new one, a probe too, would wait until the last idle
/// one is closed. Under load one is used again sooner.
const A_MOMENT: Duration = Duration::from_millis(100);
/// Idle connections kept for one backend by one worker; more are closed.
const KEPT_PER_BACKEND: usize = 1024;

/// A connection to a backend, with what reading an answer needs.
#[derive(Debug)]
pub struct BackendConnection {
    /// Whose it is.
    pub backend: BackendId,
    /// The bytes.
    pub connection: Connection,
    /// Reads heads from it.
    pub scan: HeadScan,
    /// The head read last.
    pub head: ResponseHead,
    /// Length of that head, which still stands at the front of the input.
    pub answer_end: usize,
    /// Whether it has carried an exchange before this one.
    pub is_reused: bool,
    /// Whether it was begun in the name of one client: it carries nothing after this exchange.
    pub is_of_one_client: bool,
    /// How long the backend keeps it open while it is idle.
    pub keep_for: Duration,
    /// The rules of TLS that it was made under: [`Member::rules`].
    pub rules: u64,
}

impl BackendConnection {
    /// Begins with a fresh connection.
    pub fn new(backend: BackendId, stream: Stream) -> Box<Self> {
        Self::over(backend, Connection::new(stream))
    }

    /// Begins with a stream of one that is shared.
    pub fn of_stream(backend: BackendId, stream: http2::Stream) -> Box<Self> {
        Self::over(backend, Connection::of_stream(stream))
    }

    fn over(backend: BackendId, connection: Connection) -> Box<Self> {
        Box::new(Self {
            backend,
            connection,
            scan: HeadScan::default(),
            head: ResponseHead::default(),
            answer_end: 0,
            is_reused: false,
            is_of_one_client: false,
            keep_for: Duration::ZERO,
            rules: 0,
        })
    }
}

struct Idle {
    connection: Box<BackendConnection>,
    since: Instant,
    until: Instant,
}

/// The idle connections of one worker.
#[derive(Default)]
pub struct IdleConnections {
    by_backend: RefCell<HashMap<BackendId, Vec<Idle>, FixedState>>,
}

impl IdleConnections {
    /// Takes the connection that was used last and is still quiet: one on which anything arrived, or that was closed, is
    /// dropped, because its next bytes belong to nobody. `asks_kernel` makes sure of it with a system call. Dropped too is one
    /// that was made under other `rules` of TLS.
    pub fn take(
        &self,
        (backend, rules): (BackendId, u64),
        now: Instant,
        asks_kernel: bool,
    ) -> Option<Box<BackendConnection>> {
        let mut by_backend = self.by_backend.borrow_mut();
        let idle = by_backend.get_mut(&backend)?;
        while let Some(Idle {
            mut connection,
            until,
            ..
        }) = idle.pop()
        {
            let is_allowed = connection.rules == rules && now < until;
            if is_allowed && !connection.connection.has_news(asks_kernel) {
                connection.is_reused = true;
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose last answer was read to its proven end, for at most `keep`; closes one of one client.
    pub fn give_back(
        &self,
        mut connection: Box<BackendConnection>,
        now: Instant,
        keep: Duration,
        buffers: &Buffers,
    ) {
        connection.connection.rest(buffers);
        if connection.is_of_one_client {
            return;
        }
        let mut by_backend = self.by_backend.borrow_mut();
        let idle = by_backend.entry(connection.backend).or_default();
        if idle.len() < KEPT_PER_BACKEND {
            idle.push(Idle {
                connection,
                since: now,
                until: now + keep,
            });
        }
    }

    /// Closes those that are too old, that have news, that a backend may need closed, or whose backend has no `member` any
    /// more; makes those spare that were not used for a while.
    pub fn sweep<'m>(&self, now: Instant, member: impl Fn(BackendId) -> Option<&'m Member>) {
        self.by_backend.borrow_mut().retain(|backend, idle| {
            let Some(member) = member(*backend) else {
                return false;
            };
            idle.retain_mut(|idle| now < idle.until && !idle.connection.connection.has_news(false));
            // They stand in the order in which they were used.
            let since = |age| move |idle: &Idle| now.saturating_duration_since(idle.since) >= age;
            if member.backend.has_unanswered() {
                idle.drain(..idle.partition_point(since(A_MOMENT)));
                member.spare.clear();
            }
            // A TLS session lives in the memory of its worker.
            if member.backend.address.scheme != Scheme::Https {
                let spare = idle.partition_point(since(SPARE_AFTER));
                for idle in idle.drain(..spare) {
                    member.spare.put(*idle.connection, idle.until);
                }
            }
            member.spare.sweep(now);
            true
        });
    }

    /// Closes all.
    pub fn clear(&self) {
        self.by_backend.borrow_mut().clear();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_backend.borrow().values().map(Vec::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
