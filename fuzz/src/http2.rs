//! Feeds frames from any bytes to either side of a connection: no panic, and it ends; the output consists of frames
//! whose blocks can be decoded. Messages that end as complete have the announced length.
//!
//! The first byte selects the side (bit 0), whether preface and settings precede the bytes (bit 1), whether GOAWAY is
//! sent (bit 2), whether streams are read (bit 3), whether they are dropped when they begin (bit 4), and whether
//! windows stay unchanged (bit 5). The second is the number of bytes per read.

use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice};
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};

use evenkeel::internals::clock;
use evenkeel::internals::http2::{self, Event, HeadFields, Stream};
use evenkeel::internals::net;
use evenkeel_wire::buffer::{Buffer, Buffers};
use evenkeel_wire::head::{BodyLength, Method, RequestHead};
use evenkeel_wire::hpack::Decoder;
use evenkeel_wire::http1::Limits;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// A window update of the connection, so that responses can be sent.
const WINDOW: &[u8] = &[0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 16, 0, 0];
/// How often the other tasks run after each piece.
const TURNS: usize = 2;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
}

/// Panics if a property does not hold.
pub fn check(data: &[u8]) {
    let [options, step, bytes @ ..] = data else {
        return;
    };
    let step = usize::from(*step) + 1;
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let (ours, theirs) = UnixStream::pair().expect("two sockets");
            let ours = OwnedFd::from(ours.into_std().expect("off the runtime")).into();
            match options & 1 {
                0 => Side::server(ours, *options).run(theirs, bytes, step).await,
                _ => Side::client(ours, *options).run(theirs, bytes, step).await,
            }
        });
    });
}

/// The side under test.
enum Endpoint {
    Server(Box<http2::Connection>, RequestHead),
    /// It runs as long as it is shared.
    Client(
        http2::Driver,
        #[allow(dead_code, reason = "it is held")] http2::Shared,
    ),
}

struct Side {
    wire: Endpoint,
    options: u8,
    streams: Vec<One>,
    buffers: Buffers,
    is_over: bool,
}

/// A stream, and the received part of its message.
struct One {
    stream: Stream,
    body: Option<BodyLength>,
    got: u64,
    left: usize,
    is_done: bool,
}

impl One {
    fn new(stream: Stream, body: Option<BodyLength>, left: usize) -> Self {
        Self {
            stream,
            body,
            got: 0,
            left,
            is_done: false,
        }
    }

    /// Sends and reads as far as possible.
    fn poll(&mut self, context: &Context<'_>, reads: bool) {
        while self.left > 0 {
            let text = [b'x'; 999];
            let text = &text[..self.left.min(text.len())];
            match self.stream.poll_write(context, &[IoSlice::new(text)]) {
                Poll::Ready(Ok(count)) => self.left -= count,
                Poll::Ready(Err(_)) => self.left = 0,
                Poll::Pending => break,
            }
            if self.left == 0 {
                self.stream.finish(b"x-sum: 1\r\n");
            }
        }
        if self.left == 0 {
            let _ = self.stream.poll_flush(context);
        }
        while self.body.is_none() {
            match self.stream.poll_response(context) {
                Poll::Ready(Ok((Ok(head), lines))) => {
                    for field in &head.fields {
                        assert!(!field.name.of(&lines).is_empty());
                    }
                    self.body = (head.status >= 200).then_some(head.body);
                }
                Poll::Ready(_) => {
                    self.is_done = true;
                    return;
                }
                Poll::Pending => return,
            }
        }
        while reads && !self.is_done {
            match self.stream.poll_take(context) {
                Poll::Ready(Ok(Some(payload))) => self.got += payload.unread().len() as u64,
                Poll::Ready(Ok(None)) => {
                    if let Some(BodyLength::Exact(length)) = self.body {
                        assert_eq!(self.got, length, "whole, and of another length");
                    }
                    let _ = self.stream.take_trailers();
                    self.is_done = true;
                }
                Poll::Ready(Err(_)) => self.is_done = true,
                Poll::Pending => return,
            }
        }
    }
}

/// A head of these fields.
fn head_of(fields: &[(&str, &str)]) -> HeadFields {
    let mut head = HeadFields::default();
    for (name, value) in fields {
        head.add(name.as_bytes(), value.as_bytes());
    }
    head
}

impl Side {
    fn new(wire: Endpoint, options: u8) -> Self {
        Self {
            wire,
            options,
            streams: Vec::new(),
            buffers: Buffers::default(),
            is_over: false,
        }
    }

