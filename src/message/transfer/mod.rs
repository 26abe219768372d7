//! Moves one body from a connection to another, with backpressure: nothing is read while the sink does not take what
//! was read before. The one copy loop of both directions.

mod trailers;

use std::io;
use std::task::{Context, Poll, ready};

use evenkeel_balance::edits::Direction;
use smallvec::SmallVec;

use self::trailers::Withheld;
use super::connection::{COPIED, Connection};
use super::filter::{Filter, FilterError};
use super::protocol::{is_empty_stream, source_length};
use crate::buffer::{Buffer, Buffers};
#[cfg(test)]
use crate::coding::ContentCoding;
use crate::coding::{ContentEncoder, EncodeError};
use crate::head::{BodyLength, RequestHead, ResponseHead, Version};
use crate::http1::{BodyError, Decoder, Encoder, Kind, Limits, Piece};
use crate::net::Pipe;

/// Payload of known length from which on the shortcut is worth its calls.
const WORTH_A_PIPE: u64 = 2 * crate::buffer::LARGE as u64;
/// Bytes that one transfer moves before the other connections of its worker get their turn.
const TURN: usize = 4 * crate::buffer::LARGE;
/// The same where they are compressed, which takes 0.1 to 1 ms.
const FILTER_TURN: usize = 2 * crate::buffer::SMALL;

/// Whose turn it is when a transfer cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The source has to send.
    ForSource,
    /// The sink has to take.
    ForSink,
}

/// Why a transfer ended early.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// Reading failed.
    #[error("reading failed: {0}")]
    Source(io::Error),
    /// The source ended too early or broke its framing.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// There are more bytes than allowed.
    #[error("the body is larger than the limit")]
    TooLarge,
    /// Writing failed.
    #[error("writing failed: {0}")]
    Sink(io::Error),
    /// The body could not be compressed on its way.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl From<FilterError> for TransferError {
    fn from(error: FilterError) -> Self {
        match error {
            FilterError::Sink(error) => Self::Sink(error),
            FilterError::Encode(error) => Self::Encode(error),
        }
    }
}

/// Payload that is kept so that it can be sent again.
#[derive(Debug, Default)]
pub struct Replay {
    kept: SmallVec<[Kept; 2]>,
    /// Bytes that are kept.
    length: usize,
    limit: usize,
    overflowed: bool,
}

/// Some of it.
#[derive(Debug)]
enum Kept {
    /// Small pieces, one behind the other.
    Copied(Vec<u8>),
    /// The very buffer that it was read into, where that held nothing else.
    Held(Buffer),
}

impl Kept {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Held(buffer) => buffer.unread(),
        }
    }
}

impl Replay {
    /// Keeps at most `limit` bytes.
    pub fn keep(&mut self, limit: u64) {
        self.limit = usize::try_from(limit).unwrap_or(usize::MAX);
    }

    /// Whether everything that was taken from the source is here.
    pub fn is_whole(&self) -> bool {
        !self.overflowed
    }

    /// What is kept, in one piece.
    pub fn bytes(&self) -> Vec<u8> {
        let kept: Vec<&[u8]> = self.kept.iter().map(Kept::bytes).collect();
        kept.concat()
    }

    /// Keeps nothing from now on; the response has begun. The memory goes back to `buffers`.
    pub fn abandon(&mut self, buffers: &Buffers) {
        self.overflowed = true;
        while let Some(kept) = self.kept.pop() {
            match kept {
                Kept::Copied(bytes) => buffers.give_back_output(bytes),
                Kept::Held(buffer) => buffers.give_back(buffer),
            }
        }
    }

    /// Makes sure that so many bytes more can be kept; keeps nothing from now on if not.
    fn admit(&mut self, count: usize, buffers: &Buffers) {
        if !self.overflowed && self.length + count > self.limit {
            self.abandon(buffers);
        }
    }

