//! The problems of a config as people see them: each with its position, the line as written and a suggestion. Expanded
//! variables and secrets never get here.

use std::fmt;

/// Most problems that one report prints; the rest are only counted.
const MOST_SHOWN: usize = 50;

/// How severe a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The config cannot be used.
    Error,
    /// The config can be used, but something it names is unusable now: a certificate has expired, or the log file cannot
    /// be opened. An error for `evenkeel check`, a warning for a start or reload.
    Overdue,
    /// The config can be used, but is probably not what was meant.
    Warning,
}

/// One problem. `Display` renders it over several lines, without a line end after the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How severe it is.
    pub severity: Severity,
    /// The name of the file as it was given.
    pub file: String,
    /// Line and column, both from 1, the column in characters; `None` when the problem has no position in a file.
    pub position: Option<(usize, usize)>,
    /// The error in one line.
    pub message: String,
    /// Accepted values and suggestions; one line each.
    pub notes: Vec<String>,
    pub(super) excerpt: Option<Excerpt>,
}

/// A line of the file, cut to a readable length, in three parts. Tabs and control characters are replaced, secrets are
/// masked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Excerpt {
    pub(super) before: String,
    pub(super) marked: String,
    pub(super) after: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Overdue | Severity::Warning => "warning",
        };
        write!(f, ": {severity}: {}", self.message)?;
        let number = self
            .position
            .map_or_else(String::new, |(line, _)| line.to_string());
        let margin = " ".repeat(number.len().max(3));
        if let Some(excerpt) = &self.excerpt {
            let Excerpt {
                before,
                marked,
                after,
            } = excerpt;
            write!(f, "\n {number:>3} | {before}{marked}{after}")?;
            let indent = " ".repeat(before.chars().count());
            let caret = "^".repeat(marked.chars().count().max(1));
            write!(f, "\n {margin} | {indent}{caret}")?;
        }
        for note in &self.notes {
            write!(f, "\n {margin} = {note}")?;
        }
        Ok(())
    }
}

/// All problems of a config, in the order of the file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Errors and warnings.
    pub problems: Vec<Problem>,
}

impl Report {
    /// The problems, each as it is shown.
    pub fn messages(&self) -> Vec<String> {
        self.problems.iter().map(ToString::to_string).collect()
    }

    /// A report with one error that has no position in the text.
    pub(super) fn whole_file(file: &str, message: String, notes: Vec<String>) -> Self {
        let problem = Problem {
            severity: Severity::Error,
            file: file.to_owned(),
            position: None,
            message,
            notes,
            excerpt: None,
        };
        Self {
            problems: vec![problem],
        }
    }

    /// Number of problems that are errors.
    pub fn errors(&self) -> usize {
        let is_error = |problem: &&Problem| problem.severity == Severity::Error;
        self.problems.iter().filter(is_error).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.problems.iter().take(MOST_SHOWN) {
            write!(f, "{problem}\n\n")?;
        }
        if let Some(hidden) = self
            .problems
            .len()
            .checked_sub(MOST_SHOWN)
            .filter(|hidden| *hidden > 0)
        {
            write!(f, "… and {hidden} more\n\n")?;
        }
        match self.errors() {
            1 => f.write_str("1 error"),
            count => write!(f, "{count} errors"),
        }
    }
}

impl std::error::Error for Report {}
