//! A file that whole lines are written to. In a pipe they do not mix with those of another writer, such as the process before
//! or after an upgrade.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::FileTypeExt as _;

/// Bytes that the kernel writes to a pipe in one piece (`PIPE_BUF` of Linux).
const PIPE_PIECE: usize = 4096;

/// An open file, pipe or socket.
#[derive(Debug)]
pub(super) struct LineFile {
    file: File,
    is_pipe: bool,
}

impl LineFile {
    pub(super) fn new(file: File) -> Self {
        let metadata = file.metadata();
        let is_pipe = metadata.is_ok_and(|metadata| metadata.file_type().is_fifo());
        Self { file, is_pipe }
    }

    /// Writes a part of `bytes` and returns its length. The kernel appends to a file in one piece, but splits long writes to a
    /// pipe, which therefore gets whole lines in pieces that it does not split.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let piece = if self.is_pipe { pipe_piece(bytes) } else { bytes };
        (&self.file).write(piece)
    }

    /// Writes a newline.
    pub(super) fn end_line(&self) -> io::Result<()> {
        (&self.file).write_all(b"\n")
    }

    /// To wait until it takes bytes.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
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

#[cfg(test)]
mod tests {
    use std::io::{self, Read as _};
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
            let file = LineFile::new(OwnedFd::from(writer.try_clone().unwrap()).into());
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
                    rest = &rest[file.write(rest).unwrap()..];
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
