//! The two ends of a simulated stream: they send and read at random times, pause, abort, and check every byte.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::world::{Side, World};
use crate::head::Method;
use crate::http2::{HeadFields, Reason, Stream};
use crate::rng::{Rng, below, mix};

/// Size of the largest messages in bytes.
const LARGEST: usize = 300_000;
/// Bytes after which the text repeats: a prime, so that it never repeats with a frame.
const PERIOD: usize = 65_521;

/// The plan of one exchange, derived from the seed and known to both ends.
struct Plan {
    id: u64,
    method: Method,
    request_size: usize,
    response_size: usize,
    interim: usize,
    pad: usize,
    has_length: bool,
    has_trailers: [bool; 2],
    /// Bytes after which an end aborts.
    breaks: [Option<usize>; 2],
    /// Whether the response begins only after the whole request, and whether the request is read at all.
    is_after_request: bool,
    /// Whether the reader pauses until nothing else can happen.
    is_stubborn: bool,
    is_read: bool,
}

impl Plan {
    fn new(seed: u64, id: u64) -> Self {
        let mut rng = Rng::seeded(mix(seed) ^ id);
        let mut any = |bound: u64| below(rng.bits(), bound);
        let mut size = || match any(8) {
            0..2 => 0,
            2..5 => any(300),
            5..7 => any(8_000),
            _ if seed.is_multiple_of(8) => any(LARGEST as u64),
            _ => any(20_000),
        } as usize;
        let (request_size, response_size) = (size(), size());
        let mut rng = Rng::seeded(mix(seed) ^ mix(id));
        let mut any = |bound: u64| below(rng.bits(), bound);
        let (method, response_size) = match any(8) {
            0 => (Method::Head, 0),
            _ => (Method::Post, response_size),
        };
        // More bytes than any window allows.
        let is_stubborn = id < 2 && any(3) == 0;
        let (request_size, response_size) = match is_stubborn && method != Method::Head {
            true => (LARGEST, LARGEST),
            false => (request_size, response_size),
        };
        let mut breaks = |most: usize| (any(8) == 0).then(|| any(most as u64 + 2) as usize);
        let breaks = [
            breaks(request_size + response_size),
            breaks(request_size + response_size),
        ];
        Self {
            id,
            method,
            request_size,
            response_size,
            interim: any(4) as usize,
            pad: if any(10) == 0 { any(14_000) } else { any(50) } as usize,
            has_length: any(2) == 0,
            has_trailers: [any(4) == 0, any(4) == 0 && method != Method::Head],
            breaks,
            is_after_request: any(2) == 0,
            is_stubborn,
            is_read: any(6) > 0,
        }
    }

    /// Which message a side sends, and how long it is.
    fn message_of(&self, side: Side) -> (usize, usize) {
        match side {
            Side::Client => (0, self.request_size),
            Side::Server => (1, self.response_size),
        }
    }

    fn sending(&self, side: Side) -> Sending {
        let (at, total) = self.message_of(side);
        Sending {
            seed: self.id * 2 + at as u64,
            total,
            sent: 0,
            trailers: if self.has_trailers[at] { TRAILERS } else { b"" },
            is_finished: false,
        }
    }

    fn receiving(&self, side: Side) -> Receiving {
        let (at, total) = self.message_of(match side {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        });
        Receiving {
            seed: self.id * 2 + at as u64,
            total,
            got: 0,
            has_trailers: self.has_trailers[at],
            is_paused: self.is_stubborn,
        }
    }

    fn fields(&self, length: usize) -> String {
        let pad = "p".repeat(self.pad);
        let id = self.id;
        let length = match self.has_length && self.method != Method::Head {
            true => format!("content-length: {length}\r\n"),
            false => String::new(),
        };
        format!("x-id: {id}\r\nx-pad: {pad}\r\nx-pad-too: {pad}\r\n{length}")
    }

