//! The metrics: per-worker counters, one table of all metrics, and the two text formats of `/metrics`.
//!
//! To add a metric, add a row to the table in `table.rs`, and a counter in `counters.rs` if it needs one.

mod counters;
mod policies;
mod process;
mod snapshot;
mod traffic;

mod table;

#[cfg(test)]
mod docs;
mod render;

pub use counters::{
    Counter, DURATION_BOUNDS, DurationSample, HANDSHAKES, HandshakeFailure, Histogram, QueueDrop, Timeout,
    WorkerCounters,
};
pub use policies::{PolicyCounters, PolicyOutcome};
pub use process::ProcessUsage;
pub use render::{Format, render};
pub use snapshot::{BackendSample, CertificateSample, DroppedLines, PoolSample, ProcessSample, Snapshot};
pub use table::METRICS;
pub use traffic::{MAX_ROUTES_COUNTED, TrafficCounters};
