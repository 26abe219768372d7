//! Health checks: the probes, and the task that runs them and feeds the state machine.

mod active;
mod probe;
mod status;

#[cfg(test)]
mod scripted;

pub use active::{Change, Watch, watch};
pub use evenkeel_balance::health::{State, Tracker};
pub use probe::{Check, KINDS, PROBES, StatusRange, by_name};
pub use status::{Health, Probed};
