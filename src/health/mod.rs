//! Health checks: the probes, and the task that runs them and feeds the state machine.

mod active;
mod probe;
mod status;
mod wakeup;

#[cfg(test)]
mod scripted;

pub use active::{Change, Watch, watch};
pub use evenkeel_balance::health::{BackendState, BodyMatch, State, Tracker, ejection, silence, slow_start};
pub use probe::{Check, DESCRIPTION, KINDS, PROBES, ProbeMethod, StatusRange, by_name};
pub use status::{Ejection, Health, Probed};
pub use wakeup::{PoolWakeup, Wakeup};
