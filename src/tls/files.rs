//! Detects changed certificate files.

use std::path::PathBuf;

use crate::file_version::FileVersion;

/// The versions of several files; a missing file is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileVersions(Vec<Option<FileVersion>>);

impl FileVersions {
    /// Those of the files at these paths.
    pub(super) fn at<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> Self {
        Self(paths.map(|path| FileVersion::at(path)).collect())
    }
}
