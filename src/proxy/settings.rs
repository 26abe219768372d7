//! Timeouts and limits that apply before a route is known: they are process-wide.

use std::time::Duration;

/// Timeouts on the client's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// From the first byte of a head (or from the connection's start) to its end: a total, not per byte.
    pub header: Duration,
    /// How long an idle connection is kept between requests.
    pub idle: Duration,
    /// How long running requests may take to end at a stop.
    pub drain: Duration,
    /// How long the process still accepts at a stop, after it has reported that it is not ready.
    pub drain_delay: Duration,
    /// How long a new process may take to take over at an upgrade.
    pub upgrade: Duration,
}

/// Limits on the client's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections of clients at one time; `None` is 45% of the descriptor limit.
    pub connections: Option<usize>,
    /// Connections of one client address at one time.
    pub connections_per_client: Option<usize>,
    /// Requests after which a client's connection is closed.
    pub requests_per_connection: Option<u64>,
    /// Bounds of a message.
    pub message: crate::message::Limits,
    /// Bytes of one body; more is 413 for requests, a truncated message for responses.
    pub body: Option<u64>,
    /// Bytes a second that a body must reach, averaged over `progress`.
    pub min_body_rate: Option<u64>,
}
