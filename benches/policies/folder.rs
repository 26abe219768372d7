//! A temporary folder for the files of the balancer.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder, deleted on drop.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Creates it.
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("evenkeel-policies-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder can be created");
        Self(path)
    }

    /// Writes a file in it, and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).expect("a file can be written");
        path
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A leftover is small and gets cleaned up with the temporary folder.
        drop(fs::remove_dir_all(&self.0));
    }
}
