//! The traffic of one second and the lines of the operations log, as `GET /api/v1/history` and `GET /api/v1/events` show them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Time;

/// Samples that are kept: those of 15 minutes.
pub const SAMPLES_KEPT: usize = 900;

/// The traffic of the second before `time`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// The end of the second.
    pub time: Time,
    /// Requests that were completed.
    pub requests: u64,
    /// Those of them with a status of 500 or above.
    pub errors: u64,
    /// Requests by class of their status, from 1xx to 5xx.
    pub classes: [u64; 5],
    /// The median of their durations, in milliseconds; `None` without requests.
    pub p50_ms: Option<f64>,
    /// The 90th percentile.
    pub p90_ms: Option<f64>,
    /// The 99th percentile.
    pub p99_ms: Option<f64>,
    /// Requests in flight at `time`.
    pub in_flight: u64,
    /// Retries.
    pub retries: u64,
    /// Open client connections at `time`.
    pub connections: u64,
    /// Bytes of requests received.
    pub bytes_received: u64,
    /// Bytes of responses sent.
    pub bytes_sent: u64,
    /// The pools, by name.
    pub pools: BTreeMap<String, PoolTraffic>,
}

/// The traffic of a pool in that second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolTraffic {
    /// Attempts sent to its backends.
    pub attempts: u64,
    /// Attempts that ended without a usable response.
    pub failures: u64,
    /// Requests that wait for a backend at the end of the second.
    pub queue: u64,
}

/// A line of the operations log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventLine {
    /// Its number, from 1 on.
    pub id: u64,
    /// When it was written.
    pub time: Time,
    /// `INFO`, `WARN` or `ERROR`.
    pub level: String,
    /// What has happened.
    pub msg: String,
    /// To what, why, and by whom.
    pub fields: Map<String, Value>,
}

/// The traffic and the events of the last minutes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(super) struct History {
    /// The time from one sample to the next.
    pub(super) interval_seconds: u64,
    /// The traffic, the oldest sample first.
    pub(super) samples: Vec<Sample>,
    /// The last lines of the operations log, the oldest first.
    pub(super) events: Vec<EventLine>,
}
