//! The types of the response of `GET /api/v1/status`, filled by the control plane.

use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::health;
use crate::telemetry::Timestamp;

/// The whole status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The process.
    pub process: ProcessStatus,
    /// The pools, in the order of the config.
    pub pools: Vec<PoolStatus>,
    /// The certificates that listeners present to clients, and pools to backends.
    pub certificates: Vec<CertificateStatus>,
}

/// A time of the wall clock, as RFC 3339 in UTC with milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("format" = "date-time"))]
pub struct Time(pub String);

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        Self(Timestamp::text(time))
    }
}

/// The process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessStatus {
    /// The running version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started.
    pub started: Time,
    /// Seconds since then, by the monotonic clock.
    pub uptime_seconds: u64,
    /// Whether the process is ready for requests.
    pub ready: bool,
    /// Worker threads.
    pub workers: u32,
    /// The addresses of the listeners, with their actual ports.
    pub listeners: Vec<String>,
    /// Client connections.
    pub connections: ConnectionsStatus,
    /// Requests.
    pub requests: RequestsStatus,
    /// The active config.
    pub config: ConfigStatus,
}

/// Client connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionsStatus {
    /// Open now.
    pub active: u64,
    /// Accepted since the start.
    pub accepted: u64,
}

/// Requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestsStatus {
    /// Started and not ended.
    pub in_flight: u64,
    /// Ended since the start.
    pub total: u64,
}

/// The active config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigStatus {
    /// The file it came from, or `command line`, or `demo`.
    pub source: String,
    /// When it was loaded.
    pub loaded: Time,
    /// The last reload, if there was one, whether it succeeded or not.
    pub last_reload: Option<ReloadStatus>,
    /// Until when the active config is guarded; `None` when it is not.
    pub guarded_until: Option<Time>,
    /// The reload that a guard has undone, until another one succeeds. The file differs from the active config then.
    pub rolled_back: Option<RollbackStatus>,
}

/// A reload that a guard has undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RollbackStatus {
    /// When the config before became active again.
    pub time: Time,
    /// When the config was activated that is not active any more.
    pub reloaded: Time,
    /// What failed more than before.
    pub reason: String,
    /// What that config had changed; at most ten changes, and how many more there are.
    pub changes: Vec<String>,
}

/// The result of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReloadStatus {
    /// When it ended.
    pub time: Time,
    /// The errors; empty if the config was activated.
    pub errors: Vec<String>,
}

/// One pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// The name of its strategy, as in the config.
    pub strategy: String,
    /// How clients stay with a backend: `cookie NAME` or `header.NAME`; `None` when they do not.
    pub sticky: Option<String>,
    /// Retries that the budget allows now.
    pub retry_tokens: u32,
    /// Number of backends that may receive requests, including backups.
    pub eligible: u64,
    /// The requests that wait for a backend.
    pub queue: QueueStatus,
    /// Its backends, in the order of the config.
    pub backends: Vec<BackendStatus>,
}

/// The wait queue of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueueStatus {
    /// Number of requests that wait.
    pub depth: u64,
    /// The 99th percentile of the waits of the last minute, in milliseconds; `None` without any.
    pub waited_ms: Option<f64>,
}

/// The state of a backend. Whether it receives requests also depends on its weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackendState {
    /// It receives requests.
    Up,
    /// It receives no requests until it has recovered.
    Down,
    /// It receives requests; no check has ended yet, or there are no checks.
    Unknown,
    /// It receives no requests for a while, because its requests have failed; then a few on trial.
    Ejected,
    /// It receives no requests because an operator has drained it.
    Draining,
}

impl From<health::BackendState> for BackendState {
    fn from(state: health::BackendState) -> Self {
        match state {
            health::BackendState::Unknown => Self::Unknown,
            health::BackendState::Up => Self::Up,
            health::BackendState::Down => Self::Down,
            health::BackendState::Ejected => Self::Ejected,
            health::BackendState::Draining => Self::Draining,
        }
    }
}

/// One backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BackendStatus {
    /// Its URL as configured.
    pub url: String,
    /// Its name in the pool, if the config gives it one.
    pub name: Option<String>,
    /// Its state.
    pub state: BackendState,
    /// Whether it may receive requests.
    pub eligible: bool,
    /// Why it may not receive requests; `None` if it may.
    pub why: Option<String>,
    /// When its state began.
    pub since: Time,
    /// When its ejection ends and its first trial request is sent; `None` unless it is ejected, and while it is on trial.
    pub ejected_until: Option<Time>,
    /// The last health check that ended.
    pub last_check: Option<CheckStatus>,
    /// The last 20 health checks that ended, the latest first.
    pub checks: Vec<CheckStatus>,
    /// Its weight, 0 to 256.
    pub weight: u32,
    /// The part of its weight that it has now: less during slow start.
    pub effective_weight: f64,
    /// Whether it is used only when no other is eligible.
    pub backup: bool,
    /// Requests in flight.
    pub in_flight: u64,
    /// Attempts sent to it since the start.
    pub attempts: u64,
    /// Attempts that ended without a usable response.
    pub failures: u64,
    /// How long its responses took to begin in the last minute; `None` without any.
    pub latency_ms: Option<LatencyStatus>,
    /// The limit of requests in flight that `limits.adaptive` has found; `None` when it is off, and before the first response.
    pub adaptive_limit: Option<u32>,
}

/// How long the responses of a backend took to begin, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyStatus {
    /// Half of them.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
}

/// One certificate of a listener or a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateStatus {
    /// The names and addresses that it is valid for.
    pub names: Vec<String>,
    /// Its file.
    pub cert: String,
    /// The file of its key.
    pub key: String,
    /// What presents it: `listener ADDRESS` or `pool NAME`.
    pub shown_by: Vec<String>,
    /// The start of its validity.
    pub valid_from: Time,
    /// The end of its validity.
    pub expires: Time,
    /// Whole days until then; 0 when it has expired.
    pub days_left: u64,
    /// Whether it has expired.
    pub expired: bool,
}

/// One health check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckStatus {
    /// When it ended.
    pub time: Time,
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
    /// Whether it passed.
    pub healthy: bool,
    /// The status of the response; `None` for kinds of checks without one and if there was no response.
    pub status: Option<u16>,
    /// Why it failed; `None` if it passed.
    pub reason: Option<String>,
}

/// One rejected message: a client's request or a backend's malformed response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RejectedStatus {
    /// When it was rejected.
    pub time: Time,
    /// The kind of sender: `client` or `backend`.
    pub from: String,
    /// The sender: the client's address with its port, or the backend's URL as configured.
    pub peer: String,
    /// The code in the access log.
    pub error: String,
    /// The code of the rule that it violated; the same as `error` for requests.
    pub code: String,
    /// The rule.
    pub rule: String,
    /// The line of the head or of the trailers, or in HTTP/2 the number of the header, counted from 1.
    pub line: Option<usize>,
    /// The header concerned.
    pub header: Option<String>,
    /// The position of the fault: bytes from the start of the head, or of the excerpt's text for chunks and HTTP/2.
    pub offset: usize,
    /// The limit that was exceeded, if any.
    pub limit: Option<RejectedLimitStatus>,
    /// All of this in one sentence, as in the access log.
    pub detail: String,
    /// The bytes around the fault, escaped. Values that may be secret are replaced by `[N bytes]`.
    pub excerpt: String,
}

/// A limit that a message exceeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RejectedLimitStatus {
    /// Its key in the config; `None` for one that cannot be set.
    pub key: Option<String>,
    /// Its value.
    pub value: u64,
    /// What was received, or what had been received when reading stopped.
    pub came: u64,
}
