//! What a rendering of the metrics is made from: the counters themselves, and what only the control plane knows.

use std::sync::Arc;
use std::time::SystemTime;

use super::WorkerCounters;

/// All that `/metrics` shows, gathered when it is asked for.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The counters of every thread that counts.
    pub threads: Vec<Arc<WorkerCounters>>,
    /// The pools in force.
    pub pools: Vec<PoolSample>,
    /// The certificates in force; no file twice.
    pub certificates: Vec<CertificateSample>,
    /// The process.
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
    /// Its backends; no URL twice.
    pub backends: Vec<BackendSample>,
}

/// One backend of a pool.
#[derive(Debug, Clone)]
pub struct BackendSample {
    /// Its URL as configured.
    pub url: String,
    /// Whether it is neither down nor draining.
    pub is_up: bool,
    /// Whether it may get requests: it is up and its weight is not 0.
    pub is_eligible: bool,
    /// Its share, 0 to 256.
    pub weight: u32,
    /// Requests that it is working on.
    pub in_flight: u64,
    /// Attempts sent to it.
    pub attempts: u64,
    /// Attempts that ended without a usable answer.
    pub failures: u64,
    /// Idle connections that any worker may take.
    pub connections_spare: u64,
}

/// One certificate of ours.
#[derive(Debug, Clone)]
pub struct CertificateSample {
    /// The file that it was read from.
    pub file: String,
    /// From when on nobody accepts it.
    pub expires: SystemTime,
}

/// The process.
#[derive(Debug, Clone)]
pub struct ProcessSample {
    /// The version that runs.
    pub version: &'static str,
    /// When it started.
    pub started: SystemTime,
    /// Worker threads.
    pub workers: u64,
    /// When the config in force was loaded.
    pub config_loaded: SystemTime,
    /// Reloads that put a config in force.
    pub reloads_succeeded: u64,
    /// Reloads that changed nothing because the config had errors.
    pub reloads_failed: u64,
    /// Lines of either log that were lost.
    pub log_lines_dropped: u64,
}
