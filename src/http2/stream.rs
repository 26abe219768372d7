//! One stream of an HTTP/2 connection as a pair of byte streams: the payload of DATA frames each way, with heads and
//! trailers beside them. Flow control is backpressure: credit goes back to the sender as its bytes are taken.

use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};

use super::client::Running;
use super::counted::Glitches;

/// Payload handed to the crate at once. It keeps no more than this for a stream whose window is shut.
const PIECE: usize = 64 << 10;

/// One stream.
#[derive(Debug)]
pub struct Stream {
    sending: Sending,
    receiving: Receiving,
    /// Whether the other side has said that its message is whole.
    has_ended: bool,
    trailers: Option<HeaderMap>,
    /// The head of our message, until it is known whether anything follows it.
    head: Option<Head>,
    end: End,
    /// Whether the other side has said that it did nothing with the request.
    was_refused: bool,
    running: Option<Running>,
    /// The budget of its client's connection.
    glitches: Option<Rc<Glitches>>,
}

#[derive(Debug)]
enum Sending {
    /// The answer's final head was not sent.
    Answer(SendResponse<Bytes>),
    /// The request's head was not sent.
    Request(SendRequest<Bytes>),
    /// The head was sent.
    Body(SendStream<Bytes>),
}

#[derive(Debug)]
enum Receiving {
    /// The request was not sent.
    Nothing,
    /// The answer's head has not come.
    Answer(ResponseFuture),
    /// The head has come.
    Body(RecvStream),
}

#[derive(Debug)]
enum Head {
    Answer(Response<()>),
    Request(Request<()>),
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
    /// The server's side of a stream, of a connection with this budget.
    pub fn of_server(respond: SendResponse<Bytes>, receiving: RecvStream, glitches: &Rc<Glitches>) -> Self {
        let has_ended = receiving.is_end_stream();
        let receiving = Receiving::Body(receiving);
        Self {
            glitches: Some(Rc::clone(glitches)),
            ..Self::new(Sending::Answer(respond), receiving, has_ended, None)
        }
    }

    /// The client's side of a stream that is opened by its request.
    pub(super) fn of_client(sender: SendRequest<Bytes>, running: Running) -> Self {
        Self::new(Sending::Request(sender), Receiving::Nothing, false, Some(running))
    }

    fn new(sending: Sending, receiving: Receiving, has_ended: bool, running: Option<Running>) -> Self {
        Self {
            sending,
            receiving,
            has_ended,
            trailers: None,
            head: None,
            end: End::Open,
            was_refused: false,
            running,
            glitches: None,
        }
    }

    /// Takes payload as it came; nothing is the proven end of the message.
    ///
    /// # Errors
    /// The stream was reset, or its connection broke: what came is not whole.
    pub fn poll_take(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let Receiving::Body(receiving) = &mut self.receiving else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        while !self.has_ended {
            match ready!(receiving.poll_data(context)) {
                Some(result) => {
                    let payload = result.map_err(lost)?;
                    // Refused only when more is given back than was taken.
                    let _ = receiving.flow_control().release_capacity(payload.len());
                    if !payload.is_empty() {
                        return Poll::Ready(Ok(payload));
                    }
                }
                None => {
                    self.trailers = ready!(receiving.poll_trailers(context)).map_err(lost)?;
                    self.has_ended = true;
                }
            }
        }
        Poll::Ready(Ok(Bytes::new()))
    }

    /// Waits for the next head of the answer to our request, and gives it with whether it is the last thing that comes:
    /// interim ones first, which are not.
    ///
    /// # Errors
    /// The stream was reset, or its connection broke.
    pub fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<io::Result<(Response<()>, bool)>> {
        let Receiving::Answer(answer) = &mut self.receiving else {
            // Asked again only for the head behind an interim one; before the request has left there is none.
            return match self.receiving {
                Receiving::Nothing if self.was_refused => {
                    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
                }
                Receiving::Nothing => Poll::Pending,
                _ => Poll::Ready(Err(io::ErrorKind::InvalidInput.into())),
            };
        };
        if let Poll::Ready(Some(interim)) = answer.poll_informational(context) {
            return Poll::Ready(match interim {
                Ok(head) => Ok((head, false)),
                Err(error) => Err(self.refused(error)),
            });
        }
        match ready!(std::pin::Pin::new(answer).poll(context)) {
            Ok(response) => {
                let (parts, receiving) = response.into_parts();
                self.has_ended = receiving.is_end_stream();
                self.receiving = Receiving::Body(receiving);
                Poll::Ready(Ok((Response::from_parts(parts, ()), self.has_ended)))
            }
            Err(error) => Poll::Ready(Err(self.refused(error))),
        }
    }

    /// Whether the other side has said that it did nothing with the request, so that any may be sent again (RFC 9113 §8.7).
    pub fn was_refused(&self) -> bool {
        self.was_refused
    }

