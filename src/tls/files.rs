//! Detects changed certificate files by their metadata. They are polled: inotify does not see changes on network file
//! systems, and its watches have to be renewed whenever a symbolic link on the path changes.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// The metadata of several files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileMetadata(Vec<Option<FileStamp>>);

/// The metadata of one file. Symbolic links are followed, so a changed link shows as another inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Detects a file that was renamed into place with an old modification time.
    changed: (i64, i64),
}

impl FileMetadata {
    /// Reads the metadata of each file; a missing file is `None`.
    pub(super) fn of<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> Self {
        let stamp = |path: &PathBuf| {
            let metadata = std::fs::metadata(path).ok()?;
            Some(FileStamp {
                device: metadata.dev(),
                inode: metadata.ino(),
                size: metadata.size(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            })
        };
        Self(paths.map(stamp).collect())
    }
}
