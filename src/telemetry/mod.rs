//! The access log, the operations log, the metrics and the encoding of traces.

pub mod access_log;
pub mod log;
pub mod metrics;
pub mod trace;

mod feed;
mod json;
mod label;
mod line_file;
mod log_file;
mod log_level;
mod logs;
mod protobuf;
mod rejected;
mod sink;
mod syslog;
mod target;
mod timestamp;
mod writer;

pub use feed::{Entry, Feed};
pub use label::Label;
pub use log_file::{LogError, check as check_log_file};
pub use log_level::LogLevel;
pub use logs::{Logs, NewAccessLog, ReplacedSink};
pub use rejected::{Rejected, RejectedFrom, RejectedLimit, RejectedRing};
pub use timestamp::Timestamp;
pub use writer::{Queue, Writer};
