//! `evenkeel schema`: prints the JSON Schema of the config file.

use std::io;

use super::{Outcome, Streams};
use crate::config;

/// Prints the JSON Schema of the config file.
pub(super) fn schema(streams: &mut Streams<'_>) -> io::Result<Outcome> {
    writeln!(streams.out, "{:#}", config::schema())?;
    Ok(Outcome::Fine)
}
