//! Health checks: the state machine (pure), the probes and the task that runs them.

mod active;
mod probe;
mod status;
mod tracker;

#[cfg(test)]
mod scripted;

pub use active::{Change, Watch, watch};
pub use probe::{Check, KINDS, NOT_PROBED, Outcome, PROBES, Probe, ProbeError, StatusRange, by_name, probe};
pub use status::{Health, Probed, State, Status};
pub use tracker::Tracker;
