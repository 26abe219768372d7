//! Why a run could not be carried out. A balancer that fails a scenario is no error: that is what the report says.

use std::fmt;
use std::io;

/// A sentence for people: what could not be done, and why.
#[derive(Debug)]
pub struct Error {
    text: String,
    is_not_offered: bool,
}

/// The result of a step of a run.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_not_offered: false,
        }
    }

    /// An error that says that a balancer has no such thing: the run cannot be made, and nothing has gone wrong.
    pub fn not_offered(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_not_offered: true,
        }
    }

    /// Whether it was made by [`Error::not_offered`].
    pub fn is_not_offered(&self) -> bool {
        self.is_not_offered
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// Says what could not be done.
pub(crate) trait Explain<T> {
    /// Puts `what` in front of the cause.
    fn explain(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Explain<T> for std::result::Result<T, E> {
    fn explain(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Error::new(format!("{what}: {error}")))
    }
}
