//! The client's side of a connection: the handshake with our limits, and the requests that share it.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Stream;
use crate::http1::Limits;
use crate::net;

/// Bytes of an answer that may be on their way.
const STREAM_WINDOW: u32 = 128 << 10;
/// Requests that share a connection at most, whatever the backend allows.
const STREAMS: u32 = 100;
/// What all of them may leave unread, so that no number of clients who take nothing holds up the answers of others.
const CONNECTION_WINDOW: u32 = STREAMS * STREAM_WINDOW;
/// Bytes of requests that one stream keeps when its backend gives no credit.
const SEND_BUFFER: usize = 64 << 10;
/// Streams that were reset and are still remembered, so that what was on its way for them is no error.
const RESET_STREAMS: usize = 32;
const RESET_FOR: Duration = Duration::from_secs(2);

/// A connection that requests share.
#[derive(Debug)]
pub struct Shared {
    sender: RefCell<SendRequest<Bytes>>,
    state: Rc<State>,
}

#[derive(Debug)]
struct State {
    is_over: Cell<bool>,
    running: Cell<usize>,
    used: Cell<Instant>,
    /// How many times bytes came.
    heard: Rc<Cell<u64>>,
}

/// Moves the bytes of a connection. It has to run for as long as that is shared.
pub struct Driver {
    connection: Connection<Heard, Bytes>,
    state: Rc<State>,
}

/// One request under way.
#[derive(Debug)]
pub(super) struct Running {
    state: Rc<State>,
    /// How many times bytes had come when it began.
    heard_before: u64,
}

impl Running {
    /// Lets its connection carry no more requests; those under way go on.
    pub(super) fn close_to_others(&self) {
        self.state.is_over.set(true);
    }

    /// Whether nothing at all has come by its connection since it began.
    pub(super) fn is_in_silence(&self) -> bool {
        self.state.heard.get() == self.heard_before
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.state.running.set(self.state.running.get() - 1);
    }
}

/// The bytes of a connection, which counts when any come: one that is dead is silent, and nothing else tells.
struct Heard {
    stream: net::Stream,
    heard: Rc<Cell<u64>>,
}

impl AsyncRead for Heard {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = AsyncRead::poll_read(Pin::new(&mut this.stream), context, buffer);
        if result.is_ready() {
            this.heard.set(this.heard.get().wrapping_add(1));
        }
        result
    }
}

impl AsyncWrite for Heard {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.get_mut().stream), context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write_vectored(Pin::new(&mut self.get_mut().stream), context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.get_mut().stream), context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.get_mut().stream), context)
    }
}

/// Exchanges prefaces and settings. Whoever calls bounds the time.
///
/// # Errors
/// Those of the socket and of the protocol.
pub async fn begin(
    stream: net::Stream,
    limits: &Limits,
    now: Instant,
) -> Result<(Shared, Driver), h2::Error> {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(STREAMS as usize)
        .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(RESET_STREAMS)
        .reset_stream_duration(RESET_FOR);
    let heard = Rc::<Cell<u64>>::default();
    let stream = Heard {
        stream,
        heard: Rc::clone(&heard),
    };
    let (sender, connection) = builder.handshake(stream).await?;
    let state = Rc::new(State {
        is_over: Cell::new(false),
        running: Cell::new(0),
        used: Cell::new(now),
        heard,
    });
    let shared = Shared {
        sender: RefCell::new(sender),
        state: Rc::clone(&state),
    };
    Ok((shared, Driver { connection, state }))
}

impl Driver {
    /// Runs until the connection is over.
    pub async fn run(self) {
        let Self { connection, state } = self;
        // Its streams hear of what went wrong.
        let _ = connection.await;
        state.is_over.set(true);
    }
}

impl Shared {
    /// Whether it carries no more requests.
    pub fn is_over(&self) -> bool {
        self.state.is_over.get()
    }

    /// Whether another request may be sent by it.
    pub fn has_room(&self) -> bool {
        !self.is_over()
            && self.running()
                < self
                    .sender
                    .borrow()
                    .current_max_send_streams()
                    .min(STREAMS as usize)
            && self.takes_more()
    }

    /// Whether the backend has not said goodbye (RFC 9113 §6.8), and streams are left. Never waits: what a sender waits for
    /// is a request of its own, and this one sends none.
    fn takes_more(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        matches!(
            self.sender.borrow_mut().poll_ready(&mut context),
            Poll::Ready(Ok(()))
        )
    }

    /// Requests under way.
    pub fn running(&self) -> usize {
        self.state.running.get()
    }

    /// When the last request was begun.
    pub fn used(&self) -> Instant {
        self.state.used.get()
    }

    /// A stream for one more request. Nothing is sent yet.
    pub fn open(&self, now: Instant) -> Stream {
        self.state.used.set(now);
        self.state.running.set(self.state.running.get() + 1);
        let running = Running {
            state: Rc::clone(&self.state),
            heard_before: self.state.heard.get(),
        };
        Stream::of_client(self.sender.borrow().clone(), running)
    }
}
