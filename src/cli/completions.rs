//! `evenkeel completions`: prints shell completion scripts.

use std::io;

use clap::CommandFactory;

use super::{Outcome, Streams};

/// Prints a completion script for the commands of `C`.
pub(super) fn completions<C: CommandFactory>(
    shell: clap_complete::Shell,
    streams: &mut Streams<'_>,
) -> io::Result<Outcome> {
    // The generator panics when it cannot write, so it writes into memory.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut C::command(), "evenkeel", &mut script);
    streams.out.write_all(&script)?;
    Ok(Outcome::Fine)
}
