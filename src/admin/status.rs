//! The shape of `GET /api/v1/status`. Filled by the control plane, read by people, `ctl` and `top`.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::telemetry::Timestamp;

/// How everything is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The process.
    pub process: ProcessStatus,
    /// The pools, in the order of the config.
    pub pools: Vec<PoolStatus>,
    /// The certificates that listeners show to clients, and pools to backends.
    pub certificates: Vec<CertificateStatus>,
}

/// A time of the wall clock, as RFC 3339 in UTC with milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub String);

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        Self(Timestamp::text(time))
    }
}

/// The process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// The version that runs.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started.
    pub started: Time,
    /// Seconds since then, by the monotonic clock.
    pub uptime_seconds: u64,
    /// Whether requests should be sent here.
    pub ready: bool,
    /// Worker threads.
    pub workers: u32,
    /// Addresses that are listened on, with the ports that they really have.
    pub listeners: Vec<String>,
    /// Client connections.
    pub connections: ConnectionsStatus,
    /// Requests.
    pub requests: RequestsStatus,
    /// The config in force.
    pub config: ConfigStatus,
}

/// Client connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionsStatus {
    /// Open now.
    pub active: u64,
    /// Accepted since the start.
    pub accepted: u64,
}

/// Requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestsStatus {
    /// Begun and not ended.
    pub in_flight: u64,
    /// Ended since the start.
    pub total: u64,
}

/// The config in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// The file it came from, or `command line`, or `demo`.
    pub source: String,
    /// When it was loaded.
    pub loaded: Time,
    /// The last reload, if there was one, whether it succeeded or not.
    pub last_reload: Option<ReloadStatus>,
}

/// How a reload went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadStatus {
    /// When it ended.
    pub time: Time,
    /// What was wrong; empty when the config was put in force.
    pub errors: Vec<String>,
    /// The top-level keys whose change has no effect before a restart.
    pub ignored_until_restart: Vec<String>,
}

/// One pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// The name of its strategy, as in the config.
    pub strategy: String,
    /// Backends that may get requests, backups included.
    pub eligible: u64,
    /// Its backends, in the order of the config.
    pub backends: Vec<BackendStatus>,
}

/// How a backend is. Whether it gets requests depends on its weight too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendState {
    /// It gets requests.
    Up,
    /// It gets none until it has recovered.
    Down,
    /// It gets requests, but no check has ended yet, or there are none.
    Unknown,
    /// It gets none because an operator said so.
    Draining,
}

/// One backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackendStatus {
    /// Its URL as configured.
    pub url: String,
    /// How it is.
    pub state: BackendState,
    /// Whether it may get requests.
    pub eligible: bool,
    /// Why it may not; `None` when it may.
    pub why: Option<String>,
    /// The last health check that ended.
    pub last_check: Option<CheckStatus>,
    /// Its share, 0 to 256.
    pub weight: u32,
    /// Whether it is used only when no other is eligible.
    pub backup: bool,
    /// Requests that it is working on.
    pub in_flight: u64,
    /// Attempts sent to it since the start.
    pub attempts: u64,
    /// Attempts that ended without a usable answer.
    pub failures: u64,
}

/// One certificate of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// The names and addresses that it is for.
    pub names: Vec<String>,
    /// Its file.
    pub cert: String,
    /// The file of its key.
    pub key: String,
    /// Who shows it: `listener ADDRESS` or `pool NAME`.
    pub shown_by: Vec<String>,
    /// Until when nobody accepts it.
    pub valid_from: Time,
    /// From when on nobody accepts it.
    pub expires: Time,
    /// Whole days until then; 0 when it has expired.
    pub days_left: u64,
    /// Whether it has expired.
    pub expired: bool,
}

/// One health check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckStatus {
    /// When it ended.
    pub time: Time,
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
    /// Whether it passed.
    pub healthy: bool,
    /// The status that was answered; `None` for kinds without one and when there was no answer.
    pub status: Option<u16>,
    /// What went wrong; `None` when nothing did.
    pub reason: Option<String>,
}

/// One message that was refused: a request, or a backend's response that was malformed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedStatus {
    /// When it was.
    pub time: Time,
    /// Whose message it was: `client` or `backend`.
    pub from: String,
    /// Who sent it: the client's address with its port, or the backend's URL as configured.
    pub peer: String,
    /// The word in the access log.
    pub error: String,
    /// The word of the rule that it broke; the same as `error` for requests.
    pub code: String,
    /// The rule.
    pub rule: String,
    /// The line of the head or of the trailers, or in HTTP/2 the number of the header, counted from 1.
    pub line: Option<usize>,
    /// The header that it is about.
    pub header: Option<String>,
    /// Where the fault stands: bytes from the beginning of the head, or of what the excerpt shows of chunks and HTTP/2.
    pub offset: usize,
    /// The limit that was broken, if it is one.
    pub limit: Option<RejectedLimitStatus>,
    /// All that in one sentence, as in the access log.
    pub detail: String,
    /// What was around the fault, escaped. Values that may be secret are hidden as `[N bytes]`.
    pub excerpt: String,
}

/// A limit that a message was beyond.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedLimitStatus {
    /// Its key in the config; `None` for one that cannot be set.
    pub key: Option<String>,
    /// Its value.
    pub value: u64,
    /// What came, or what came before no more was read.
    pub came: u64,
}
