//! The values of one rendering of the metrics: the workers' counters, and values that only the control plane has.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::telemetry::trace::SpanCounters;

use super::{ConnectionCounters, PolicyCounters, ProcessUsage, TrafficCounters, WorkerCounters};

/// All values of `/metrics`, collected for one request.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The counters of every thread that has some.
    pub threads: Vec<Arc<WorkerCounters>>,
    /// The active routes; no name twice.
    pub routes: Vec<Arc<TrafficCounters>>,
    /// The active pools.
    pub pools: Vec<PoolSample>,
    /// The policies of the active routes; no name twice.
    pub policies: Vec<Arc<PolicyCounters>>,
    /// The sources of backends, and the names that are looked up; nothing twice.
    pub sources: Vec<SourceSample>,
    /// The logs that have their own writers; no name twice.
    pub logs: Vec<DroppedLines>,
    /// The active certificates; no file twice.
    pub certificates: Vec<CertificateSample>,
    /// Values of the process.
    pub process: ProcessSample,
}

impl Snapshot {
    /// Adds up one value over all threads.
    pub fn sum(&self, value: impl Fn(&WorkerCounters) -> u64) -> u64 {
        self.threads
            .iter()
            .fold(0, |sum, counters| sum.wrapping_add(value(counters)))
    }
}

/// One pool.
#[derive(Debug, Clone)]
pub struct PoolSample {
    /// Its name.
    pub name: String,
    /// Requests that wait for a backend.
    pub queue_depth: u64,
    /// Requests that were routed to it.
    pub traffic: Arc<TrafficCounters>,
    /// The connections to its backends.
    pub connections: Arc<ConnectionCounters>,
    /// Its backends; no URL twice.
    pub backends: Vec<BackendSample>,
}

/// One backend of a pool.
#[derive(Debug, Clone)]
pub struct BackendSample {
    /// Its URL as configured.
    pub url: String,
    /// Whether it is neither down nor ejected nor draining.
    pub is_up: bool,
    /// Whether it may get requests: it is up and its weight is not 0.
    pub is_eligible: bool,
    /// Whether it is ejected.
    pub is_ejected: bool,
    /// How often it was ejected.
    pub ejections: u64,
    /// Whether it takes requests and responds to none.
    pub is_silent: bool,
    /// How often it was found silent.
    pub silences: u64,
    /// Its share, 0 to 256.
    pub weight: u32,
    /// Requests in flight.
    pub in_flight: u64,
    /// The limit of requests in flight that was found for it; 0 before.
    pub adaptive_limit: u64,
    /// Its responses.
    pub traffic: Arc<TrafficCounters>,
    /// Attempts sent to it.
    pub attempts: u64,
    /// Attempts that ended without a usable response.
    pub failures: u64,
    /// Idle connections in the shared idle pool.
    pub connections_shared_idle: u64,
}

/// One source of backends, or one name that is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSample {
    /// The pool of the source; empty for a name, which backends of several pools may have.
    pub pool: String,
    /// The kind of source, or `dns`.
    pub source: &'static str,
    /// Where it looks, or the name.
    pub location: String,
    /// The time since its last good answer, or since it was started if there was none.
    pub age: Duration,
}

/// The lines that the writer of one log has dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppedLines {
    /// The name of its sink: `stdout`, a path or a syslog server.
    pub log: String,
    /// The number of lines since the start.
    pub lines: u64,
}

/// One of our certificates.
#[derive(Debug, Clone)]
pub struct CertificateSample {
    /// The file that it was read from.
    pub file: String,
    /// When it expires.
    pub expires: SystemTime,
}

/// Values of the process.
#[derive(Debug, Clone)]
pub struct ProcessSample {
    /// The running version.
    pub version: &'static str,
    /// What it uses.
    pub usage: ProcessUsage,
    /// When it started.
    pub started: SystemTime,
    /// Worker threads.
    pub workers: u64,
    /// When the active config was loaded.
    pub config_loaded: SystemTime,
    /// Reloads that activated a config.
    pub reloads_succeeded: u64,
    /// Reloads that failed, so the previous config stayed active.
    pub reloads_failed: u64,
    /// What became of the spans of traces.
    pub spans: Arc<SpanCounters>,
    /// Reloads that a guard has undone.
    pub reloads_rolled_back: u64,
}
