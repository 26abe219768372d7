//! A readable record of a run: one line for everything that happens.

use crate::clock::Time;

/// The record. Off by default: formatting lines takes longer than the run.
#[derive(Debug, Default)]
pub struct Trace {
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A record that is kept.
    pub fn on() -> Self {
        Self {
            lines: Some(Vec::new()),
        }
    }

    /// Adds a line, if the record is kept.
    pub fn say(&mut self, now: Time, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{now} {}", line()));
        }
    }

    /// The lines.
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}
