//! One stream of an HTTP/2 connection as a pair of byte streams: the payload of DATA frames each way, with heads and
//! trailers beside them. Flow control is backpressure: credit goes back to the sender as its bytes are taken.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response};

/// Payload handed to the crate at once. It keeps no more than this for a stream whose window is shut.
const PIECE: usize = 64 << 10;

/// One stream.
#[derive(Debug)]
pub struct Stream {
    sending: Sending,
    receiving: RecvStream,
    /// Received and not yet read.
    rest: Bytes,
    /// Whether the other side has said that its message is whole.
    has_ended: bool,
    trailers: Option<HeaderMap>,
    /// The head of the answer, until it is known whether anything follows it.
    head: Option<Response<()>>,
    end: End,
}

#[derive(Debug)]
enum Sending {
    /// The final head was not sent.
    Head(SendResponse<Bytes>),
    /// The head was sent.
    Body(SendStream<Bytes>),
}

/// The end of what we send.
#[derive(Debug)]
enum End {
    Open,
    /// It goes with what is sent next, or behind it, with these trailers.
    Wanted(HeaderMap),
    Sent,
}

impl Stream {
    /// The server's side of a stream.
    pub fn of_server(respond: SendResponse<Bytes>, receiving: RecvStream) -> Self {
        Self {
            sending: Sending::Head(respond),
            has_ended: receiving.is_end_stream(),
            receiving,
            rest: Bytes::new(),
            trailers: None,
            head: None,
            end: End::Open,
        }
    }

    /// Ready when a read will not wait.
    ///
    /// # Errors
    /// The stream was reset, or its connection broke: what came is not whole.
    pub fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() && !self.has_ended {
            match ready!(self.receiving.poll_data(context)) {
                Some(result) => self.rest = result.map_err(lost)?,
                None => {
                    self.trailers = ready!(self.receiving.poll_trailers(context)).map_err(lost)?;
                    self.has_ended = true;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads payload into `space`; 0 is the proven end of the message.
    ///
    /// # Errors
    /// As [`Self::poll_readable`].
    pub fn poll_read(&mut self, context: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_readable(context))?;
        let count = self.rest.len().min(space.len());
        if let Some(space) = space.get_mut(..count) {
            self.rest.copy_to_slice(space);
        }
        // Refused only when more is given back than was taken.
        let _ = self.receiving.flow_control().release_capacity(count);
        Poll::Ready(Ok(count))
    }

    /// The trailers behind a message that has ended.
    pub fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// Sends an interim answer.
    ///
    /// # Errors
    /// The stream is gone.
    pub fn send_interim(&mut self, head: Response<()>) -> io::Result<()> {
        match &mut self.sending {
            Sending::Head(respond) => respond.send_informational(head).map_err(lost),
            Sending::Body(_) => Ok(()),
        }
    }

    /// Sets the head of the answer. It leaves with the first payload, the end or a flush.
    pub fn put_head(&mut self, head: Response<()>) {
        self.head = Some(head);
    }

    /// Whether a head waits to be sent.
    pub fn has_head(&self) -> bool {
        self.head.is_some()
    }

    /// Takes back a head that has not left. Whether there was none, or it had not.
    pub fn discard_head(&mut self) -> bool {
        self.end = End::Open;
        self.head = None;
        matches!(self.sending, Sending::Head(_))
    }

    /// Says that nothing follows what was written so far but these trailers.
    pub fn finish(&mut self, trailers: HeaderMap) {
        if matches!(self.end, End::Open) {
            self.end = End::Wanted(trailers);
        }
    }

    /// Writes the front of `parts`, as much as the other side has given credit for.
    ///
    /// # Errors
    /// The stream was reset, or its connection broke.
    pub fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.send_head(false)?;
        let Sending::Body(sending) = &mut self.sending else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let total: usize = parts.iter().map(|part| part.len()).sum();
        sending.reserve_capacity(total.min(PIECE));
        while sending.capacity() == 0 {
            match ready!(sending.poll_capacity(context)) {
                Some(result) => result.map_err(lost)?,
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
        }
        let count = sending.capacity().min(total).min(PIECE);
        let is_last = count == total && matches!(&self.end, End::Wanted(trailers) if trailers.is_empty());
        sending.send_data(gather(parts, count), is_last).map_err(lost)?;
        if is_last {
            self.end = End::Sent;
        }
        Poll::Ready(Ok(count))
    }

    /// Sends a head that waits, and the end if it is wanted. Nothing of it needs credit.
    ///
    /// # Errors
    /// The stream is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        let is_end = matches!(&self.end, End::Wanted(trailers) if trailers.is_empty());
        if self.head.is_some() {
            self.send_head(is_end)?;
            if is_end {
                self.end = End::Sent;
            }
        }
        let Sending::Body(sending) = &mut self.sending else {
            return Ok(());
        };
        if let End::Wanted(trailers) = &mut self.end {
            let trailers = std::mem::take(trailers);
            self.end = End::Sent;
            return match trailers.is_empty() {
                true => sending.send_data(Bytes::new(), true),
                false => sending.send_trailers(trailers),
            }
            .map_err(lost);
        }
        Ok(())
    }

    /// Ends the stream in the middle of its message, so that nobody takes it for whole.
    pub fn reset(&mut self, reason: Reason) {
        match &mut self.sending {
            Sending::Head(respond) => respond.send_reset(reason),
            Sending::Body(sending) => sending.send_reset(reason),
        }
        self.end = End::Sent;
    }

    /// Ready when the other side has reset the stream, or its connection broke.
    pub fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let reset = match (&mut self.sending, &self.end) {
            (_, End::Sent) => return Poll::Pending,
            (Sending::Head(respond), _) => respond.poll_reset(context),
            (Sending::Body(sending), _) => sending.poll_reset(context),
        };
        reset.map(|result| match result {
            Ok(reason) => io::Error::new(io::ErrorKind::ConnectionReset, h2::Error::from(reason)),
            Err(error) => lost(error),
        })
    }

    fn send_head(&mut self, is_end: bool) -> io::Result<()> {
        if let (Some(head), Sending::Head(respond)) = (self.head.take(), &mut self.sending) {
            self.sending = Sending::Body(respond.send_response(head, is_end).map_err(lost)?);
        }
        Ok(())
    }
}

fn gather(parts: &[IoSlice<'_>], count: usize) -> Bytes {
    if let [one] = parts {
        return Bytes::copy_from_slice(one.get(..count).unwrap_or(one));
    }
    let mut bytes = Vec::with_capacity(count);
    for part in parts {
        let left = count - bytes.len();
        bytes.extend_from_slice(part.get(..left).unwrap_or(part));
    }
    bytes.into()
}

fn lost(error: h2::Error) -> io::Error {
    match error.is_io() {
        true => error
            .into_io()
            .unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()),
        false => io::Error::new(io::ErrorKind::ConnectionReset, error),
    }
}
