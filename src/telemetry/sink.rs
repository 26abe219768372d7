//! The sink of a log: an inherited stream, or a file that can be reopened. One thread owns it.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use super::log_file::{self, LogError, LogFileError};
use super::target::Target;

/// An open sink.
#[derive(Debug)]
pub(super) struct Sink {
    file: File,
    name: String,
    /// The path to reopen; `None` for streams.
    path: Option<PathBuf>,
    /// Whether the file ends within a line, as after a killed process. The next write ends that line first.
    owes_newline: bool,
}

impl Sink {
    /// Opens `target`; `None` when it is off. Fails if the file cannot be opened. Never waits, not even for the reader of a FIFO.
    pub(super) fn open(target: &Target) -> Result<Option<Self>, LogError> {
        match target {
            Target::Off => Ok(None),
            // A duplicate of the descriptor avoids the buffer and the lock of the standard library.
            Target::Stdout => Self::inherited(io::stdout().as_fd(), "stdout").map(Some),
            Target::Stderr => Self::inherited(io::stderr().as_fd(), "stderr").map(Some),
            Target::File(path) => {
                let file = log_file::open(path)?;
                let owes_newline = ends_within_a_line(&file);
                Ok(Some(Self {
                    file,
                    name: path.display().to_string(),
                    path: Some(path.clone()),
                    owes_newline,
                }))
            }
        }
    }

    fn inherited(stream: BorrowedFd<'_>, name: &'static str) -> Result<Self, LogError> {
        let file = stream.try_clone_to_owned();
        let file = file.map_err(|source| LogError::System { what: name, source })?;
        Ok(Self::stream(file.into(), name))
    }

    /// A sink on an open stream, which cannot be reopened.
    pub(super) fn stream(file: File, name: &'static str) -> Self {
        Self {
            file,
            name: name.to_owned(),
            path: None,
            owes_newline: false,
        }
    }

    /// Writes a part of `bytes` and returns its length. A full FIFO gives `WouldBlock`. An inherited pipe blocks, because making it
    /// non-blocking would change it for the other processes that share it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.owes_newline {
            self.file.write_all(b"\n")?;
            self.owes_newline = false;
        }
        self.file.write(bytes)
    }

    /// The path or the name of the stream, for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is an inherited stream, which cannot be reopened.
    pub(super) fn is_stream(&self) -> bool {
        self.path.is_none()
    }

    /// Waits until the sink may take bytes again, at most `limit`.
    pub(super) fn wait_writable(&self, limit: Duration) {
        let limit = Timespec::try_from(limit).ok();
        // The result does not matter: the next write reports errors.
        let _ = rustix::event::poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], limit.as_ref());
    }

    /// Opens the path again; a renamed file is not written to any more. Does nothing for streams. On an error the old file stays
    /// in use.
    pub(super) fn reopen(&mut self) -> Result<(), LogFileError> {
        if let Some(path) = &self.path {
            self.file = log_file::open(path)?;
            self.owes_newline = ends_within_a_line(&self.file);
        }
        Ok(())
    }
}

fn ends_within_a_line(file: &File) -> bool {
    let length = match file.metadata() {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        _ => return false,
    };
    let mut last = [b'\n'];
    // If the file cannot be read, its last line counts as complete.
    length > 0 && file.read_at(&mut last, length - 1).is_ok_and(|read| read == 1) && last != [b'\n']
}
