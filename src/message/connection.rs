//! One connection, to a client or to a backend: a stream, its unread input and its output. It moves bytes and counts them; what
//! they mean is decided elsewhere.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, Waker, ready};

use super::outgoing::{OutgoingHead, fields_of, write_in_title_case};
use crate::buffer::{Buffer, Buffers, LARGE, READ, SMALL};
use crate::head::Method;
use crate::http2;
use crate::net::{Pipe, Stream};

/// A payload up to this size is copied behind what is to be written, so that it leaves in the same socket call;
/// larger ones are written from where they were read.
pub(super) const COPIED: usize = 8 << 10;
/// What is to be written is kept below this size by writing before more is added.
const OUTPUT_BOUND: usize = 2 * COPIED;
/// What every response of HTTP/1 begins with, interim ones included (RFC 9112 §4).
const BEGINNING: &[u8] = b"HTTP/1.1 ";

/// A connection, or one stream of a connection that carries many: at any time, one message each way is in transit.
#[derive(Debug)]
pub struct Connection {
    transport: Transport,
    /// Read and not used yet. Without memory while nothing is unread.
    pub input: Buffer,
    /// Whether the peer has ended its sending side.
    pub input_ended: bool,
    output: Vec<u8>,
    written: usize,
    /// How many bytes of the next message in the output were sent before it was put there.
    sent_ahead: usize,
    /// Whether it ends behind the message that is being written.
    pub ends_after_message: bool,
    /// Whether a read since the last wait was long.
    has_read_much: bool,
    /// Bytes that were written so far: those that the kernel took, and under TLS the session.
    pub bytes_out: u64,
}

/// What carries the bytes.
#[derive(Debug)]
enum Transport {
    /// HTTP/1: heads, framing and payload are bytes of one stream.
    Bytes(Stream),
    /// HTTP/2: payload alone.
    Payload(Box<http2::Stream>),
}

impl Connection {
    /// Begins with an empty input and output.
    pub fn new(stream: Stream) -> Self {
        Self::over(Transport::Bytes(stream))
    }

    /// One stream of an HTTP/2 connection.
    pub fn of_stream(stream: http2::Stream) -> Self {
        Self::over(Transport::Payload(Box::new(stream)))
    }

    fn over(transport: Transport) -> Self {
        Self {
            transport,
            input: Buffer::default(),
            input_ended: false,
            output: Vec::new(),
            written: 0,
            sent_ahead: 0,
            ends_after_message: false,
            has_read_much: false,
            bytes_out: 0,
        }
    }

    /// The stream of HTTP/2, where it is one.
    pub(super) fn http2(&mut self) -> Option<&mut http2::Stream> {
        match &mut self.transport {
            Transport::Bytes(_) => None,
            Transport::Payload(stream) => Some(stream),
        }
    }

