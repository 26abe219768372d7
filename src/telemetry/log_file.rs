//! Opening the file of a log, finding out beforehand whether that can be done, and saying why a log cannot be had.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, OFlags};
use rustix::io::Errno;

/// Why a log cannot be written to where it should be.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the log file {}: {source}{hint}", path.display())]
pub struct LogFileError {
    /// The file.
    pub path: PathBuf,
    source: io::Error,
    /// What to do about it.
    hint: String,
}

/// Why a log cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Its file cannot be opened.
    #[error(transparent)]
    File(#[from] LogFileError),
    /// A stream or a thread could not be had.
    #[error("cannot use {what} for the log: {source}")]
    System {
        /// What that is.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

impl LogFileError {
    fn new(path: &Path, source: io::Error) -> Self {
        Self {
            path: path.to_owned(),
            hint: hint(path, source.kind()),
            source,
        }
    }
}

/// Opens a log file for appending, and makes it where there is none. Never waits, not even for the reader of a FIFO.
pub(super) fn open(path: &Path) -> Result<File, LogFileError> {
    let mut options = OpenOptions::new();
    // Non-blocking is for FIFOs only. To read as well keeps a FIFO open without a reader, and so its bytes too.
    options
        .append(true)
        .create(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let opened = match options.read(true).open(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => options.read(false).open(path),
        opened => opened,
    };
    opened.map_err(|error| LogFileError::new(path, error))
}

/// Whether opening it would succeed, as far as that can be seen without making the file.
///
/// # Errors
/// What would be in the way.
pub fn check(path: &Path) -> Result<(), LogFileError> {
    let checked = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(ErrorKind::IsADirectory.into()),
        Ok(_) => access(path, Access::WRITE_OK),
        Err(error) if error.kind() == ErrorKind::NotFound => check_folder(folder(path)),
        Err(error) => Err(error),
    };
    checked.map_err(|error| LogFileError::new(path, error))
}

fn check_folder(folder: &Path) -> io::Result<()> {
    if !std::fs::metadata(folder)?.is_dir() {
        return Err(ErrorKind::NotADirectory.into());
    }
    access(folder, Access::WRITE_OK | Access::EXEC_OK)
}

/// What the kernel says of access; where it does not say, as on a kernel without the call, nothing is in the way.
fn access(path: &Path, wanted: Access) -> io::Result<()> {
    match rustix::fs::accessat(CWD, path, wanted, AtFlags::EACCESS) {
        Err(error @ (Errno::ACCESS | Errno::PERM | Errno::ROFS)) => Err(error.into()),
        _ => Ok(()),
    }
}

fn folder(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn hint(path: &Path, kind: ErrorKind) -> String {
    let folder = folder(path).display();
    match kind {
        ErrorKind::NotFound => format!(" (create the folder {folder}, or choose another path)"),
        ErrorKind::NotADirectory => format!(" ({folder} is not a folder: choose another path)"),
        ErrorKind::IsADirectory => " (write the name of a file in it)".to_owned(),
        ErrorKind::PermissionDenied if path.exists() => {
            " (the user that runs this process may not write to it)".to_owned()
        }
        ErrorKind::PermissionDenied => {
            format!(" (the user that runs this process may not create files in {folder})")
        }
        ErrorKind::ReadOnlyFilesystem => " (choose a path on a file system that can be written)".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A folder that is gone with its value.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("evenkeel-log-file-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn says_before_and_at_opening_what_is_in_the_way() {
        let folder = Folder::new("way");
        fs::write(folder.0.join("file"), "").unwrap();
        let at = folder.0.display();
        for (path, words) in [
            ("no/access.log", format!("{at}/no/access.log: ")),
            (
                "no/access.log",
                format!("(create the folder {at}/no, or choose another path)"),
            ),
            ("", "(write the name of a file in it)".to_owned()),
            (
                "file/access.log",
                format!("({at}/file is not a folder: choose another path)"),
            ),
        ] {
            let path = folder.0.join(path);
            for error in [check(&path).err().unwrap(), open(&path).err().unwrap()] {
                let shown = error.to_string();
                assert!(shown.starts_with("cannot open the log file "), "{shown}");
                assert!(shown.contains(&words), "{shown}");
            }
        }
    }

    #[test]
    fn checking_makes_no_file() {
        let folder = Folder::new("none");
        let path = folder.0.join("access.log");
        check(&path).unwrap();
        assert!(!path.exists());
        open(&path).unwrap();
        check(&path).unwrap();
        check(Path::new("access.log-that-is-not-there")).unwrap();
    }

    #[test]
    fn says_who_may_not_write_where() {
        let folder = Folder::new("denied");
        let (old, new) = (folder.0.join("old"), folder.0.join("new"));
        fs::write(&old, "").unwrap();
        let denied = |path: &Path| LogFileError::new(path, ErrorKind::PermissionDenied.into()).to_string();
        assert!(denied(&old).contains("may not write to it"), "{}", denied(&old));
        let expected = format!("may not create files in {}", folder.0.display());
        assert!(denied(&new).contains(&expected), "{}", denied(&new));
    }

    #[test]
    fn finds_what_the_permissions_say() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = Folder::new("modes");
        let file = folder.0.join("file");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o555)).unwrap();
        for path in [&file, &folder.0.join("new")] {
            // Root may write everywhere: both say so then.
            assert_eq!(check(path).is_ok(), open(path).is_ok(), "{}", path.display());
        }
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755)).unwrap();
    }
}
