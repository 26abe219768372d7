//! Whether backends are well: the state machine (pure), the probes and the task that runs them.

mod settings;

pub use settings::{Check, Kind, StatusRange};
