//! Where log lines end up: an inherited stream or a file that can be reopened. One thread owns it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;

use super::access_log::Target;

/// An open sink.
#[derive(Debug)]
pub(super) struct Sink {
    file: File,
    /// Where to find it again; streams have none.
    path: Option<PathBuf>,
    /// The file ends within a line, left there by a process that was killed: it is ended before anything is added.
    owes_newline: bool,
}

impl Sink {
    /// Opens `target`; `None` when it is off. Errors are those of opening the file. Never waits, not even for the reader
    /// of a FIFO.
    pub(super) fn open(target: &Target) -> io::Result<Option<Self>> {
        match target {
            Target::Off => Ok(None),
            // A duplicate of the descriptor: no buffer and no lock of the standard library comes between.
            Target::Stdout => Ok(Some(Self::stream(
                io::stdout().as_fd().try_clone_to_owned()?.into(),
            ))),
            Target::Stderr => Ok(Some(Self::stream(
                io::stderr().as_fd().try_clone_to_owned()?.into(),
            ))),
            Target::File(path) => {
                let file = open_file(path)?;
                let owes_newline = ends_within_a_line(&file);
                Ok(Some(Self {
                    file,
                    path: Some(path.clone()),
                    owes_newline,
                }))
            }
        }
    }

    /// Takes a stream that is open already and cannot be reopened.
    pub(super) fn stream(file: File) -> Self {
        Self {
            file,
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
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            self.file = open_file(path)?;
            self.owes_newline = ends_within_a_line(&self.file);
        }
        Ok(())
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Non-blocking is for FIFOs only. To read as well keeps a FIFO open without a reader, and so its bytes too.
    options
        .append(true)
        .create(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    match options.read(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => options.read(false).open(path),
        opened => opened,
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
