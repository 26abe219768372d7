//! A temporary folder for the files of a measurement.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder, deleted on drop.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Creates the folder of a bench.
    pub(crate) fn new(bench: &str) -> Self {
        let path = std::env::temp_dir().join(format!("evenkeel-{bench}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder can be created");
        Self(path)
    }

    /// Writes a file in it, and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).expect("a file can be written");
        path
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A leftover is small and gets cleaned up with the temporary folder.
        drop(fs::remove_dir_all(&self.0));
    }
}
