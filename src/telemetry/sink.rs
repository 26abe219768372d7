//! Where log lines end up: an inherited stream or a file that can be reopened. One thread owns it.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use super::access_log::Target;
use super::log_file::{self, LogError, LogFileError};

/// An open sink.
#[derive(Debug)]
pub(super) struct Sink {
    file: File,
    name: String,
    /// Where to find it again; streams have none.
    path: Option<PathBuf>,
    /// The file ends within a line, left there by a process that was killed: it is ended before anything is added.
    owes_newline: bool,
}

impl Sink {
    /// Opens `target`; `None` when it is off. Errors are those of opening the file. Never waits, not even for the reader
    /// of a FIFO.
    pub(super) fn open(target: &Target) -> Result<Option<Self>, LogError> {
        match target {
            Target::Off => Ok(None),
            // A duplicate of the descriptor: no buffer and no lock of the standard library comes between.
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

    /// Takes a stream that is open already and cannot be reopened.
    pub(super) fn stream(file: File, name: &'static str) -> Self {
        Self {
            file,
            name: name.to_owned(),
            path: None,
            owes_newline: false,
        }
    }

    /// Writes a part of `bytes` and tells how much. A FIFO that is full gives `WouldBlock`; a pipe that this process
    /// inherited blocks, because making it non-blocking would change it for whoever shares it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.owes_newline {
            self.file.write_all(b"\n")?;
            self.owes_newline = false;
        }
        self.file.write(bytes)
    }

    /// What messages call it: the path, or the stream.
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
        // Whatever comes out of it, the next write tells.
        let _ = rustix::event::poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], limit.as_ref());
    }

    /// Opens the path anew, which leaves a file that was renamed alone. Streams stay as they are. On an error the old
    /// file stays in use.
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
    // A file that may not be read is taken to be whole.
    length > 0 && file.read_at(&mut last, length - 1).is_ok_and(|read| read == 1) && last != [b'\n']
}
