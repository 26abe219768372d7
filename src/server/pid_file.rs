//! The file that contains the id of the process while it serves. Replaced at once, so that a reader never finds half an id.

use std::fs;
use std::io;
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
        let mut name = path.clone().into_os_string();
        name.push(format!(".{}", std::process::id()));
        // Its end removes what was written, such as a part of the id on a full disk.
        let file = Self {
            path,
            prepared: PathBuf::from(name),
        };
        match file.write() {
            Ok(()) => Ok(file),
            Err(source) => Err(StartError::PidFile {
                path: file.path.clone(),
                source,
            }),
        }
    }

    fn write(&self) -> io::Result<()> {
        fs::write(&self.prepared, format!("{}\n", std::process::id()))
    }

    fn is_ours(&self) -> bool {
        let id = std::process::id().to_string();
        fs::read_to_string(&self.path).is_ok_and(|text| text.trim_end() == id)
    }

    /// Replaces the file once more, if another process has: that one does not serve.
    pub(super) fn restore(&self) {
        if self.is_ours() {
            return;
        }
        match self.write() {
            Ok(()) => self.publish(),
            Err(error) => self.report(&error),
        }
    }

    /// Replaces the file: this process serves.
    pub(super) fn publish(&self) {
        if let Err(error) = fs::rename(&self.prepared, &self.path) {
            self.report(&error);
        }
    }

    fn report(&self, error: &io::Error) {
        tracing::error!(path = %self.path.display(), %error, "Could not write the file of `--pid-file`; it names no process or another one");
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // It is there if the process has never served.
        let _ = fs::remove_file(&self.prepared);
        if self.is_ours() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with nothing in it.
    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("evenkeel-pid-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_full_disk_is_an_error_and_leaves_nothing() {
        let folder = folder("full");
        let path = folder.join("pid");
        let prepared = folder.join(format!("pid.{}", std::process::id()));
        std::os::unix::fs::symlink("/dev/full", &prepared).unwrap();
        let error = PidFile::prepare(path).unwrap_err();
        assert!(error.to_string().contains("No space left"), "{error}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_file_is_restored_after_another_process_has_written_it_or_removed_it() {
        let folder = folder("restored");
        let file = PidFile::prepare(folder.join("pid")).unwrap();
        file.publish();
        let own = fs::read_to_string(&file.path).unwrap();
        fs::write(&file.path, "1\n").unwrap();
        file.restore();
        assert_eq!(fs::read_to_string(&file.path).unwrap(), own);
        fs::remove_file(&file.path).unwrap();
        file.restore();
        assert_eq!(fs::read_to_string(&file.path).unwrap(), own);
        drop(file);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir_all(folder).unwrap();
    }
}
