//! One connection of either side: a stream, what was read and not used, what is to be written. It moves bytes
//! and counts them; what they mean is decided elsewhere.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use crate::buffer::{Buffer, Buffers, LARGE, SMALL};
use crate::net::{Pipe, Stream};

/// A payload up to this size is copied behind what is to be written, so that it leaves in the same socket call;
/// larger ones are written from where they were read.
pub(super) const COPIED: usize = 8 << 10;
/// What is to be written is kept below this size by writing before more is added.
const OUTPUT_BOUND: usize = 2 * COPIED;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    /// Read and not used yet. Without memory while nothing is unread.
    pub input: Buffer,
    /// Whether the other side has said that it sends no more.
    pub input_ended: bool,
    output: Vec<u8>,
    written: usize,
    /// Bytes that the kernel took so far.
    pub bytes_out: u64,
}

impl Connection {
    /// Begins with an empty input and output.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            input: Buffer::default(),
            input_ended: false,
            output: Vec::new(),
            written: 0,
            bytes_out: 0,
        }
    }

    /// The stream below.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Reads more behind what is unread. `wanted` is how many bytes are expected, as far as known: it chooses the size of
    /// the buffer. Gives 0 at the end of the stream. Waits without holding a buffer.
    ///
    /// # Errors
    /// Those of the socket; [`io::ErrorKind::OutOfMemory`] when the buffer is full, which a caller that bounds what it
    /// waits for does not see.
    pub fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        buffers: &Buffers,
        wanted: u64,
    ) -> Poll<io::Result<usize>> {
        if self.input_ended {
            return Poll::Ready(Ok(0));
        }
        let size = if wanted > SMALL as u64 { LARGE } else { SMALL };
        if self.input.is_empty() && self.input.capacity() < size {
            ready!(self.stream.poll_readable(context))?;
            buffers.give_back(std::mem::replace(&mut self.input, buffers.lend(size)));
        }
        if self.input.is_full() {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        let count = ready!(self.stream.poll_read(context, self.input.space()))?;
        self.input.filled(count);
        self.input_ended = count == 0;
        Poll::Ready(Ok(count))
    }

    /// Makes sure that the input can hold `size` unread bytes.
    pub fn reserve_input(&mut self, buffers: &Buffers, size: usize) {
        if self.input.capacity() < size {
            buffers.grow(&mut self.input, size);
        }
    }

    /// Gives the memory of an empty input and output back, because the connection is about to wait.
    pub fn rest(&mut self, buffers: &Buffers) {
        if self.input.is_empty() && self.input.capacity() > 0 {
            buffers.give_back(std::mem::take(&mut self.input));
        }
        if self.output.is_empty() && self.output.capacity() > 0 {
            buffers.give_back_output(std::mem::take(&mut self.output));
        }
    }

    /// Gives all memory back, because the connection is about to be closed.
    pub fn release(&mut self, buffers: &Buffers) {
        self.input.consume(usize::MAX);
        self.discard_output();
        self.rest(buffers);
    }

    /// Where messages to be written are put; they leave with [`Self::poll_flush`].
    pub fn output(&mut self, buffers: &Buffers) -> &mut Vec<u8> {
        if self.output.capacity() == 0 {
            self.output = buffers.lend_output();
        }
        &mut self.output
    }

    /// Whether something waits to be written.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Whether the output should be written before more is added to it.
    pub fn is_output_full(&self) -> bool {
        self.output.len() >= OUTPUT_BOUND
    }

    /// Drops what has not been written yet. Returns whether the message at its front was not begun.
    pub fn discard_output(&mut self) -> bool {
        let untouched = self.written == 0;
        self.output.clear();
        self.written = 0;
        untouched
    }

    /// Writes everything that waits.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let rest = self.output.get(self.written..).unwrap_or_default();
            let count = ready!(self.stream.poll_write(context, &[IoSlice::new(rest)]))?;
            self.advance(count, count)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what waits and then, in the same call, the front of `payload`; says how much of `payload` was taken, at
    /// least 1 byte.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_write_through(
        &mut self,
        context: &mut Context<'_>,
        payload: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let rest = self.output.get(self.written..).unwrap_or_default();
            let waiting = rest.len();
            let count = match waiting {
                0 => ready!(self.stream.poll_write(context, &[IoSlice::new(payload)]))?,
                _ => ready!(
                    self.stream
                        .poll_write(context, &[IoSlice::new(rest), IoSlice::new(payload)])
                )?,
            };
            self.advance(count, count.min(waiting))?;
            if count > waiting {
                return Poll::Ready(Ok(count - waiting));
            }
        }
    }

    /// The stream below, for another owner. Only where nothing is unread and nothing waits to be written.
    pub fn into_stream(self) -> Stream {
        self.stream
    }

    /// Takes up to `most` bytes that follow what was read into `pipe`, which is empty. Gives 0 at the end of the stream.
    ///
    /// # Errors
    /// Those of the socket; [`io::ErrorKind::InvalidInput`] where the system cannot do it.
    pub(super) fn poll_fill_pipe(
        &mut self,
        context: &mut Context<'_>,
        pipe: &mut Pipe,
        most: u64,
    ) -> Poll<io::Result<usize>> {
        let count = ready!(pipe.poll_fill(context, &self.stream, most))?;
        self.input_ended = count == 0;
        Poll::Ready(Ok(count))
    }

    /// Writes what `pipe` holds, behind the output, which is empty.
    ///
    /// # Errors
    /// Those of the socket.
    pub(super) fn poll_drain_pipe(
        &mut self,
        context: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<io::Result<()>> {
        while !pipe.is_empty() {
            let count = ready!(pipe.poll_drain(context, &self.stream))?;
            self.advance(count, 0)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Accounts for a write of `count` bytes, of which the first `from_output` were of the output.
    fn advance(&mut self, count: usize, from_output: usize) -> io::Result<()> {
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.bytes_out += count as u64;
        self.written += from_output;
        if self.written >= self.output.len() {
            self.output.clear();
            self.written = 0;
        }
        Ok(())
    }
}
