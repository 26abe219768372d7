//! Reads files with a limit.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Reads a file. One byte more than the limit is enough to see that it is too long.
pub(super) fn read(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let mut data = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut data)?;
    Ok(data)
}
