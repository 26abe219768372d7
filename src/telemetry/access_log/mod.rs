//! The access log: one JSON object a request, encoded by the worker, written by a thread of its own.

mod settings;

mod buffer;
mod encode;
mod entry;

pub use buffer::LogBuffer;
pub use encode::{LINE_BOUND, Options, PATH_BOUND, RETRIES_BOUND, VALUE_BOUND, encode};
pub use entry::{Client, Entry, Retry};
pub use settings::{OnFull, Settings, Target};
