//! Reads files up to a limit. Only regular files are read: a named pipe could make a start or a reload wait without end, and a device
//! has no end.

use std::fs::{File, FileType};
use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use crate::schema::units::show_size;

/// The content of a file of at most `limit` bytes. Symbolic links are followed. Blocks.
///
/// # Errors
/// The file cannot be read, is not a regular one, or is larger.
pub fn read(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    // Before it is opened, because that waits at a named pipe.
    check(std::fs::metadata(path)?.file_type())?;
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    let mut data = Vec::new();
    // One byte more shows that it is too long, also where its length is not known, as below /proc.
    let mut reader = File::open(path)?.take(limit.saturating_add(1));
    reader.read_to_end(&mut data)?;
    if reader.limit() == 0 {
        let message = format!("it is larger than {}", show_size(limit));
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(data)
}

fn check(file: FileType) -> io::Result<()> {
    let (kind, what) = if file.is_file() {
        return Ok(());
    } else if file.is_dir() {
        (io::ErrorKind::IsADirectory, "a folder")
    } else if file.is_fifo() {
        (io::ErrorKind::InvalidInput, "a named pipe")
    } else if file.is_socket() {
        (io::ErrorKind::InvalidInput, "a socket")
    } else {
        (io::ErrorKind::InvalidInput, "a device")
    };
    Err(io::Error::new(kind, format!("it is {what}, not a file")))
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType as Node, Mode, mknodat};

    use super::*;

    /// A folder that is removed at the end.
    struct Folder(std::path::PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn only_regular_files_up_to_the_limit_are_read() {
        let folder = Folder(std::env::temp_dir().join(format!("evenkeel-bounded-{}", std::process::id())));
        let path = |name: &str| folder.0.join(name);
        std::fs::create_dir_all(&folder.0).unwrap();
        std::fs::write(path("file"), "abc").unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        mknodat(CWD, path("pipe"), Node::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        let error = |name: &str, limit| read(&path(name), limit).unwrap_err().to_string();
        assert_eq!(read(&path("file"), 3).unwrap(), b"abc");
        assert_eq!(read(&path("link"), 4).unwrap(), b"abc");
        assert_eq!(error("file", 2), "it is larger than 2B");
        assert_eq!(error("link", 0), "it is larger than 0B");
        assert_eq!(error(".", 9), "it is a folder, not a file");
        assert_eq!(error("pipe", 9), "it is a named pipe, not a file");
        assert_eq!(error("socket", 9), "it is a socket, not a file");
        assert_eq!(error("/dev/zero", 9), "it is a device, not a file");
        assert!(error("absent", 9).contains("No such file"));
        // Its length is 0 for the system.
        assert!(read(Path::new("/proc/self/status"), 9).is_err());
    }
}
