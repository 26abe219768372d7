//! The access log: one JSON object a request, encoded by the worker, written by a thread of its own.

mod settings;

pub use settings::{OnFull, Settings, Target};
