//! The access log: one JSON object per request, encoded by the worker and written by a separate thread.

mod settings;

mod buffer;
mod encode;
mod entry;

pub use buffer::LogBuffer;
pub use encode::{Options, encode};
pub use entry::{Client, Entry, Retry};
pub use settings::{OnFull, Settings};

pub use super::target::Target;
