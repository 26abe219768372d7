//! A temporary folder of one run.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, process};

use crate::error::{Explain, Result};

/// A new folder. When dropped, it is removed, unless it is kept.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    is_kept: bool,
}

impl Folder {
    /// Makes it, with a name that no other process or run uses.
    pub fn new() -> Result<Self> {
        Self::within(&env::temp_dir())
    }

    /// Makes it in this folder.
    pub(crate) fn within(parent: &Path) -> Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("evenkeel-chaos-{}-{number}", process::id()));
        fs::create_dir_all(&path).explain(format_args!("cannot make the folder {}", path.display()))?;
        Ok(Self { path, is_kept: false })
    }

    /// Leaves it on the disk.
    pub fn keep(&mut self) {
        self.is_kept = true;
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.is_kept {
            drop(fs::remove_dir_all(&self.path));
        }
    }
}
