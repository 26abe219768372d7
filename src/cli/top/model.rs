//! What `top` receives from the process, and what it asks of it. Types of samples and events take what they know: a process of another
//! version may send more or less.

use crate::clock::Instant;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::admin::{Status, Time};

/// The traffic of one second.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Sample {
    pub(super) requests: u64,
    /// Requests with a status of 500 or above.
    pub(super) errors: u64,
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    pub(super) in_flight: u64,
    pub(super) retries: u64,
    pub(super) connections: u64,
}

/// A line of the operations log.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    pub(super) id: u64,
    /// RFC 3339, UTC.
    pub(super) time: String,
    pub(super) level: String,
    pub(super) msg: String,
    pub(super) fields: Map<String, Value>,
}

/// The last 15 minutes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct History {
    pub(super) samples: Vec<Sample>,
    pub(super) events: Vec<Event>,
}

/// Something new.
#[derive(Debug)]
pub(super) enum Update {
    /// The status, and when it was received.
    Status(Box<Status>, Instant),
    /// The history of another process than before.
    History(History),
    /// The traffic of the last second.
    Sample(Sample),
    /// A line of the log.
    Event(Event),
    /// The process does not respond, with the reason.
    Lost(String),
    /// The stream of samples and events has ended, with the reason.
    StreamLost(String),
    /// The result of an action.
    Acted(Result<String, String>),
    /// A signal asks to end.
    End,
}

/// Which process a status is of. Its id alone does not tell: in a container each process has the same one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ProcessKey {
    pid: u32,
    started: Time,
}

impl ProcessKey {
    /// That of a status.
    pub(super) fn of(Status { process, .. }: &Status) -> Self {
        Self {
            pid: process.pid,
            started: process.started.clone(),
        }
    }
}

/// A backend, by the name of its pool and its URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct BackendKey {
    pub(super) pool: String,
    pub(super) url: String,
}

/// What becomes of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Drain,
    Ready,
}

impl Verb {
    /// The last segment of its path.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Ready => "ready",
        }
    }
}

/// A change of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Action {
    pub(super) verb: Verb,
    pub(super) backend: BackendKey,
}
