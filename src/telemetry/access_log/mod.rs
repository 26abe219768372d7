//! The access log: one JSON object per request, encoded by the worker and written by a separate thread.

mod settings;

mod buffer;
mod encode;
mod entry;

pub use buffer::LogBuffer;
pub use encode::{LINE_BOUND, Options, PATH_BOUND, RETRIES_BOUND, VALUE_BOUND, encode};
pub use entry::{Client, Entry, Retry};
pub use settings::{OnFull, Settings};

pub use super::target::Target;
