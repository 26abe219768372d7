//! One stream of an HTTP/2 connection as a pair of byte streams: the payload of DATA frames each way, with heads and
//! trailers beside them. Flow control is backpressure: the sender gets credit as its bytes are consumed.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::HeadFields;
use super::Reason;
use super::engine::{BrokeOff, Engine, ResetReason, Response};
use crate::buffer::Buffer;
use crate::head::{Flaw, Method, ResponseHead};
use crate::http1::Malformed;

/// One stream.
#[derive(Debug)]
pub struct Stream {
    engine: Rc<RefCell<Engine>>,
    /// The stream identifier; 0 until the request opens the stream.
    number: u32,
    is_client: bool,
    /// The head of the message that is sent, until it is known whether anything follows it; and the method of a request.
    head: Option<(HeadFields, Method)>,
    has_begun: bool,
    end: End,
    /// Whether the peer has reported that it did not process the request.
    was_refused: bool,
    /// How many times the connection had received bytes before.
    heard: u64,
}

/// The end of the message that is sent.
#[derive(Debug)]
enum End {
    Open,
    /// Sent with the next payload or after it, with these trailers as lines.
    Wanted(Vec<u8>),
    Sent,
}

/// The head of a response, and the lines that its spans point into.
pub type HeadResult = (Result<ResponseHead, Malformed>, Vec<u8>);

impl Stream {
    /// The server's side of a stream that its client has opened.
    pub fn of_server(engine: Rc<RefCell<Engine>>, number: u32) -> Self {
        Self::new(engine, number, false)
    }

    /// The client's side of a stream, which its request opens.
    pub fn of_client(engine: Rc<RefCell<Engine>>) -> Self {
        engine.borrow_mut().add_handle();
        Self::new(engine, 0, true)
    }

    fn new(engine: Rc<RefCell<Engine>>, number: u32, is_client: bool) -> Self {
        let heard = if is_client { engine.borrow().heard() } else { 0 };
        Self {
            engine,
            number,
            is_client,
            head: None,
            has_begun: false,
            end: End::Open,
            was_refused: false,
            heard,
        }
    }

    /// Returns received payload; `None` is the proven end of the message.
    ///
    /// # Errors
    /// The stream was reset or its connection broke: the message is incomplete.
    pub fn poll_take(&mut self, context: &Context<'_>) -> Poll<io::Result<Option<Buffer>>> {
        self.engine.borrow_mut().poll_take(context, self.number)
    }

    /// Waits for the next head of the response: interim ones first.
    ///
    /// # Errors
    /// The stream was reset, or its connection broke.
    pub fn poll_response(&mut self, context: &Context<'_>) -> Poll<io::Result<HeadResult>> {
        if self.number == 0 {
            // Before the request has left there is none.
            return match self.was_refused {
                true => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                false => Poll::Pending,
            };
        }
        let response = ready!(self.engine.borrow_mut().poll_response(context, self.number));
        Poll::Ready(match response {
            Ok(Response { result, lines }) => Ok((result, lines)),
            Err(reset_reason) => {
                self.was_refused = reset_reason == ResetReason::Refused;
                Err(io::ErrorKind::ConnectionReset.into())
            }
        })
    }

    /// Why the stream broke off, if HTTP/2 reported it.
    pub fn broke_off(&self) -> Option<BrokeOff> {
        self.engine.borrow().broke_off(self.number)
    }

    /// Why a received message was refused, and for which field: a response, or trailers or a body for which the stream was reset.
    pub fn take_refused(&mut self) -> Option<(Malformed, Box<Flaw>)> {
        self.engine.borrow_mut().take_refused(self.number)
    }

    /// Whether the peer has reported that it did not process the request, so that any request may be retried (RFC 9113 §8.7).
    pub fn was_refused(&self) -> bool {
        self.was_refused
    }

    /// Whether its connection carries no more requests.
    pub fn is_connection_over(&self) -> bool {
        self.engine.borrow().is_over()
    }

    /// Opens no more streams on the connection if it has received nothing since the request began, or if its credit has run out:
    /// the request has waited too long, and the next one would too. Streams that are open continue.
    pub fn suspect_connection(&self) {
        let mut engine = self.engine.borrow_mut();
        if self.is_client && (engine.heard() == self.heard || engine.lacks_credit(self.number)) {
            engine.close_to_others();
        }
    }

