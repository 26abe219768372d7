//! `evenkeel check`: validates a config file.

use std::io;

use super::{GivenFile, Outcome, Streams};
use crate::server;

/// Validates a config file. Prints problems to stderr, and a summary of a valid config to stdout.
pub(super) fn check(file: &GivenFile, streams: &mut Streams<'_>) -> io::Result<Outcome> {
    let loaded = file
        .load()
        .and_then(|(name, loaded)| Ok((name, loaded.strictly()?)));
    let (name, loaded) = match loaded {
        Ok(loaded) => loaded,
        Err(report) => return streams.fail(&report),
    };
    streams.warn(&loaded)?;
    let config = &loaded.config;
    // Reads the files of policies, as a start does.
    if let Err(error) = server::snapshot_of(config) {
        writeln!(streams.err, "{name}: error: {error}\n\n1 error")?;
        return Ok(Outcome::Failed);
    }
    let backends: usize = config.pools.iter().map(|pool| pool.backends.len()).sum();
    writeln!(
        streams.out,
        "{name} is valid: {}, {}, {}, {}",
        count(config.listeners.len(), "listener"),
        count(config.routes.len(), "route"),
        count(config.pools.len(), "pool"),
        count(backends, "backend"),
    )?;
    Ok(Outcome::Fine)
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
