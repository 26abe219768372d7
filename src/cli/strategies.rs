//! `evenkeel strategies`: lists the strategies.

use std::io;

use super::{Outcome, Streams};
use crate::strategy::STRATEGIES;

/// Lists the strategies, one per line: name and summary.
pub(super) fn strategies(streams: &mut Streams<'_>) -> io::Result<Outcome> {
    let width = STRATEGIES.iter().map(|entry| entry.name.len()).max().unwrap_or(0);
    for entry in STRATEGIES {
        writeln!(streams.out, "{:width$}  {}", entry.name, entry.summary)?;
    }
    Ok(Outcome::Fine)
}
