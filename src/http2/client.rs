//! The client's side of a connection, by which requests of many clients go to a backend.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::engine::{Engine, Inbox};
use super::wire::Wire;
use super::{Reason, Stream};
use crate::buffer::{Buffer, Buffers};
use crate::http1::Limits;
use crate::net;

/// Reads after which others get their turn.
const READS: usize = 8;

/// A connection that requests share.
#[derive(Debug)]
pub struct Shared {
    engine: Rc<RefCell<Engine>>,
    used: Cell<Instant>,
}

/// Moves the bytes of a connection. It has to run for as long as that is shared.
#[derive(Debug)]
pub struct Driver {
    engine: Rc<RefCell<Engine>>,
    wire: Wire,
}

/// Begins a connection. What it begins with is sent with the first request, and nothing is waited for.
pub fn begin(stream: net::Stream, limits: &Limits, now: Instant) -> (Shared, Driver) {
    let engine = Rc::new(RefCell::new(Engine::client(limits)));
    let shared = Shared {
        engine: Rc::clone(&engine),
        used: Cell::new(now),
    };
    let wire = Wire::new(stream, Buffer::default());
    (shared, Driver { engine, wire })
}

impl Driver {
    /// Moves bytes until the connection is over, or nobody has a part in it any more.
    pub fn poll(&mut self, context: &mut Context<'_>, buffers: &Buffers) -> Poll<()> {
        let engine = &mut *self.engine.borrow_mut();
        if Rc::strong_count(&self.engine) == 1 {
            engine.fail(Reason::NO_ERROR);
            // Whether it arrives is the backend's affair.
            let _ = self.wire.poll_send(context, engine);
            return Poll::Ready(());
        }
        poll(context, engine, &mut self.wire, buffers)
    }
}

/// Moves bytes, until the connection is over.
pub(super) fn poll(
    context: &mut Context<'_>,
    engine: &mut Engine,
    wire: &mut Wire,
    buffers: &Buffers,
) -> Poll<()> {
    let mut inbox = Inbox { buffers, head: None };
    let mut reads = 0;
    loop {
        if let Err(reason) = engine.receive(&mut wire.input, &mut inbox) {
            engine.fail(reason);
            // Whether it arrives is the backend's affair.
            let _ = wire.poll_send(context, engine);
            return Poll::Ready(());
        }
        if reads == READS {
            context.waker().wake_by_ref();
            break;
        }
        reads += 1;
        let read = match engine.is_choked() {
            true => Poll::Pending,
            false => wire.poll_read(context, buffers),
        };
        match read {
            Poll::Ready(Ok(1..)) => engine.hears(),
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
            Poll::Pending => break,
        }
    }
    engine.watch(context);
    match wire.poll_send(context, engine) {
        Poll::Ready(Err(_)) => Poll::Ready(()),
        _ => Poll::Pending,
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.engine.borrow_mut().lose();
    }
}

impl Shared {
    /// Whether it carries no more requests.
    pub fn is_over(&self) -> bool {
        self.engine.borrow().is_over()
    }

    /// Whether another request may be sent by it.
    pub fn has_room(&self) -> bool {
        self.engine.borrow().has_room()
    }

    /// Requests under way.
    pub fn running(&self) -> usize {
        self.engine.borrow().handles()
    }

    /// When the last request was begun.
    pub fn used(&self) -> Instant {
        self.used.get()
    }

    /// A stream for one more request. Nothing is sent yet.
    pub fn open(&self, now: Instant) -> Stream {
        self.used.set(now);
        Stream::of_client(Rc::clone(&self.engine))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.engine.borrow_mut().wake();
    }
}