    /// Gives its connection up where nothing has come by that since the request began: the request has waited for too long,
    /// and so would the next one. Those under way go on.
    pub fn suspect_connection(&self) {
        if let Some(running) = self.running.as_ref().filter(|running| running.is_in_silence()) {
            running.close_to_others();
        }
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
            Sending::Answer(respond) => respond.send_informational(head).map_err(lost),
            Sending::Request(_) | Sending::Body(_) => Ok(()),
        }
    }

    /// Sets the head of the answer. It leaves with the first payload, the end or a flush.
    pub fn put_answer(&mut self, head: Response<()>) {
        self.head = Some(Head::Answer(head));
    }

    /// Sets the head of the request, in the same way.
    pub fn put_request(&mut self, head: Request<()>) {
        self.head = Some(Head::Request(head));
    }

    /// Whether a head waits to be sent.
    pub fn has_head(&self) -> bool {
        self.head.is_some()
    }

    /// Whether a head was sent.
    pub fn has_begun(&self) -> bool {
        matches!(self.sending, Sending::Body(_))
    }

    /// Takes back a head that has not left. Whether there was none, or it had not.
    pub fn discard_head(&mut self) -> bool {
        self.end = End::Open;
        self.head = None;
        !self.has_begun()
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
        ready!(self.poll_head(context, false))?;
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
        if count == total
            && let Some(glitches) = &self.glitches
        {
            glitches.answered();
        }
        Poll::Ready(Ok(count))
    }

    /// Sends a head that waits, and the end if it is wanted. Nothing of it needs credit.
    ///
    /// # Errors
    /// The stream is gone.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_end = matches!(&self.end, End::Wanted(trailers) if trailers.is_empty());
        if self.head.is_some() {
            ready!(self.poll_head(context, is_end))?;
            if is_end {
                self.end = End::Sent;
            }
        }
        let Sending::Body(sending) = &mut self.sending else {
            return Poll::Ready(Ok(()));
        };
        if let End::Wanted(trailers) = &mut self.end {
            let trailers = std::mem::take(trailers);
            self.end = End::Sent;
            let sent = match trailers.is_empty() {
                true => sending.send_data(Bytes::new(), true),
                false => sending.send_trailers(trailers),
            };
            return Poll::Ready(sent.map_err(lost));
        }
        Poll::Ready(Ok(()))
    }

    /// Ends the stream in the middle of its message, so that nobody takes it for whole.
    pub fn reset(&mut self, reason: Reason) {
        match &mut self.sending {
            Sending::Answer(respond) => respond.send_reset(reason),
            Sending::Request(_) => {}
            Sending::Body(sending) => sending.send_reset(reason),
        }
        self.end = End::Sent;
    }

    /// Ready when the other side has reset the stream, or its connection broke.
    pub fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let reset = match (&mut self.sending, &self.end) {
            (_, End::Sent) | (Sending::Request(_), _) => return Poll::Pending,
            (Sending::Answer(respond), _) => respond.poll_reset(context),
            (Sending::Body(sending), _) => sending.poll_reset(context),
        };
        reset.map(|result| match result {
            Ok(reason) => io::Error::new(io::ErrorKind::ConnectionReset, h2::Error::from(reason)),
            Err(error) => lost(error),
        })
    }

    /// Sends the head; a request's waits until its connection takes another stream.
    fn poll_head(&mut self, context: &mut Context<'_>, is_end: bool) -> Poll<io::Result<()>> {
        if let (Some(_), Sending::Request(sender)) = (&self.head, &mut self.sending)
            && let Err(error) = ready!(sender.poll_ready(context))
        {
            // It was told to go, has no numbers for streams left, or broke: nobody else should try.
            if let Some(running) = &self.running {
                running.close_to_others();
            }
            return Poll::Ready(Err(self.refused(error)));
        }
        match (self.head.take(), &mut self.sending) {
            (Some(Head::Answer(head)), Sending::Answer(respond)) => {
                self.sending = Sending::Body(respond.send_response(head, is_end).map_err(lost)?);
            }
            (Some(Head::Request(head)), Sending::Request(sender)) => {
                match sender.send_request(head, is_end) {
                    Ok((answer, sending)) => {
                        self.receiving = Receiving::Answer(answer);
                        self.sending = Sending::Body(sending);
                    }
                    Err(error) => return Poll::Ready(Err(self.refused(error))),
                }
            }
            _ => {}
        }
        Poll::Ready(Ok(()))
    }

    /// Takes down whether an error says that nothing was done with the request.
    fn refused(&mut self, error: h2::Error) -> io::Error {
        let is_unsent = matches!(self.sending, Sending::Request(_));
        let is_refusal = error.is_remote()
            && (error.is_go_away() || error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM));
        self.was_refused = is_unsent || is_refusal;
        lost(error)
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
