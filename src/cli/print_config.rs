//! `evenkeel print-config`: prints the effective config.

use std::io;

use super::{GivenFile, Outcome, Streams};
use crate::config;

/// Prints the effective config.
pub(super) fn print_config(file: &GivenFile, streams: &mut Streams<'_>) -> io::Result<Outcome> {
    let (_, loaded) = match file.load() {
        Ok(loaded) => loaded,
        Err(report) => return streams.fail(&report),
    };
    streams.warn(&loaded)?;
    streams.out.write_all(config::print(&loaded.config).as_bytes())?;
    Ok(Outcome::Fine)
}