    /// Whether it is one stream of HTTP/2.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self.transport, Transport::Payload(_))
    }

    /// Whether unexpected bytes have arrived or the peer has closed, as far as the runtime was notified, or with `asks_kernel`
    /// as far as the kernel knows.
    pub fn is_readable_or_closed(&mut self, asks_kernel: bool) -> bool {
        match &mut self.transport {
            Transport::Bytes(stream) if asks_kernel => stream.is_readable_or_closed_now(),
            Transport::Bytes(stream) => stream.is_readable_or_closed(),
            Transport::Payload(_) => false,
        }
    }

    /// Whether waiting for it costs no more calls: one of many streams always waits, a socket does once the runtime watches
    /// it.
    pub fn is_watched(&self) -> bool {
        match &self.transport {
            Transport::Bytes(stream) => stream.is_watched(),
            Transport::Payload(_) => true,
        }
    }

    /// The local address, if it is an IP address; `None` for one of many streams. Asks the kernel.
    pub fn local_address(&self) -> Option<std::net::SocketAddr> {
        match &self.transport {
            Transport::Bytes(stream) => stream.local_address(),
            Transport::Payload(_) => None,
        }
    }

    /// Whether its bytes are those on a socket: what passes may stay in the kernel.
    pub fn is_plain(&self) -> bool {
        matches!(&self.transport, Transport::Bytes(stream) if stream.is_plain())
    }

    /// The stream of bytes and the count of those that the kernel took, for who writes to it by other means.
    pub(super) fn bytes(&mut self) -> Option<(&mut Stream, &mut u64)> {
        match &mut self.transport {
            Transport::Bytes(stream) => Some((stream, &mut self.bytes_out)),
            Transport::Payload(_) => None,
        }
    }

    /// Ends the sending side. Under TLS the end may leave with a later flush or read: see [`Self::is_ending`].
    pub fn end_sending(&mut self) {
        match &mut self.transport {
            Transport::Bytes(stream) => stream.shutdown_write(),
            Transport::Payload(stream) => {
                stream.finish(b"");
                // Fails only when the stream is gone already, and waits for nothing: its head was sent.
                let _ = stream.poll_flush(&Context::from_waker(Waker::noop()));
            }
        }
    }

    /// Grows with what leaves, in bytes or, under TLS, in encrypted bytes: as long as it does, the other side takes what is sent to it.
    pub fn sent(&self) -> u64 {
        match &self.transport {
            Transport::Bytes(stream) => stream.sent().unwrap_or(self.bytes_out),
            Transport::Payload(_) => self.bytes_out,
        }
    }

    /// Whether the end of the sending side still waits to be written.
    pub fn is_ending(&self) -> bool {
        matches!(&self.transport, Transport::Bytes(stream) if stream.is_ending())
    }

    /// Makes the end that follows a reset, so that the peer cannot take what it received for a complete message.
    pub fn reset(&mut self) {
        match &mut self.transport {
            Transport::Bytes(stream) => stream.reset_on_close(),
            Transport::Payload(stream) => stream.reset(http2::Reason::INTERNAL_ERROR),
        }
    }

    /// Resets a stream whose message was malformed; does nothing to other connections.
    pub fn refuse_stream(&mut self) {
        if let Transport::Payload(stream) = &mut self.transport {
            stream.reset(http2::Reason::PROTOCOL_ERROR);
        }
    }

    /// Ends the message after what was written so far and `trailers`, which are whole lines. In HTTP/1 the framing does that
    /// by itself.
    pub fn finish(&mut self, trailers: &[u8]) {
        if let Transport::Payload(stream) = &mut self.transport {
            stream.finish(trailers);
        }
    }

    /// Puts the head of a request into the output. `method` is what it asks for.
    pub fn put_request(&mut self, head: &impl OutgoingHead, method: Method, buffers: &Buffers) {
        match &mut self.transport {
            Transport::Bytes(_) => head.write(self.output(buffers)),
            Transport::Payload(stream) => stream.put_request(fields_of(head), method),
        }
    }

    /// Puts a whole body into the output, behind the head that announces its length, and ends the message.
    pub fn put_body(&mut self, body: &[u8], buffers: &Buffers) {
        if !body.is_empty() {
            self.output(buffers).extend_from_slice(body);
        }
        self.finish(b"");
    }

    /// The same, where each word of a name begins with a capital letter, such as `Content-Type`. HTTP/2 has lower case only.
    pub fn put_request_in_title_case(&mut self, head: &impl OutgoingHead, method: Method, buffers: &Buffers) {
        let start = self.output.len();
        self.put_request(head, method, buffers);
        if !self.is_stream() {
            write_in_title_case(self.output.get_mut(start..).unwrap_or_default());
        }
    }

    /// Puts the head of a final response into the output.
    pub fn put_response(&mut self, head: &impl OutgoingHead, buffers: &Buffers) {
        match &mut self.transport {
            Transport::Bytes(_) => head.write(self.output(buffers)),
            Transport::Payload(stream) => stream.put_response(fields_of(head)),
        }
    }

    /// Puts the head of an interim response (1xx) into the output. HTTP/2 may drop it: it is optional.
    pub fn put_interim(&mut self, head: &impl OutgoingHead, buffers: &Buffers) {
        match &mut self.transport {
            Transport::Bytes(_) => head.write(self.output(buffers)),
            Transport::Payload(stream) => {
                // A stream that is gone is noticed when it is waited for.
                let _ = stream.send_interim(&fields_of(head));
            }
        }
    }

    /// The trailers behind the message that was read, as lines. In HTTP/1 they are part of its framing.
    pub(super) fn take_trailers(&mut self) -> Vec<u8> {
        match &mut self.transport {
            Transport::Bytes(_) => Vec::new(),
            Transport::Payload(stream) => stream.take_trailers(),
        }
    }

    /// Ready when a client, from which nothing more is expected for now, has ended what it sends. Early bytes of a next request
    /// wait in the input, as many as fit; behind more than that the end is not seen.
    ///
    /// # Errors
    /// Its connection broke.
    pub fn poll_end(&mut self, context: &mut Context<'_>, buffers: &Buffers) -> Poll<io::Result<()>> {
        while !self.input_ended {
            if self.input.is_full() && !self.input.is_empty() {
                return Poll::Pending;
            }
            ready!(self.poll_fill(context, buffers, 0))?;
        }
        // Only a socket that is watched reports a reset later.
        Poll::Ready(match &self.transport {
            Transport::Bytes(stream) => stream.watch(),
            Transport::Payload(_) => Ok(()),
        })
    }

    /// Whether the connection is known to be broken. Costs no system call.
    pub fn is_broken(&self) -> bool {
        matches!(&self.transport, Transport::Bytes(stream) if stream.is_broken())
    }

    /// Sends what the next response begins with, whatever it will be. The output is empty.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_send_ahead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let count = ready!(self.transport.poll_write(context, &[IoSlice::new(BEGINNING)]))?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.bytes_out += count as u64;
        self.sent_ahead = count;
        self.written = count;
        Poll::Ready(Ok(()))
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
        let count = match &mut self.transport {
            Transport::Bytes(stream) => {
                let size = if wanted > SMALL as u64 { LARGE } else { SMALL };
                if self.input.capacity() < size && self.input.is_empty() {
                    ready!(stream.poll_readable(context))?;
                    if self.input.capacity() > 0 {
                        buffers.give_back(std::mem::take(&mut self.input));
                    }
                    self.input = buffers.lend(size);
                }
                if self.input.is_full() {
                    return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
                }
                let space = self.input.space();
                let most = space.len().min(READ);
                let space = space.get_mut(..most).unwrap_or_default();
                let Poll::Ready(count) = stream.poll_read(context, space) else {
                    if std::mem::take(&mut self.has_read_much) {
                        stream.acknowledge();
                    }
                    if self.input.is_empty() {
                        buffers.give_back(std::mem::take(&mut self.input));
                    }
                    return Poll::Pending;
                };
                let count = count?;
                self.input.filled(count);
                self.has_read_much |= count > SMALL;
                count
            }
            Transport::Payload(_) if !self.input.is_empty() => {
                return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
            }
            Transport::Payload(stream) => {
                let payload = ready!(stream.poll_take(context))?.unwrap_or_default();
                buffers.give_back(std::mem::replace(&mut self.input, payload));
                self.input.unread().len()
            }
        };
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
    pub fn release_buffers(&mut self, buffers: &Buffers) {
        if self.input.is_empty() && self.input.capacity() > 0 {
            buffers.give_back(std::mem::take(&mut self.input));
        }
        self.release_output(buffers);
    }

    /// Gives the memory of an empty output back.
    pub(super) fn release_output(&mut self, buffers: &Buffers) {
        if self.output.is_empty() && self.output.capacity() > 0 {
            buffers.give_back_output(std::mem::take(&mut self.output));
        }
    }

    /// Gives all memory back, because the connection is about to be closed.
    pub fn release(&mut self, buffers: &Buffers) {
        self.input.consume(usize::MAX);
        self.discard_output();
        self.release_buffers(buffers);
    }

    /// Puts a head that came in another form where one is read from; nothing is unread.
    pub(super) fn set_head(&mut self, lines: Vec<u8>) {
        self.input = Buffer::of(lines);
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
        !self.output.is_empty() || matches!(&self.transport, Transport::Payload(stream) if stream.has_head())
    }

    /// Whether the output should be written before more is added to it.
    pub fn is_output_full(&self) -> bool {
        self.output.len() >= OUTPUT_BOUND
    }

    /// Drops what has not been written yet. Returns whether the message at its front was not begun.
    pub fn discard_output(&mut self) -> bool {
        let untouched = self.written == self.sent_ahead;
        self.output.clear();
        self.written = self.sent_ahead;
        match &mut self.transport {
            Transport::Bytes(_) => untouched,
            Transport::Payload(stream) => stream.discard_head(),
        }
    }

    /// Writes everything that waits.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let rest = self.output.get(self.written..).unwrap_or_default();
            let count = ready!(self.transport.poll_write(context, &[IoSlice::new(rest)]))?;
            self.advance(count, count)?;
        }
        match &mut self.transport {
            Transport::Bytes(stream) => stream.poll_flush(context),
            Transport::Payload(stream) => stream.poll_flush(context),
        }
    }

    /// Writes everything that waits, which is the rest of a message. Where the connection ends behind it, the last bytes may
    /// leave with the end, in one packet in place of two.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ends_after_message
            && let Transport::Bytes(stream) = &mut self.transport
            && let Some(rest @ [_, ..]) = self.output.get(self.written..)
        {
            let count = ready!(stream.poll_write_last(context, rest))?;
            self.advance(count, count)?;
        }
        self.poll_flush(context)
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
                0 => ready!(self.transport.poll_write(context, &[IoSlice::new(payload)]))?,
                _ => ready!(
                    self.transport
                        .poll_write(context, &[IoSlice::new(rest), IoSlice::new(payload)])
                )?,
            };
            self.advance(count, count.min(waiting))?;
            if count > waiting {
                return Poll::Ready(Ok(count - waiting));
            }
        }
    }

    /// The stream below, for another owner; `None` for one of many streams. Only where nothing is unread and nothing
    /// waits to be written.
    pub fn into_stream(self) -> Option<Stream> {
        match self.transport {
            Transport::Bytes(stream) => Some(stream),
            Transport::Payload(_) => None,
        }
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
        let Transport::Bytes(stream) = &self.transport else {
            return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
        };
        let count = ready!(pipe.poll_fill(context, stream, most))?;
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
            let Transport::Bytes(stream) = &self.transport else {
                return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
            };
            let count = ready!(pipe.poll_drain(context, stream))?;
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
        self.sent_ahead = 0;
        if self.written >= self.output.len() {
            self.output.clear();
            self.written = 0;
        }
        Ok(())
    }
}

impl Transport {
    fn poll_write(&mut self, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Self::Bytes(stream) => stream.poll_write(context, parts),
            Self::Payload(stream) => stream.poll_write(context, parts),
        }
    }
}
