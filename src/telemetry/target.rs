//! Where log lines go.

use std::path::PathBuf;

use super::syslog::Syslog;

/// Where log lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The process's standard output.
    Stdout,
    /// The process's standard error.
    Stderr,
    /// A file that is appended to and can be reopened.
    File(PathBuf),
    /// A syslog server, one datagram per line.
    Syslog(Syslog),
    /// Nowhere.
    Off,
}

impl Target {
    /// Its name in messages and metrics.
    pub fn name(&self) -> String {
        match self {
            Self::Stdout => "stdout".to_owned(),
            Self::Stderr => "stderr".to_owned(),
            Self::File(path) => path.display().to_string(),
            Self::Syslog(syslog) => syslog.server.to_string(),
            Self::Off => "off".to_owned(),
        }
    }
}