    fn request(&self) -> HeadFields {
        let method = if self.method == Method::Head {
            "HEAD"
        } else {
            "POST"
        };
        let (id, fields) = (self.id, self.fields(self.request_size));
        let lines =
            format!(":method: {method}\r\n:scheme: http\r\n:authority: a\r\n:path: /{id}\r\n{fields}");
        HeadFields::of_lines(&lines)
    }
}

const TRAILERS: &[u8] = b"x-sum: 7\r\n";

/// The text that bodies are cut from, so that the expected value of each byte follows from its message and offset.
pub(super) struct Text(Vec<u8>);

impl Default for Text {
    fn default() -> Self {
        Self(
            (0..PERIOD + LARGEST)
                .map(|at| mix((at % PERIOD) as u64) as u8)
                .collect(),
        )
    }
}

impl Text {
    fn of(&self, seed: u64, at: usize, count: usize) -> &[u8] {
        let start = (seed as usize * 997 + at) % PERIOD;
        &self.0[start..start + count]
    }
}

struct Sending {
    seed: u64,
    total: usize,
    sent: usize,
    trailers: &'static [u8],
    is_finished: bool,
}

impl Sending {
    fn poll(
        &mut self,
        (world, context): (&World, &Context<'_>),
        stream: &mut Stream,
    ) -> Poll<io::Result<()>> {
        loop {
            let left = self.total - self.sent;
            if left == 0 {
                if !std::mem::replace(&mut self.is_finished, true) {
                    stream.finish(self.trailers);
                }
                return stream.poll_flush(context);
            }
            if world.one_in(10) {
                world.wake_later(context);
                return Poll::Pending;
            }
            if !self.is_finished && world.one_in(8) {
                ready!(stream.poll_flush(context))?;
            }
            let most = if world.one_in(2) { 500 } else { 60_000 };
            let count = if self.is_finished {
                left
            } else {
                1 + world.any(left.min(most))
            };
            if count == left && self.trailers.is_empty() && !self.is_finished && world.one_in(2) {
                stream.finish(b"");
                self.is_finished = true;
            }
            let bytes = world.text.of(self.seed, self.sent, count);
            let (front, back) = bytes.split_at(world.any(count + 1));
            let parts = [IoSlice::new(front), IoSlice::new(back)];
            self.sent += ready!(stream.poll_write(context, &parts))?;
        }
    }
}

struct Receiving {
    seed: u64,
    total: usize,
    got: usize,
    has_trailers: bool,
    /// Whether it still has to pause, until nothing else can happen.
    is_paused: bool,
}

impl Receiving {
    fn poll(
        &mut self,
        (world, context): (&World, &Context<'_>),
        stream: &mut Stream,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.is_paused {
                self.is_paused = !world.may_go(context);
                if self.is_paused {
                    return Poll::Pending;
                }
            }
            if world.one_in(10) {
                world.wake_later(context);
                return Poll::Pending;
            }
            let Some(buffer) = ready!(stream.poll_take(context))? else {
                let trailers = stream.take_trailers();
                let seed = world.seed;
                assert_eq!(
                    self.got, self.total,
                    "seed {seed}: truncated, but reported as complete"
                );
                assert_eq!(!trailers.is_empty(), self.has_trailers, "seed {seed}: trailers");
                return Poll::Ready(Ok(()));
            };
            let payload = buffer.unread();
            assert!(
                self.got + payload.len() <= self.total,
                "seed {}: too much",
                world.seed
            );
            let is_right = payload == world.text.of(self.seed, self.got, payload.len());
            assert!(is_right, "seed {}: bytes at {}", world.seed, self.got);
            self.got += payload.len();
        }
    }
}

/// Counts a request that no paused stream may block.
struct Lively(Rc<World>);

impl Lively {
    fn new(world: &Rc<World>) -> Self {
        world.lively.set(world.lively.get() + 1);
        Self(Rc::clone(world))
    }
}

impl Drop for Lively {
    fn drop(&mut self) {
        self.0.lively.set(self.0.lively.get() - 1);
    }
}

/// Sends a request and reads the response.
pub(super) async fn round_trip(world: Rc<World>, id: u64) {
    let plan = Plan::new(world.seed, id);
    let _lively = (!plan.is_stubborn).then(|| Lively::new(&world));
    while world.one_in(2) {
        world.pause().await;
    }
    while !world.client.borrow().has_room() {
        if world.client.borrow().is_over() {
            world.refused.borrow_mut().insert(id);
            return;
        }
        world.pause().await;
    }
    let mut stream = Stream::of_client(Rc::clone(&world.client));
    stream.put_request(plan.request(), plan.method);
    let (mut sending, mut receiving) = (plan.sending(Side::Client), plan.receiving(Side::Client));
    let (mut is_sent, mut has_responded) = (false, false);
    poll_fn(|context| {
        let at = (&*world, &*context);
        if plan.breaks[0].is_some_and(|at| sending.sent + receiving.got >= at) {
            world.broken.borrow_mut().insert(id);
            if world.one_in(2) {
                stream.reset(Reason::CANCEL);
            }
            return Poll::Ready(());
        }
        if !is_sent && let Poll::Ready(result) = sending.poll(at, &mut stream) {
            is_sent = true;
            if result.is_err() && stream.was_refused() {
                assert!(
                    world.has_goaway.get() || world.is_cut.get(),
                    "seed {}",
                    world.seed
                );
                world.refused.borrow_mut().insert(id);
                return Poll::Ready(());
            }
            let may_fail = !plan.is_read || world.is_excused(id);
            assert!(
                result.is_ok() || may_fail,
                "seed {}: {id} was not sent",
                world.seed
            );
        }
        while !has_responded {
            let Ok((head, _)) = ready!(stream.poll_response(context)) else {
                if stream.was_refused() {
                    world.refused.borrow_mut().insert(id);
                } else {
                    assert!(world.is_excused(id), "seed {}: {id} got no response", world.seed);
                }
                return Poll::Ready(());
            };
            has_responded = head.unwrap().status == 200;
        }
        if ready!(receiving.poll(at, &mut stream)).is_err() {
            assert!(
                world.is_excused(id),
                "seed {}: the response to {id} was truncated",
                world.seed
            );
            return Poll::Ready(());
        }
        world.done.borrow_mut().insert(id);
        world.broken.borrow_mut().insert(id);
        Poll::Ready(())
    })
    .await;
}

/// Reads a request and responds.
pub(super) async fn response(world: Rc<World>, mut stream: Stream, id: u64) {
    while world.one_in(3) {
        world.pause().await;
    }
    let plan = Plan::new(world.seed, id);
    let (mut sending, mut receiving) = (plan.sending(Side::Server), plan.receiving(Side::Server));
    let (mut is_sent, mut is_read, mut interim) = (false, false, 0);
    let mut is_begun = false;
    let result = poll_fn(|context| {
        let at = (&*world, &*context);
        if plan.breaks[1].is_some_and(|at| sending.sent + receiving.got >= at) && !is_sent {
            world.broken.borrow_mut().insert(id);
            if world.one_in(2) {
                stream.reset(Reason::INTERNAL_ERROR);
            }
            return Poll::Ready(Ok(()));
        }
        if !is_read && plan.is_read {
            is_read = receiving.poll(at, &mut stream)?.is_ready();
        }
        while interim < plan.interim && !is_begun {
            interim += 1;
            stream.send_interim(&HeadFields::of_lines(":status: 103\r\nlink: </a>\r\n"))?;
        }
        if plan.is_after_request && plan.is_read && !is_read {
            return Poll::Pending;
        }
        if !is_begun {
            is_begun = true;
            let fields = plan.fields(plan.response_size);
            let lines = format!(":status: 200\r\n{fields}");
            stream.put_response(HeadFields::of_lines(&lines));
        }
        if !is_sent {
            is_sent = sending.poll(at, &mut stream)?.is_ready();
        }
        match is_sent && (is_read || !plan.is_read) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    })
    .await;
    let result: io::Result<()> = result;
    assert!(
        result.is_ok() || world.is_excused(id),
        "seed {}: {id} at the server",
        world.seed
    );
}
