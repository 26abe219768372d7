//! The metrics: per-worker counters, one table of all metrics, and the formats of `/metrics`.
//!
//! To add a metric, add a row to the table in `table.rs`, and a counter in `counters.rs` if it needs one; the values of its labels are in
//! `reasons.rs`.

mod by_worker;
mod connections;
mod counter;
mod counters;
mod histogram;
mod metric;
mod policies;
mod process;
mod reasons;
mod snapshot;
mod traffic;

mod table;

#[cfg(test)]
mod docs;
mod render;

pub use connections::{ConnectionCounters, ConnectionUse};
pub use counter::{Counter, Gauge};
pub use counters::WorkerCounters;
pub use histogram::{DURATION_BOUNDS, DurationSample, Histogram};
pub use policies::{PolicyCounters, PolicyOutcome};
pub use process::ProcessUsage;
pub use reasons::{HANDSHAKES, HandshakeFailure, QueueDrop, RETRY_REASONS, Timeout};
pub use render::{Format, render};
pub use snapshot::{
    BackendSample, CertificateSample, DroppedLines, PoolSample, ProcessSample, Snapshot, SourceSample,
};
pub use table::METRICS;
pub use traffic::{MAX_ROUTES_COUNTED, TrafficCounters};
