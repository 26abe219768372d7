//! The admin API. It sends commands to the control plane over a channel and receives snapshots.

mod settings;

pub use settings::Settings;
