//! Opens log files, checks beforehand whether that would succeed, and defines the errors of logs.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, OFlags};
use rustix::io::Errno;

/// A log file cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the log file {}: {source}{hint}", path.display())]
pub struct LogFileError {
    /// The file.
    pub path: PathBuf,
    source: io::Error,
    /// What to do about it.
    hint: String,
}

/// A log cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Its file cannot be opened.
    #[error(transparent)]
    File(#[from] LogFileError),
    /// A stream could not be duplicated or a thread could not be started.
    #[error("cannot use {what} for the log: {source}")]
    System {
        /// The stream or thread.
        what: &'static str,
        /// The system's error.
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

/// Opens a log file for appending and creates it if it does not exist. Never waits, not even for the reader of a FIFO.
pub(super) fn open(path: &Path) -> Result<File, LogFileError> {
    let mut options = OpenOptions::new();
    // Non-blocking matters for FIFOs only. Opening for reading too keeps a FIFO and its content while it has no other reader.
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

/// Checks whether opening the file would succeed, without creating it.
///
/// # Errors
/// The error that opening would give, as far as it can be known.
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

/// Asks the kernel whether access is permitted. Counts as permitted if the kernel does not tell, as without the system call.
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
        ErrorKind::NotFound => format!(" (create the directory {folder}, or choose another path)"),
        ErrorKind::NotADirectory => format!(" ({folder} is not a directory: choose another path)"),
        ErrorKind::IsADirectory => " (write the path of a file in this directory)".to_owned(),
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

    /// A folder that is removed when this is dropped.
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
    fn checking_and_opening_report_the_same_error() {
        let folder = Folder::new("way");
        fs::write(folder.0.join("file"), "").unwrap();
        let at = folder.0.display();
        for (path, words) in [
            ("no/access.log", format!("{at}/no/access.log: ")),
            (
                "no/access.log",
                format!("(create the directory {at}/no, or choose another path)"),
            ),
            ("", "(write the path of a file in this directory)".to_owned()),
            (
                "file/access.log",
                format!("({at}/file is not a directory: choose another path)"),
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
    fn checking_creates_no_file() {
        let folder = Folder::new("none");
        let path = folder.0.join("access.log");
        check(&path).unwrap();
        assert!(!path.exists());
        open(&path).unwrap();
        check(&path).unwrap();
        check(Path::new("access.log-that-is-not-there")).unwrap();
    }

    #[test]
    fn permission_errors_name_the_file_or_the_directory() {
        let folder = Folder::new("denied");
        let (old, new) = (folder.0.join("old"), folder.0.join("new"));
        fs::write(&old, "").unwrap();
        let denied = |path: &Path| LogFileError::new(path, ErrorKind::PermissionDenied.into()).to_string();
        assert!(denied(&old).contains("may not write to it"), "{}", denied(&old));
        let expected = format!("may not create files in {}", folder.0.display());
        assert!(denied(&new).contains(&expected), "{}", denied(&new));
    }

    #[test]
    fn checking_respects_permissions() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = Folder::new("modes");
        let file = folder.0.join("file");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o555)).unwrap();
        for path in [&file, &folder.0.join("new")] {
            // Root may write everywhere; then both succeed.
            assert_eq!(check(path).is_ok(), open(path).is_ok(), "{}", path.display());
        }
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755)).unwrap();
    }
}
