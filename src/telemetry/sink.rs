//! The sink of a log: an inherited stream, a file that can be reopened, or a syslog server. One thread owns it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use super::line_file::LineFile;
use super::log_file::{self, LogError, LogFileError};
use super::syslog::Sender;
use super::target::Target;

/// An open sink.
#[derive(Debug)]
pub(super) struct Sink {
    name: String,
    output: Output,
}

#[derive(Debug)]
enum Output {
    /// An inherited stream, which cannot be reopened.
    Stream(LineFile),
    /// A file of our own.
    File(LogFile),
    Syslog(Sender),
}

#[derive(Debug)]
struct LogFile {
    file: LineFile,
    path: PathBuf,
    /// Whether the file ends within a line, as after a killed process. The next write ends that line first.
    owes_newline: bool,
}

impl Sink {
    /// Opens `target`; `None` when it is off. Fails if the file cannot be opened. Never waits, not even for the reader of a FIFO or
    /// for a syslog server.
    pub(super) fn open(target: &Target) -> Result<Option<Self>, LogError> {
        let output = match target {
            Target::Off => return Ok(None),
            // A duplicate of the descriptor avoids the buffer and the lock of the standard library.
            Target::Stdout => return Self::inherited(io::stdout().as_fd(), "stdout").map(Some),
            Target::Stderr => return Self::inherited(io::stderr().as_fd(), "stderr").map(Some),
            Target::File(path) => Output::File(LogFile::open(path.clone())?),
            Target::Syslog(syslog) => Output::Syslog(Sender::new(syslog.server.clone())),
        };
        Ok(Some(Self {
            name: target.name(),
            output,
        }))
    }

    fn inherited(stream: BorrowedFd<'_>, name: &'static str) -> Result<Self, LogError> {
        let file = stream.try_clone_to_owned();
        let file = file.map_err(|source| LogError::System { what: name, source })?;
        Ok(Self::stream(file.into(), name))
    }

    /// A sink on an open stream, which cannot be reopened.
    pub(super) fn stream(file: File, name: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            output: Output::Stream(LineFile::new(file)),
        }
    }

    /// Writes a part of `bytes` and returns its length; a syslog server gets one line. A full FIFO gives `WouldBlock`. An inherited
    /// pipe blocks, because making it non-blocking would change it for the other processes that share it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.output {
            Output::Stream(file) => file.write(bytes),
            Output::File(file) => file.write(bytes),
            Output::Syslog(sender) => sender.send(bytes),
        }
    }

    /// The path, the server or the name of the stream, for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is an inherited stream, which cannot be reopened.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self.output, Output::Stream(_))
    }

    /// Whether the last successful write shows that the sink works. A datagram may be lost all the same.
    pub(super) fn is_confirmed(&self) -> bool {
        match &self.output {
            Output::Stream(_) | Output::File(_) => true,
            Output::Syslog(sender) => sender.is_confirmed(),
        }
    }

    /// Takes the number of lines that counted as written and were lost.
    pub(super) fn take_lost(&mut self) -> u64 {
        match &mut self.output {
            Output::Stream(_) | Output::File(_) => 0,
            Output::Syslog(sender) => sender.take_lost(),
        }
    }

    /// Waits until the sink may take bytes again, at most `limit`.
    pub(super) fn wait_writable(&self, limit: Duration) {
        let limit = Timespec::try_from(limit).ok();
        let descriptor = match &self.output {
            Output::Stream(file) | Output::File(LogFile { file, .. }) => Some(file.descriptor()),
            Output::Syslog(sender) => sender.descriptor(),
        };
        let Some(descriptor) = descriptor else { return };
        // The result does not matter: the next write reports errors.
        let _ = rustix::event::poll(
            &mut [PollFd::from_borrowed_fd(descriptor, PollFlags::OUT)],
            limit.as_ref(),
        );
    }

    /// Opens the path again, so that a renamed file is not written to any more, or connects to the server again. Does nothing for
    /// streams. On an error the old file stays in use.
    pub(super) fn reopen(&mut self) -> Result<(), LogFileError> {
        match &mut self.output {
            Output::Stream(_) => {}
            Output::File(file) => *file = LogFile::open(file.path.clone())?,
            Output::Syslog(sender) => sender.disconnect(),
        }
        Ok(())
    }
}

impl LogFile {
    fn open(path: PathBuf) -> Result<Self, LogFileError> {
        let file = log_file::open(&path)?;
        Ok(Self {
            owes_newline: ends_within_a_line(&file),
            file: LineFile::new(file),
            path,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.owes_newline {
            self.file.end_line()?;
            self.owes_newline = false;
        }
        self.file.write(bytes)
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
