//! Health checks: the probes, and the task that runs them and feeds the state machine.

mod active;
mod probe;
mod status;
mod wakeup;

#[cfg(test)]
mod scripted;

pub use active::{Change, Watch, watch};
pub use evenkeel_balance::health::{BackendState, BodyMatch, State, Tracker, ejection, slow_start};
pub use probe::{
    Check, KINDS, NOT_PROBED, Outcome, PROBES, Probe, ProbeError, ProbeMethod, StatusRange, by_name, probe,
};
pub use status::{Ejection, Health, Probed, Status};
pub use wakeup::{PoolWakeup, Wakeup};
