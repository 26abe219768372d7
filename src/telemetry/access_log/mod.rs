//! The access log: one line per request and sink, encoded by the worker and written by a separate thread per sink.

mod settings;

mod buffer;
mod encode;
mod entry;
mod fields;
mod headers;
mod line;
mod sample;
mod worker_log;

pub use buffer::SinkBuffer;
pub use encode::{Options, encode};
pub use entry::{Client, Entry, Extra, Retry, TlsFacts};
pub use fields::{FIELDS, FIELDS_BOUND, FIELDS_FORM, Field, FieldError};
pub use sample::{ALL, SAMPLED_CLASSES, Sample};
pub use settings::{Format, OnFull, SINKS_BOUND, Settings, SinkSettings};
pub use worker_log::LogBuffer;

pub use super::syslog::{FACILITIES, SEVERITIES, Syslog, SyslogServer};
pub use super::target::Target;
