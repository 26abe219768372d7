//! The health of a backend: the state machine that probes drive.

mod tracker;

pub use tracker::{State, Thresholds, Tracker};
