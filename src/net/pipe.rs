//! Moves long bodies from one socket to another through a kernel pipe, without copying them into this process (`splice(2)`).

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags};

use super::{Stream, is_reserved};

/// Requested capacity in bytes: about what arrives while the other side is written. The kernel may allow less.
const CAPACITY: usize = 512 << 10;

/// A pipe and the number of bytes in it.
#[derive(Debug)]
pub struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    held: usize,
}

impl Pipe {
    /// Makes an empty pipe, if two descriptors are free for it.
    pub fn new() -> Option<Self> {
        let (out, into) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        if is_reserved(&out) || is_reserved(&into) {
            return None;
        }
        // Refused if the user has too many large pipes: a smaller one works too.
        let _ = rustix::pipe::fcntl_setpipe_size(&into, CAPACITY);
        Some(Self { out, into, held: 0 })
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Moves up to `max_length` received bytes from `source` into the pipe; 0 means end of stream. Only while the pipe is empty: a
    /// full pipe could not be distinguished from a socket without bytes.
    ///
    /// # Errors
    /// Errors of the socket; [`io::ErrorKind::InvalidInput`] where the system does not support splicing it.
    pub fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        source: &Stream,
        max_length: u64,
    ) -> Poll<io::Result<usize>> {
        let max_length = usize::try_from(max_length).unwrap_or(usize::MAX).min(CAPACITY);
        let count = ready!(source.poll_receive_by(context, |socket| {
            rustix::pipe::splice(socket, None, &self.into, None, max_length, SpliceFlags::NONBLOCK)
        }))?;
        self.held += count;
        Poll::Ready(Ok(count))
    }

    /// Moves as many bytes from the pipe to `sink` as the kernel takes at once.
    ///
    /// # Errors
    /// Errors of the socket.
    pub fn poll_drain(&mut self, context: &mut Context<'_>, sink: &Stream) -> Poll<io::Result<usize>> {
        let held = self.held;
        let count = ready!(sink.poll_send_by(context, |socket| {
            rustix::pipe::splice(&self.out, None, socket, None, held, SpliceFlags::NONBLOCK)
        }))?;
        self.held -= count;
        Poll::Ready(Ok(count))
    }
}
