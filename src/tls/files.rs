//! How files are seen to have changed, by what the file system says of them. That is asked now and then: watches of the
//! kernel do not see changes on network file systems, and have to be set anew wherever a link on the way is turned.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// How some files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamps(Vec<Option<Stamp>>);

/// How one file is. Links are followed to the end, so that one that is turned elsewhere shows by the other file's inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Tells a file that was renamed into place with an old time of modification.
    changed: (i64, i64),
}

impl Stamps {
    /// Asks for each of the files; one that is not there counts as such.
    pub(super) fn of<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> Self {
        let stamp = |path: &PathBuf| {
            let metadata = std::fs::metadata(path).ok()?;
            Some(Stamp {
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
