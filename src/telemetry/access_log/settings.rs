//! The settings of `access_log:`.

use crate::telemetry::target::Target;

/// What happens to a line when the sink cannot keep up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFull {
    /// It is dropped and counted.
    Drop,
    /// The worker waits.
    Block,
}

/// The settings of `access_log:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where lines go.
    pub target: Target,
    /// What happens when the sink cannot keep up.
    pub on_full: OnFull,
    /// Whether the path is logged with its query.
    pub query: bool,
}
