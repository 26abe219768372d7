//! The sink of a log: an inherited stream, or a file that can be reopened. One thread owns it.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use super::log_file::{self, LogError, LogFileError};
use super::target::Target;

/// Bytes that the kernel writes to a pipe in one piece (`PIPE_BUF` of Linux).
const PIPE_PIECE: usize = 4096;

/// An open sink.
#[derive(Debug)]
pub(super) struct Sink {
    file: File,
    /// Whether other writers' bytes may appear between those of one write: of the process before or after an upgrade.
    is_pipe: bool,
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
                    is_pipe: is_pipe(&file),
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
            is_pipe: is_pipe(&file),
            file,
            name: name.to_owned(),
            path: None,
            owes_newline: false,
        }
    }

    /// Writes a part of `bytes` and returns its length. A full FIFO gives `WouldBlock`. An inherited pipe blocks, because making it
    /// non-blocking would change it for the other processes that share it. A pipe gets whole lines in pieces that do not mix
    /// with those of other writers.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.owes_newline {
            self.file.write_all(b"\n")?;
            self.owes_newline = false;
        }
        let piece = if self.is_pipe { pipe_piece(bytes) } else { bytes };
        self.file.write(piece)
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
            self.is_pipe = is_pipe(&self.file);
            self.owes_newline = ends_within_a_line(&self.file);
        }
        Ok(())
    }
}

fn is_pipe(file: &File) -> bool {
    file.metadata()
        .is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// The first lines of `bytes` that fit in one piece; a longer line alone.
fn pipe_piece(bytes: &[u8]) -> &[u8] {
    let Some((fitting, rest)) = bytes.split_at_checked(PIPE_PIECE) else {
        return bytes;
    };
    let end = match memchr::memrchr(b'\n', fitting) {
        Some(newline) => newline + 1,
        None => memchr::memchr(b'\n', rest).map_or(bytes.len(), |newline| PIPE_PIECE + newline + 1),
    };
    bytes.get(..end).unwrap_or(bytes)
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

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::OwnedFd;
    use std::thread;

    use super::*;

    /// One writer's batch: lines of this letter, most of them short, some longer than a piece.
    fn batch(letter: u8) -> Vec<u8> {
        let lengths = [300, 5_000, 1, 4_095, 4_096, 700, 64, 2_000];
        let line = |length: &usize| [&[letter].repeat(*length)[..], b"\n"].concat();
        lengths.iter().cycle().take(400).flat_map(line).collect()
    }

    #[test]
    fn a_pipe_gets_whole_lines_in_pieces_that_the_kernel_does_not_split() {
        let bytes = batch(b'a');
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let piece = pipe_piece(rest);
            assert!(piece.ends_with(b"\n"));
            let is_one_line = memchr::memchr(b'\n', piece) == Some(piece.len() - 1);
            assert!(piece.len() <= PIPE_PIECE || is_one_line);
            rest = &rest[piece.len()..];
        }
        assert_eq!(
            pipe_piece(&[b'a'; 2 * PIPE_PIECE]).len(),
            2 * PIPE_PIECE,
            "no newline"
        );
    }

    #[test]
    fn lines_of_two_writers_of_one_pipe_do_not_mix() {
        let (mut reader, writer) = io::pipe().unwrap();
        let writers = [b'a', b'b'].map(|letter| {
            let mut sink = Sink::stream(OwnedFd::from(writer.try_clone().unwrap()).into(), "pipe");
            let short = batch(letter);
            let short: Vec<u8> = short
                .split_inclusive(|&byte| byte == b'\n')
                .filter(|line| line.len() <= PIPE_PIECE)
                .flatten()
                .copied()
                .collect();
            thread::spawn(move || {
                let mut rest = &short[..];
                while !rest.is_empty() {
                    rest = &rest[sink.write(rest).unwrap()..];
                }
            })
        });
        drop(writer);
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        for line in read.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            assert!(
                line.iter().all(|byte| *byte == line[0]),
                "two writers in one line"
            );
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    }
}
