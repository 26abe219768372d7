//! Where log lines go.

use std::path::PathBuf;

/// Where log lines go.
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
