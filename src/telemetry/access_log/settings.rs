//! What `access_log:` means.

use std::path::PathBuf;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The process's standard output.
    Stdout,
    /// The process's standard error.
    Stderr,
    /// A file that is appended to and can be reopened.
    File(PathBuf),
    /// Nowhere.
    Off,
}

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
    /// Whether the path carries its query.
    pub query: bool,
}
