//! The file that contains the id of the process while it serves. Replaced at once, so that a reader never finds half an id.

use std::fs;
use std::path::PathBuf;

use super::start_error::StartError;

/// The file. Dropping it removes the file unless it is another process's by now.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
    /// Holds the id until the process serves.
    prepared: PathBuf,
}

impl PidFile {
    /// Writes the id of this process beside the file. Fails as `publish` would, while the process does not serve yet.
    pub(super) fn prepare(path: PathBuf) -> Result<Self, StartError> {
        let id = std::process::id();
        let mut name = path.clone().into_os_string();
        name.push(format!(".{id}"));
        let prepared = PathBuf::from(name);
        match fs::write(&prepared, format!("{id}\n")) {
            Ok(()) => Ok(Self { path, prepared }),
            Err(source) => Err(StartError::PidFile { path, source }),
        }
    }

    /// Replaces the file: this process serves.
    pub(super) fn publish(&self) {
        if let Err(error) = fs::rename(&self.prepared, &self.path) {
            tracing::error!(path = %self.path.display(), %error, "Could not write the file of `--pid-file`; it names no process or an earlier one");
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // It is there if the process has never served.
        let _ = fs::remove_file(&self.prepared);
        let id = std::process::id().to_string();
        if fs::read_to_string(&self.path).is_ok_and(|text| text.trim_end() == id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