    fn server(stream: net::Stream, options: u8) -> Self {
        let connection =
            http2::Connection::new(stream, Buffer::default(), &Limits::default(), clock::instant());
        if options & 4 != 0 {
            connection.send_goaway();
        }
        Self::new(
            Endpoint::Server(Box::new(connection), RequestHead::default()),
            options,
        )
    }

    fn client(stream: net::Stream, options: u8) -> Self {
        let (shared, driver) = http2::begin(stream, &Limits::default(), clock::instant());
        let mut streams = Vec::new();
        for (method, name) in [
            (Method::Get, "GET"),
            (Method::Head, "HEAD"),
            (Method::Post, "POST"),
        ] {
            let mut stream = shared.open(clock::instant());
            let head = head_of(&[
                (":method", name),
                (":scheme", "http"),
                (":authority", "a"),
                (":path", "/"),
            ]);
            stream.put_request(head, method);
            let left = if method == Method::Post { 100_000 } else { 0 };
            if left == 0 {
                stream.finish(b"");
            }
            streams.push(One::new(stream, None, left));
        }
        let mut side = Self::new(Endpoint::Client(driver, shared), options);
        side.streams = streams;
        side
    }

    async fn run(mut self, theirs: UnixStream, bytes: &[u8], step: usize) {
        let mut out = Out::default();
        let before = match (self.options & 2 != 0, &self.wire) {
            (false, _) => Vec::new(),
            (true, Endpoint::Client(..)) => [SETTINGS, WINDOW].concat(),
            (true, Endpoint::Server(..)) => [PREFACE, SETTINGS, WINDOW].concat(),
        };
        for piece in [&before[..]].into_iter().chain(bytes.chunks(step)) {
            let mut rest = piece;
            while !rest.is_empty() && !self.is_over {
                match theirs.try_write(rest) {
                    Ok(count) => rest = &rest[count..],
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
                for _ in 0..TURNS {
                    self.turn().await;
                }
                out.read(&theirs);
            }
        }
        let is_client = matches!(self.wire, Endpoint::Client(..));
        drop(theirs);
        for _ in 0..TURNS {
            self.turn().await;
        }
        out.check(is_client);
    }

    /// Moves bytes, and lets the runtime process them.
    async fn turn(&mut self) {
        poll_fn(|context| {
            self.poll(context);
            Poll::Ready(())
        })
        .await;
        tokio::task::yield_now().await;
    }

    fn poll(&mut self, context: &mut Context<'_>) {
        while !self.is_over {
            match &mut self.wire {
                Endpoint::Client(driver, _) => {
                    self.is_over = driver.poll(context, &self.buffers).is_ready();
                    break;
                }
                Endpoint::Server(connection, head) => {
                    match connection.poll_next(context, (head, clock::instant()), &self.buffers) {
                        Poll::Ready(Some(Event::Request(mut stream, Ok(())))) if self.options & 16 == 0 => {
                            stream.put_response(head_of(&[(":status", "200"), ("x-id", "1")]));
                            self.streams.push(One::new(stream, Some(head.body), 70_000));
                        }
                        Poll::Ready(Some(_)) => {}
                        Poll::Ready(None) => self.is_over = true,
                        Poll::Pending => break,
                    }
                }
            }
        }
        let reads = self.options & 8 != 0;
        for one in &mut self.streams {
            one.poll(context, reads);
        }
        if self.options & 16 != 0 {
            self.streams.retain(|one| !one.is_done);
        }
    }
}

/// The output.
#[derive(Default)]
struct Out(Vec<u8>);

impl Out {
    fn read(&mut self, socket: &UnixStream) {
        let mut space = [0; 16 << 10];
        while let Ok(count @ 1..) = socket.try_read(&mut space) {
            self.0.extend_from_slice(&space[..count]);
        }
    }

    /// The complete frames.
    fn check(&self, is_client: bool) {
        let mut rest = match is_client {
            true => self.0.get(PREFACE.len()..).unwrap_or_default(),
            false => &self.0,
        };
        let (mut decoder, mut block) = (Decoder::default(), None::<Vec<u8>>);
        while let Some(([a, b, c, kind, flags, ..], _)) = rest.split_first_chunk::<9>() {
            let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            assert!(length <= 16_384 && *kind < 10, "frame {kind} of {length} bytes");
            let Some(payload) = rest.get(9..9 + length) else {
                return;
            };
            assert!(block.is_none() || *kind == 9, "frame {kind} in a block");
            if matches!(kind, 1 | 9) {
                let mut bytes = block.take().unwrap_or_default();
                bytes.extend_from_slice(payload);
                match flags & 4 {
                    0 => block = Some(bytes),
                    _ => decoder
                        .decode(&bytes, |_, _| {})
                        .expect("what was written can be read"),
                }
            }
            rest = &rest[9 + length..];
        }
    }
}