    /// The trailers of a message that has ended, as lines.
    pub fn take_trailers(&mut self) -> Vec<u8> {
        self.engine.borrow_mut().take_trailers(self.number)
    }

    /// Sends the head of an interim response.
    ///
    /// # Errors
    /// The stream is gone.
    pub fn send_interim(&mut self, head: &HeadFields) -> io::Result<()> {
        match self.has_begun {
            true => Ok(()),
            false => self.engine.borrow_mut().interim(self.number, head),
        }
    }

    /// Sets the head of the response. It is sent with the first payload, the end or a flush.
    pub fn put_response(&mut self, head: HeadFields) {
        self.head = Some((head, Method::default()));
    }

    /// The same for a request of this method.
    pub fn put_request(&mut self, head: HeadFields, method: Method) {
        self.head = Some((head, method));
    }

    /// Whether a head waits to be sent.
    pub fn has_head(&self) -> bool {
        self.head.is_some()
    }

    /// Whether a head was sent.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Discards a head that was not sent. Returns whether no head was sent.
    pub fn discard_head(&mut self) -> bool {
        self.end = End::Open;
        self.head = None;
        !self.has_begun
    }

    /// Ends the message after what was written so far, with these trailers as lines.
    pub fn finish(&mut self, trailers: &[u8]) {
        if matches!(self.end, End::Open) {
            self.end = End::Wanted(trailers.to_vec());
        }
    }

    /// Writes the front of `parts`, as much as flow control allows.
    ///
    /// # Errors
    /// The stream was reset, or its connection broke.
    pub fn poll_write(&mut self, context: &Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(self.poll_head(context, false))?;
        let is_last = matches!(&self.end, End::Wanted(trailers) if trailers.is_empty());
        let written = self
            .engine
            .borrow_mut()
            .poll_data(context, self.number, parts, is_last);
        let (count, is_end) = ready!(written)?;
        if is_end {
            self.end = End::Sent;
        }
        Poll::Ready(Ok(count))
    }

    /// Sends a waiting head, and the end of the message if it was requested. Neither needs flow-control credit.
    ///
    /// # Errors
    /// The stream is gone.
    pub fn poll_flush(&mut self, context: &Context<'_>) -> Poll<io::Result<()>> {
        let is_end = matches!(&self.end, End::Wanted(trailers) if trailers.is_empty());
        if self.head.is_some() {
            ready!(self.poll_head(context, is_end))?;
            if is_end {
                self.end = End::Sent;
            }
        }
        if self.has_begun
            && let End::Wanted(trailers) = &mut self.end
        {
            let trailers = std::mem::take(trailers);
            self.end = End::Sent;
            let mut engine = self.engine.borrow_mut();
            return Poll::Ready(engine.end_message(self.number, &trailers));
        }
        Poll::Ready(Ok(()))
    }

    /// Lets other streams go first: the rest of this message is not sent for now, or never.
    pub fn stand_back(&mut self) {
        self.engine.borrow_mut().stand_back(self.number);
    }

    /// Resets the stream in the middle of its message, so that the peer sees that it is incomplete.
    pub fn reset(&mut self, reason: Reason) {
        self.engine.borrow_mut().reset(self.number, reason);
        self.end = End::Sent;
    }

    /// Ready when the peer has reset the stream or its connection broke.
    pub fn poll_gone(&mut self, context: &Context<'_>) -> Poll<io::Error> {
        if matches!(self.end, End::Sent) || self.number == 0 {
            return Poll::Pending;
        }
        let gone = self.engine.borrow_mut().poll_gone(context, self.number);
        gone.map(|()| io::ErrorKind::ConnectionReset.into())
    }

    /// Sends the head. A request waits until its connection may open another stream.
    fn poll_head(&mut self, context: &Context<'_>, is_end: bool) -> Poll<io::Result<()>> {
        let Some((head, method)) = &self.head else {
            return match self.has_begun {
                true => Poll::Ready(Ok(())),
                false => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            };
        };
        let mut engine = self.engine.borrow_mut();
        if self.is_client {
            match ready!(engine.poll_open(context, head, *method, is_end)) {
                Ok(number) => self.number = number,
                Err(_) => {
                    // GOAWAY, no stream identifiers left, or a broken connection: no other request should try it.
                    engine.close_to_others();
                    self.was_refused = true;
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
            }
        } else {
            ready!(engine.poll_head(context, self.number, head, is_end))?;
        }
        self.has_begun = true;
        self.head = None;
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.engine.borrow_mut().drop_handle(self.number);
    }
}
