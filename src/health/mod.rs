//! Whether backends are well: the state machine (pure), the probes and the task that runs them.

mod active;
mod probe;
mod settings;
mod status;
mod tracker;

#[cfg(test)]
mod scripted;

pub use active::{Change, Watch, watch};
pub use probe::{Outcome, ProbeError, probe};
pub use settings::{Check, Kind, StatusRange};
pub use status::{Health, Probed, State, Status};
pub use tracker::Tracker;
