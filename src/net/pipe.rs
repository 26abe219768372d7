//! A pipe of the kernel through which long bodies go from one socket to another without being copied into this process
//! (`splice(2)`).

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags};

use super::{Stream, is_kept_back};

/// Bytes that it should hold: as many as arrive while the other side is written. The kernel may allow less.
const CAPACITY: usize = 512 << 10;

/// A pipe, and what is in it.
#[derive(Debug)]
pub struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    held: usize,
}

impl Pipe {
    /// Makes an empty one, if there are two descriptors for it.
    pub fn new() -> Option<Self> {
        let (out, into) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        if is_kept_back(&out) || is_kept_back(&into) {
            return None;
        }
        // Refused where the user has too many large pipes: a smaller one does as well.
        let _ = rustix::pipe::fcntl_setpipe_size(&into, CAPACITY);
        Some(Self { out, into, held: 0 })
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes up to `most` bytes that `source` has received; 0 is the end of what the other side sends. Only when it is
    /// empty: a full pipe could not be told from a socket without bytes.
    ///
    /// # Errors
    /// Those of the socket; [`io::ErrorKind::InvalidInput`] where the system has no such call for it.
    pub fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        source: &Stream,
        most: u64,
    ) -> Poll<io::Result<usize>> {
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(CAPACITY);
        let count = ready!(source.poll_receive_by(context, |socket| {
            rustix::pipe::splice(socket, None, &self.into, None, most, SpliceFlags::NONBLOCK)
        }))?;
        self.held += count;
        Poll::Ready(Ok(count))
    }

    /// Gives `sink` as much of what it holds as the kernel takes at once.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_drain(&mut self, context: &mut Context<'_>, sink: &Stream) -> Poll<io::Result<usize>> {
        let held = self.held;
        let count = ready!(sink.poll_send_by(context, |socket| {
            rustix::pipe::splice(&self.out, None, socket, None, held, SpliceFlags::NONBLOCK)
        }))?;
        self.held -= count;
        Poll::Ready(Ok(count))
    }
}