    /// Takes the first `count` unread bytes of `input`, which were admitted, and keeps them.
    fn take(&mut self, input: &mut Buffer, count: usize, buffers: &Buffers) {
        if self.overflowed {
            return input.consume(count);
        }
        self.length += count;
        // A buffer that is mostly empty would hold more memory than the limit says.
        if count == input.unread().len() && input.is_dense() {
            self.kept.push(Kept::Held(std::mem::take(input)));
            return;
        }
        if !matches!(self.kept.last(), Some(Kept::Copied(_))) {
            self.kept.push(Kept::Copied(buffers.lend_output()));
        }
        if let Some(Kept::Copied(bytes)) = self.kept.last_mut() {
            bytes.extend_from_slice(input.unread().get(..count).unwrap_or_default());
        }
        input.consume(count);
    }
}

/// One body on its way.
#[derive(Debug)]
pub struct Transfer {
    decoder: Decoder,
    encoder: Encoder,
    /// Payload at the front of the source's input whose framing was written already, and how much of it was written.
    ready: usize,
    written: usize,
    ended: bool,
    /// Whose turn it is after [`Poll::Pending`].
    pub waiting: Waiting,
    /// Whether nothing that was written before leaves until the end of the body, which has to be empty, has come.
    waits_for_end: bool,
    /// Payload bytes taken from the source.
    pub moved: u64,
    /// Trailer lines that ended the body, as they went on.
    pub trailers: Vec<u8>,
    /// Names of headers that do not go on as trailers.
    withheld: Option<Box<Withheld>>,
    limit: u64,
    limits: Limits,
    splice: Splice,
}

/// Whether payload goes from socket to socket without coming into this process.
#[derive(Debug)]
enum Splice {
    /// Not yet: it is taken where it is worth it.
    Untried,
    /// It is taken.
    Taken(Box<Pipe>),
    /// The system does not allow it.
    Closed,
    /// It has to come into this process, because it goes on compressed.
    Filtered(Box<Filter>),
}

impl Transfer {
    /// For the body of a request. More than `limit` payload bytes are an error.
    #[inline]
    pub fn of_request(head: &RequestHead, limits: &Limits, limit: Option<u64>) -> Self {
        let encoder = Encoder::for_body(head.body);
        Self {
            limit: limit.unwrap_or(u64::MAX),
            ..Self::new((head.version, head.body), Kind::Request, encoder, limits)
        }
    }

    /// Sets the limit of payload bytes, before any was moved.
    pub fn set_limit(&mut self, limit: Option<u64>) {
        self.limit = limit.unwrap_or(u64::MAX);
    }

