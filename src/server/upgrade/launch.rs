//! What this process was started with: the path of its program, which an upgrade starts again, and the descriptors that it was passed.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::Inherited;

/// What the kernel appends to the path of a program that was replaced or removed.
const DELETED: &[u8] = b" (deleted)";

/// These. To be taken before anything else that a start does: the kernel follows a program that is renamed, such as to keep it, and its
/// path would lead to the old one later.
#[derive(Debug)]
pub struct Launch {
    /// The path that this program was started from, or why it is unknown.
    pub(in super::super) program: Result<PathBuf, String>,
    pub(in super::super) inherited: io::Result<Inherited>,
}

impl Launch {
    /// Takes both. Nothing is passed to a second call.
    pub fn take() -> Self {
        Self {
            program: program().map_err(|error| format!("the path of this program is unknown: {error}")),
            inherited: Inherited::take(),
        }
    }
}

/// The path that this program was started from, also if another file is there now.
fn program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let bytes = path.as_os_str().as_bytes();
    let bytes = bytes.strip_suffix(DELETED).unwrap_or(bytes);
    Ok(OsStr::from_bytes(bytes).into())
}
