//! Metrics: counters that workers write without sharing anything, one table of every name, and the two text formats that
//! `/metrics` speaks.
//!
//! A new metric is one line of the table in `table.rs`, with its counter in `counters.rs` if it needs one.

mod counters;
mod snapshot;

mod table;

mod docs;
mod render;

pub use counters::{Counter, DURATION_BOUNDS, Gauge, HandshakeFailure, Histogram, Timeout, WorkerCounters};
pub use docs::reference;
pub use render::{Format, render};
pub use snapshot::{BackendSample, CertificateSample, PoolSample, ProcessSample, Snapshot};
pub use table::{Kind, METRICS, Metric, Source};
