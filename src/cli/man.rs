//! `evenkeel man`: writes the man pages of all commands.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory;

use super::{Outcome, Streams};

/// Writes one page per command of `C` into a folder, which is created if it does not exist.
pub(super) fn man<C: CommandFactory>(folder: &Path, streams: &mut Streams<'_>) -> io::Result<Outcome> {
    let written = fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(C::command(), folder));
    if let Err(error) = written {
        writeln!(
            streams.err,
            "error: could not write the man pages to {}: {error}; name a folder that this user may write to",
            folder.display()
        )?;
        return Ok(Outcome::Failed);
    }
    Ok(Outcome::Fine)
}