    /// Lets no trailer with one of these names go on, before any of the body was moved.
    pub fn withhold<'n>(&mut self, direction: Direction, names: impl Iterator<Item = &'n [u8]>) {
        let names: Box<[_]> = names.map(Box::from).collect();
        self.withheld = (!names.is_empty()).then(|| Box::new(Withheld { direction, names }));
    }

    /// For the body of a response, which is sent with this `framing`. More than `limit` payload bytes are an error.
    #[inline]
    pub fn of_response(
        head: &ResponseHead,
        framing: BodyLength,
        limits: &Limits,
        limit: Option<u64>,
    ) -> Self {
        let encoder = Encoder::for_body(framing);
        Self {
            limit: limit.unwrap_or(u64::MAX),
            ..Self::new((head.version, head.body), Kind::Response, encoder, limits)
        }
    }

    /// For a body that was received by this version and has this length, written with `encoder`.
    fn new((version, body): (Version, BodyLength), kind: Kind, encoder: Encoder, limits: &Limits) -> Self {
        Self {
            decoder: Decoder::new(source_length(version, body), kind, limits),
            encoder,
            ready: 0,
            written: 0,
            ended: false,
            waiting: Waiting::ForSource,
            waits_for_end: is_empty_stream(version, body),
            moved: 0,
            trailers: Vec::new(),
            withheld: None,
            limit: u64::MAX,
            limits: *limits,
            splice: Splice::Untried,
        }
    }

    /// Compresses the payload with `encoder` from now on; nothing has been moved yet. The head that is sent says so, and announces no
    /// length. Such a transfer cannot be restarted.
    pub fn filter(&mut self, encoder: ContentEncoder) {
        self.splice = Splice::Filtered(Box::new(Filter::new(encoder)));
    }

    /// The coding that is applied, and how many bytes have come of it so far: [`Self::moved`] is what went in.
    #[cfg(test)]
    pub fn compressed(&self) -> Option<(ContentCoding, u64)> {
        match &self.splice {
            Splice::Filtered(filter) => Some((filter.coding(), filter.written)),
            _ => None,
        }
    }

    /// Whether the source was read to the end of the body.
    pub fn is_read(&self) -> bool {
        self.ended
    }

    /// Where in the source's input the framing of chunks is broken: see [`Decoder::fault`].
    pub fn fault(&self) -> Option<(usize, bool)> {
        self.decoder.fault()
    }

    /// Bytes that are still missing, where the length was known.
    pub fn missing(&self) -> Option<u64> {
        self.decoder.has_known_end().then(|| self.decoder.expects())
    }

    /// Begins again with another sink, to which the `body` is sent: writes what `replay` has kept, then goes on where the source
    /// stands. The caller has made sure that the replay is whole.
    pub fn restart(&mut self, sink: &mut Connection, buffers: &Buffers, replay: &Replay, body: BodyLength) {
        self.encoder = sink.encoder(body);
        self.written = 0;
        let out = sink.output(buffers);
        if replay.length > 0 {
            self.encoder.open(replay.length, out);
            for kept in &replay.kept {
                out.extend_from_slice(kept.bytes());
            }
            self.encoder.close(out);
        }
        if self.ready > 0 {
            self.encoder.open(self.ready, out);
        }
        if self.ended {
            self.encoder.end(&self.trailers, out);
            sink.finish(&self.trailers);
        }
    }

    /// Moves as much as it can; ready when the body is at its end and everything was written.
    ///
    /// # Errors
    /// [`TransferError`], after which neither connection can be used for another message.
    pub fn poll(
        &mut self,
        context: &mut Context<'_>,
        source: &mut Connection,
        sink: &mut Connection,
        buffers: &Buffers,
        replay: Option<&mut Replay>,
    ) -> Poll<Result<(), TransferError>> {
        if matches!(self.splice, Splice::Filtered(_)) {
            return self.poll_filtered(context, source, sink, buffers);
        }
        let mut replay = replay;
        let mut read = 0;
        loop {
            if self.ready > 0 {
                ready!(self.poll_payload(context, source, sink, buffers, &mut replay))?;
                continue;
            }
            if let Splice::Taken(pipe) = &mut self.splice
                && !pipe.is_empty()
            {
                self.waiting = Waiting::ForSink;
                ready!(sink.poll_drain_pipe(context, pipe)).map_err(TransferError::Sink)?;
            }
            if self.ended {
                self.waiting = Waiting::ForSink;
                return sink.poll_finish(context).map_err(TransferError::Sink);
            }
            match self.decoder.next(source.input.unread(), source.input_ended)? {
                Piece::Data { skip, len } => {
                    source.input.consume(skip);
                    if self.moved.saturating_add(len as u64) > self.limit {
                        return Poll::Ready(Err(TransferError::TooLarge));
                    }
                    if let Some(replay) = &mut replay {
                        replay.admit(len, buffers);
                    }
                    self.encoder.open(len, sink.output(buffers));
                    self.ready = len;
                }
                Piece::NeedMore { skip } => {
                    source.input.consume(skip);
                    if read >= TURN {
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    read += match self.takes_shortcut(source, sink, replay.as_deref()) {
                        true => ready!(self.poll_shortcut(context, source, sink))?,
                        false => ready!(self.poll_more(context, source, sink, buffers))?,
                    };
                }
                Piece::End {
                    skip,
                    trailers: range,
                } => {
                    let beside = source.take_trailers();
                    let lines = range
                        .and_then(|range| source.input.unread().get(range))
                        .unwrap_or(&beside);
                    if !lines.is_empty() {
                        self.trailers = trailers::forwarded(lines, &self.limits, self.withheld.as_deref())?;
                    }
                    self.encoder.end(&self.trailers, sink.output(buffers));
                    sink.finish(&self.trailers);
                    source.input.consume(skip);
                    self.ended = true;
                }
            }
        }
    }

    /// Whether what comes next may stay in the kernel: much of it, as it is, needed by nobody else.
    fn takes_shortcut(&mut self, source: &Connection, sink: &Connection, replay: Option<&Replay>) -> bool {
        if self.encoder != Encoder::Plain || !self.decoder.has_known_end() || !source.input.is_empty() {
            return false;
        }
        match self.splice {
            Splice::Untried => {
                let is_worth_it = self.decoder.expects() >= WORTH_A_PIPE
                    && !replay.is_some_and(Replay::is_whole)
                    && source.is_plain()
                    && sink.is_plain();
                if is_worth_it {
                    self.splice = match Pipe::new() {
                        Some(pipe) => Splice::Taken(Box::new(pipe)),
                        None => Splice::Closed,
                    };
                }
                matches!(self.splice, Splice::Taken(_))
            }
            Splice::Taken(_) => true,
            Splice::Closed | Splice::Filtered(_) => false,
        }
    }

    /// Moves payload by the shortcut; gives how much.
    fn poll_shortcut(
        &mut self,
        context: &mut Context<'_>,
        source: &mut Connection,
        sink: &mut Connection,
    ) -> Poll<Result<usize, TransferError>> {
        let Splice::Taken(pipe) = &mut self.splice else {
            return Poll::Ready(Ok(0));
        };
        self.waiting = Waiting::ForSink;
        ready!(sink.poll_flush(context)).map_err(TransferError::Sink)?;
        self.waiting = Waiting::ForSource;
        let count = match ready!(source.poll_fill_pipe(context, pipe, self.decoder.expects())) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.splice = Splice::Closed;
                return Poll::Ready(Ok(0));
            }
            result => result.map_err(TransferError::Source)?,
        };
        self.decoder.skip(count as u64);
        self.moved += count as u64;
        Poll::Ready(Ok(count))
    }

    /// Like [`Self::poll`], where payload is compressed. It ends the compressed body only behind a proven end of the source.
    #[cold]
    #[inline(never)]
    fn poll_filtered(
        &mut self,
        context: &mut Context<'_>,
        source: &mut Connection,
        sink: &mut Connection,
        buffers: &Buffers,
    ) -> Poll<Result<(), TransferError>> {
        let mut taken = 0;
        while let Splice::Filtered(filter) = &mut self.splice {
            self.waiting = Waiting::ForSink;
            let ending = (self.encoder, self.trailers.as_slice());
            if ready!(filter.poll_drain(context, sink, ending, buffers))? {
                return sink.poll_finish(context).map_err(TransferError::Sink);
            }
            self.waiting = Waiting::ForSource;
            if taken >= FILTER_TURN {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if filter.payload > 0 {
                let count = filter.take(&mut source.input, buffers)?;
                self.moved += count as u64;
                taken += count;
                continue;
            }
            match self.decoder.next(source.input.unread(), source.input_ended)? {
                Piece::Data { skip, len } => {
                    source.input.consume(skip);
                    if self.moved.saturating_add(len as u64) > self.limit {
                        return Poll::Ready(Err(TransferError::TooLarge));
                    }
                    filter.payload = len;
                }
                Piece::NeedMore { skip } => {
                    source.input.consume(skip);
                    ready!(self.poll_more_to_filter(context, source, sink, buffers))?;
                }
                Piece::End {
                    skip,
                    trailers: range,
                } => {
                    filter.finish();
                    let beside = source.take_trailers();
                    let lines = range
                        .and_then(|range| source.input.unread().get(range))
                        .unwrap_or(&beside);
                    if !lines.is_empty() {
                        let lines = trailers::forwarded(lines, &self.limits, self.withheld.as_deref())?;
                        self.trailers = trailers::without_digests(&lines);
                    }
                    source.input.consume(skip);
                    self.ended = true;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads more. Where the source pauses, everything that it has sent so far is on its way to the sink before this waits.
    fn poll_more_to_filter(
        &mut self,
        context: &mut Context<'_>,
        source: &mut Connection,
        sink: &mut Connection,
        buffers: &Buffers,
    ) -> Poll<Result<(), TransferError>> {
        if let Poll::Ready(read) = self.poll_read(context, source, buffers) {
            return Poll::Ready(read.map(drop));
        }
        // More may have come while the last of it was compressed, which only the kernel knows yet: then this is no pause, and a
        // flush would cost size. Under TLS such a look would take bytes.
        let is_pause = !source.is_plain() || !source.is_readable_or_closed(true);
        if let Splice::Filtered(filter) = &mut self.splice
            && is_pause
            && !self.waits_for_end
        {
            if filter.flush() {
                return Poll::Ready(Ok(()));
            }
            self.waiting = Waiting::ForSink;
            ready!(filter.poll_emit(context, sink, self.encoder, buffers))?;
            ready!(sink.poll_flush(context)).map_err(TransferError::Sink)?;
            self.waiting = Waiting::ForSource;
        }
        Poll::Pending
    }

    fn poll_payload(
        &mut self,
        context: &mut Context<'_>,
        source: &mut Connection,
        sink: &mut Connection,
        buffers: &Buffers,
        replay: &mut Option<&mut Replay>,
    ) -> Poll<Result<(), TransferError>> {
        let payload = source.input.unread().get(..self.ready).unwrap_or_default();
        if payload.len() <= COPIED && !sink.is_output_full() {
            let rest = payload.get(self.written..).unwrap_or_default();
            sink.output(buffers).extend_from_slice(rest);
        } else {
            self.waiting = Waiting::ForSink;
            while let Some(rest @ [_, ..]) = payload.get(self.written..) {
                self.written +=
                    ready!(sink.poll_write_through(context, rest)).map_err(TransferError::Sink)?;
            }
        }
        match replay {
            Some(replay) => replay.take(&mut source.input, self.ready, buffers),
            None => source.input.consume(self.ready),
        }
        self.moved += self.ready as u64;
        self.ready = 0;
        self.written = 0;
        self.encoder.close(sink.output(buffers));
        Poll::Ready(Ok(()))
    }

    /// Writes what waits, then reads more; gives how much it read.
    fn poll_more(
        &mut self,
        context: &mut Context<'_>,
        source: &mut Connection,
        sink: &mut Connection,
        buffers: &Buffers,
    ) -> Poll<Result<usize, TransferError>> {
        if !self.waits_for_end {
            self.waiting = Waiting::ForSink;
            ready!(sink.poll_flush(context)).map_err(TransferError::Sink)?;
        }
        self.waiting = Waiting::ForSource;
        let read = self.poll_read(context, source, buffers);
        if read.is_pending() {
            // An event stream would hold it for as long as it lasts.
            sink.release_output(buffers);
        }
        read
    }

    /// Reads more; gives how much.
    #[inline(always)] // `poll_more` runs for every body.
    fn poll_read(
        &self,
        context: &mut Context<'_>,
        source: &mut Connection,
        buffers: &Buffers,
    ) -> Poll<Result<usize, TransferError>> {
        if source.input.capacity() > 0 && source.input.is_full() {
            // Framing that has to be seen whole (a trailer section) does not fit: it is bounded by `limits.trailers`.
            let size = self.limits.trailers + crate::buffer::SMALL;
            source.reserve_input(buffers, size);
        }
        source
            .poll_fill(context, buffers, self.decoder.expects())
            .map_err(TransferError::Source)
    }
}

#[cfg(test)]
mod tests;
