//! The server's side of a connection: what comes of it, and what its owner may know of it.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::transport::{Moved, Transport};
use super::{Reason, Stream};
use crate::buffer::{Buffer, Buffers};
use crate::clock::Instant;
use crate::head::RequestHead;
use crate::http1::{Limits, Malformed};
use crate::net;
use evenkeel_wire::http2::{Engine, ReceiveContext, may_begin_head};

/// A client's connection.
#[derive(Debug)]
pub struct Connection {
    engine: Rc<RefCell<Engine>>,
    transport: Transport,
}

/// What comes of a connection.
#[derive(Debug)]
pub enum Event {
    /// A request, by a stream of its own, or what is wrong with it.
    Request(Stream, Result<(), Malformed>),
    /// It is ended, for this reason; what is left to be sent is.
    ConnectionError(Reason),
}

impl Connection {
    /// Begins with the preface, of which `before` was read already.
    pub fn new(stream: net::Stream, before: Buffer, limits: &Limits, now: Instant) -> Self {
        Self {
            engine: Rc::new(RefCell::new(Engine::server(limits, now))),
            transport: Transport::new(stream, before),
        }
    }

    /// Moves bytes until a request begins, whose head it puts into `head`; `None` is the end of the connection.
    pub fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        (head, now): (&mut RequestHead, Instant),
        buffers: &Buffers,
    ) -> Poll<Option<Event>> {
        let engine = &mut *self.engine.borrow_mut();
        engine.observe(now);
        let mut receiving = ReceiveContext {
            buffers,
            head: Some(head),
        };
        if !engine.is_closing() {
            match ready!(self.transport.poll_move(context, engine, &mut receiving)) {
                Moved::Request(begun) => {
                    let stream = Stream::of_server(Rc::clone(&self.engine), begun.stream);
                    return Poll::Ready(Some(Event::Request(stream, begun.result)));
                }
                Moved::Failed(reason) => return Poll::Ready(Some(Event::ConnectionError(reason))),
                Moved::Ended | Moved::Cut => return Poll::Ready(None),
                Moved::Done => engine.close(),
            }
        }
        engine.watch(context);
        self.transport.poll_close(context, engine).map(|()| None)
    }

    /// Takes no streams any more once the client has heard of it; those under way go on.
    pub fn send_goaway(&self) {
        self.engine.borrow_mut().send_goaway();
    }

    /// Whether its client has begun as it has to.
    pub fn has_begun(&self) -> bool {
        self.engine.borrow().has_begun()
    }

    /// Whether something has come of a head, of a request or of trailers, that is not whole; while its connection is read. The
    /// beginning of the connection is none.
    pub fn is_in_head(&self) -> bool {
        let engine = self.engine.borrow();
        if !engine.has_begun() || engine.is_closing() {
            return false;
        }
        let unread = self.transport.input.unread();
        engine.is_in_block() || may_begin_head(unread)
    }

    /// Frames that have come whole, a block of several counted once: as long as this stands still, a head that is not whole is the
    /// same one.
    pub fn frames(&self) -> u64 {
        self.engine.borrow().frames()
    }

    /// Whether so much waits for the socket that nothing is read.
    pub fn is_choked(&self) -> bool {
        self.engine.borrow().is_choked()
    }

    /// Ends it, because the client lets it wait.
    pub fn give_up(&self) {
        self.engine.borrow_mut().fail(Reason::ENHANCE_YOUR_CALM);
    }

    /// Bytes that have come of the head of a request that never begins, because the connection is over. Gives them once.
    pub fn take_half_head(&self) -> Option<usize> {
        self.engine.borrow_mut().take_half_head()
    }

    /// Whether no stream is under way.
    pub fn is_idle(&self) -> bool {
        self.engine.borrow().is_idle()
    }

    /// Bytes sent since it began.
    pub fn total(&self) -> u64 {
        self.engine.borrow().total()
    }

    /// Whether bytes wait for the socket. Those that wait for windows are in the hands of their streams, which have bounds of
    /// their own.
    pub fn is_blocked(&self) -> bool {
        self.transport.is_blocked
    }

    /// Whether the last word was said, and it waits for the other side to have read it.
    pub fn is_closing(&self) -> bool {
        self.engine.borrow().is_closing()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.engine.borrow_mut().lose();
    }
}
