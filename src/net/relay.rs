//! Relays bytes between pairs of plain sockets, for tunnels. The pairs of a worker share one epoll instance, one task and one
//! buffer, so that a message costs a read, a write and little else: a task that the runtime wakes for every message touches many
//! times as much memory, which counts with a thousand tunnels.

use std::cell::RefCell;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use slab::Slab;
use tokio::io::Interest;

use super::{Socket, Stream};
use crate::buffer::LARGE;
use crate::clock::{Instant, Wheel};

/// Events that are handled before other tasks of the worker get their turn.
const BATCH: usize = 64;
/// Bytes that one direction moves before the others get their turn.
const TURN: usize = 4 * LARGE;
/// What means that a read may find something, if only the end or an error.
const INCOMING: EventFlags = EventFlags::IN
    .union(EventFlags::RDHUP)
    .union(EventFlags::HUP)
    .union(EventFlags::ERR);
/// What means that a read may find the end behind the last bytes.
const ENDING: EventFlags = EventFlags::RDHUP.union(EventFlags::HUP).union(EventFlags::ERR);

/// The relayed pairs of one worker.
#[derive(Clone)]
pub struct Relays {
    shared: Rc<Shared>,
}

struct Shared {
    epoll: Socket,
    wheel: Rc<Wheel>,
    state: RefCell<State>,
}

struct State {
    pairs: Slab<Pair>,
    events: Vec<Event>,
    /// What is read and written on. One for all: nothing stays in it.
    buffer: Vec<u8>,
    /// Keys of ends whose turn was over before they were read to their end. Each is here once at most.
    unfinished: Vec<usize>,
}

/// Two sockets. What a message touches comes first.
struct Pair {
    ends: [End; 2],
    moved_at: Instant,
    /// Once nothing more is moved: whether both directions have ended in order.
    is_whole: Option<bool>,
    waker: Option<Waker>,
}

/// One of the sockets, and the direction that begins there.
struct End {
    descriptor: RawFd,
    has_ended: bool,
    /// Whether the other end was told so.
    is_finished: bool,
    /// Whether the other end takes nothing more. What it has sent before still goes on.
    is_broken: bool,
    /// Whether its turn was over before it was read to its end.
    is_unfinished: bool,
    /// Bytes read here that the other end has taken.
    moved: u64,
    /// What the other end has not taken yet. Nothing is read meanwhile.
    unsent: Option<Box<Unsent>>,
}

struct Unsent {
    bytes: Vec<u8>,
    sent: usize,
}

/// A pair that is being relayed until this is dropped, which leaves both sockets open.
pub struct Relay<'a> {
    shared: Rc<Shared>,
    key: usize,
    /// They stay open meanwhile.
    sockets: PhantomData<&'a mut Stream>,
}

impl Relays {
    /// Makes an instance without pairs. Nothing moves before [`Self::run`] is polled.
    ///
    /// # Errors
    /// The process or the system is out of descriptors or memory.
    pub fn new(wheel: &Rc<Wheel>) -> io::Result<Self> {
        let epoll = Socket::from(epoll::create(CreateFlags::CLOEXEC)?);
        epoll.watch()?;
        let shared = Shared {
            epoll,
            wheel: Rc::clone(wheel),
            state: RefCell::new(State {
                pairs: Slab::new(),
                events: Vec::with_capacity(BATCH),
                buffer: vec![0; LARGE],
                unfinished: Vec::new(),
            }),
        };
        Ok(Self {
            shared: Rc::new(shared),
        })
    }

    /// Begins to relay between two sockets, which the runtime watches no more. `None` if one of them has TLS, or if the system is
    /// out of memory or watches.
    pub fn add<'a>(&self, one: &'a mut Stream, other: &'a mut Stream) -> Option<Relay<'a>> {
        let (Stream::Plain(one), Stream::Plain(other)) = (one, other) else {
            return None;
        };
        one.unwatch();
        other.unwatch();
        let ends = [&*one, &*other].map(|socket| End {
            descriptor: socket.as_fd().as_raw_fd(),
            has_ended: false,
            is_finished: false,
            is_broken: false,
            is_unfinished: false,
            moved: 0,
            unsent: None,
        });
        let key = self.shared.state.borrow_mut().pairs.insert(Pair {
            ends,
            moved_at: self.shared.wheel.now(),
            is_whole: None,
            waker: None,
        });
        let relay = Relay {
            shared: Rc::clone(&self.shared),
            key,
            sockets: PhantomData,
        };
        // What is ready by now is reported too.
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        for (end, socket) in [one, other].into_iter().enumerate() {
            let key = EventData::new_u64((2 * key + end) as u64);
            epoll::add(&self.shared.epoll, socket, key, flags).ok()?;
        }
        Some(relay)
    }

    /// Moves the bytes of all pairs, for ever.
    ///
    /// # Errors
    /// Errors of the runtime.
    pub async fn run(self) -> io::Result<()> {
        loop {
            std::future::poll_fn(|context| self.shared.poll(context)).await?;
            // The runtime asks for events of other sockets before this goes on.
            tokio::task::yield_now().await;
        }
    }
}

impl Shared {
    /// Ready when others should get their turn.
    fn poll(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut over = Vec::new();
            let mut state = self.state.borrow_mut();
            let is_busy = ready!(state.poll(&self.epoll, self.wheel.now(), &mut over, context))?;
            drop(state);
            over.into_iter().for_each(Waker::wake);
            if is_busy {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl State {
    /// Handles what has happened, or waits for that. Returns whether there may be more to do at once. Adds the owners of pairs
    /// that are over to `over`.
    fn poll(
        &mut self,
        epoll: &Socket,
        now: Instant,
        over: &mut Vec<Waker>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        let at_once = Timespec::default();
        let Self { events, .. } = self;
        let waited = epoll.poll_by(context, Interest::READABLE, BATCH, |epoll| {
            match epoll::wait(epoll, spare_capacity(events), Some(&at_once))? {
                0 => Err(Errno::AGAIN),
                count => Ok(count),
            }
        });
        let count = match waited {
            Poll::Ready(count) => count?,
            Poll::Pending if self.unfinished.is_empty() => return Poll::Pending,
            Poll::Pending => 0,
        };
        let unfinished = std::mem::take(&mut self.unfinished);
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            self.handle(event.data.u64() as usize, event.flags, now, over);
        }
        self.events = events;
        for key in unfinished {
            if let Some(pair) = self.pairs.get_mut(key / 2) {
                pair.end(key).is_unfinished = false;
            }
            self.handle(key, INCOMING, now, over);
        }
        Poll::Ready(Ok(count == BATCH || !self.unfinished.is_empty()))
    }

    /// Handles what has happened at the end with this key.
    fn handle(&mut self, key: usize, flags: EventFlags, now: Instant, over: &mut Vec<Waker>) {
        let (end, Some(pair)) = (key % 2, self.pairs.get_mut(key / 2)) else {
            return;
        };
        if pair.is_whole.is_some() {
            return;
        }
        let [one, other] = &mut pair.ends;
        let (here, there) = if end == 0 { (one, other) } else { (other, one) };
        let before = here.moved.wrapping_add(there.moved);
        let were_broken = (here.is_broken, there.is_broken);
        let mut pump = |key: usize, from: &mut End, to: &End, to_the_end: bool| {
            let goes_on = from.pump(to, to_the_end, &mut self.buffer)?;
            if goes_on && !std::mem::replace(&mut from.is_unfinished, true) {
                self.unfinished.push(key);
            }
            Ok::<(), Errno>(())
        };
        let mut result = Ok(());
        // There is room for what waits.
        if there.unsent.is_some() && flags.contains(EventFlags::OUT) {
            result = pump(key ^ 1, there, here, true);
        }
        if flags.intersects(INCOMING) && result.is_ok() {
            result = pump(key, here, there, flags.intersects(ENDING));
        }
        // Who takes nothing more has closed: what it sent last is there, and no event follows.
        if result.is_ok() && here.is_broken && !were_broken.0 {
            result = pump(key ^ 1, there, here, true);
        }
        if result.is_ok() && there.is_broken && !were_broken.1 {
            result = pump(key, here, there, true);
        }
        if here.moved.wrapping_add(there.moved) != before {
            pair.moved_at = now;
        }
        let is_whole = here.is_finished && there.is_finished;
        if is_whole || here.is_over() && there.is_over() || result.is_err() {
            pair.is_whole = Some(is_whole && result.is_ok());
            over.extend(pair.waker.take());
        }
    }
}

impl Pair {
    fn end(&mut self, key: usize) -> &mut End {
        let [one, other] = &mut self.ends;
        if key.is_multiple_of(2) { one } else { other }
    }
}

impl End {
    /// Moves what has come here to `sink`, and the end. Reads until there is nothing left with `to_the_end`, otherwise until a
    /// read was short, because the kernel reports what comes after that. Returns whether it goes on without being asked to.
    fn pump(&mut self, sink: &Self, to_the_end: bool, buffer: &mut [u8]) -> Result<bool, Errno> {
        if self.is_broken {
            return Ok(false);
        }
        let mut to_the_end = to_the_end;
        if let Some(unsent) = &mut self.unsent {
            while let Some(rest @ [_, ..]) = unsent.bytes.get(unsent.sent..) {
                let count = match sink.send(rest) {
                    Ok(0) => return Ok(false),
                    Ok(count) => count,
                    Err(_) => return Ok(self.break_off()),
                };
                unsent.sent += count;
                self.moved += count as u64;
            }
            self.unsent = None;
            // What has come meanwhile was reported meanwhile.
            to_the_end = true;
        }
        let mut read = 0;
        while !self.has_ended {
            if read >= TURN {
                return Ok(true);
            }
            let received = match rustix::net::recv(self.socket(), &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) => {
                    self.has_ended = true;
                    break;
                }
                Ok((_, count)) => buffer.get(..count).unwrap_or_default(),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(error),
            };
            read += received.len();
            let Ok(count) = sink.send(received) else {
                return Ok(self.break_off());
            };
            self.moved += count as u64;
            if let Some(rest @ [_, ..]) = received.get(count..) {
                self.unsent = Some(Box::new(Unsent {
                    bytes: rest.to_vec(),
                    sent: 0,
                }));
                return Ok(false);
            }
            if !to_the_end && received.len() < buffer.len() {
                return Ok(false);
            }
        }
        if !std::mem::replace(&mut self.is_finished, true) {
            // Fails only if the connection is closed already.
            let _ = rustix::net::shutdown(sink.socket(), Shutdown::Write);
        }
        Ok(false)
    }

    /// Moves nothing more from here. Returns that it does not go on.
    fn break_off(&mut self) -> bool {
        self.is_broken = true;
        self.unsent = None;
        false
    }

    /// Whether nothing more is moved from here.
    fn is_over(&self) -> bool {
        self.is_finished || self.is_broken
    }

    /// Sends as much as the kernel takes; it reports when it takes more than that.
    fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        loop {
            match rustix::net::send(self.socket(), bytes, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(0),
                result => return result,
            }
        }
    }

    fn socket(&self) -> BorrowedFd<'_> {
        #[allow(
            unsafe_code,
            reason = "a pair is relayed by another task than the one that owns its sockets"
        )]
        // SAFETY: a pair is removed when its `Relay` is dropped, which borrows both sockets, and no `Relay` is forgotten.
        unsafe {
            BorrowedFd::borrow_raw(self.descriptor)
        }
    }
}

impl Relay<'_> {
    /// Ready when nothing more is moved: with whether both directions have ended in order.
    pub fn poll(&self, context: &Context<'_>) -> Poll<bool> {
        let mut state = self.shared.state.borrow_mut();
        let Some(pair) = state.pairs.get_mut(self.key) else {
            return Poll::Ready(false);
        };
        match (pair.is_whole, &mut pair.waker) {
            (Some(is_whole), _) => return Poll::Ready(is_whole),
            (None, Some(waker)) => waker.clone_from(context.waker()),
            (None, empty) => *empty = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Bytes of each socket that the other one has taken.
    pub fn moved(&self) -> [u64; 2] {
        let state = self.shared.state.borrow();
        let pair = state.pairs.get(self.key);
        pair.map_or([0; 2], |pair| pair.ends.each_ref().map(|end| end.moved))
    }

    /// When bytes moved last, or the beginning.
    pub fn moved_at(&self) -> Instant {
        let state = self.shared.state.borrow();
        let pair = state.pairs.get(self.key);
        pair.map_or_else(|| self.shared.wheel.now(), |pair| pair.moved_at)
    }
}

impl Drop for Relay<'_> {
    fn drop(&mut self) {
        let pair = self.shared.state.borrow_mut().pairs.try_remove(self.key);
        for end in pair.iter().flat_map(|pair| &pair.ends) {
            // One that could not be added is missing.
            let _ = epoll::delete(&self.shared.epoll, end.socket());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    /// A socket to be relayed, and its other end.
    fn socket() -> (Stream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        (Stream::from(OwnedFd::from(ours)), theirs)
    }

    fn relays() -> Relays {
        Relays::new(&Wheel::new(crate::clock::now())).unwrap()
    }

    /// Runs the relays until `step` returns something.
    async fn until<T>(relays: &Relays, mut step: impl FnMut(&Context<'_>) -> Option<T>) -> T {
        let mut run = Box::pin(relays.clone().run());
        let both = std::future::poll_fn(|context| {
            assert!(run.as_mut().poll(context).is_pending());
            match step(context) {
                Some(result) => return Poll::Ready(result),
                // Steps are tried again and again.
                None => context.waker().wake_by_ref(),
            }
            Poll::Pending
        });
        tokio::time::timeout(DEADLINE, both).await.unwrap()
    }

    /// Whether so many bytes have come, all told.
    fn read(from: &mut UnixStream, into: &mut Vec<u8>, count: usize) -> Option<()> {
        let mut part = [0; 4096];
        match from.read(&mut part) {
            Ok(length) => into.extend_from_slice(&part[..length]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        (into.len() >= count).then_some(())
    }

    #[tokio::test]
    async fn bytes_and_ends_pass_both_ways_and_are_counted() {
        let ((mut one, mut client), (mut other, mut backend)) = (socket(), socket());
        let relays = relays();
        // What has come before is relayed too.
        client.write_all(b"early").unwrap();
        let relay = relays.add(&mut one, &mut other).unwrap();
        let mut received = Vec::new();
        until(&relays, |_| read(&mut backend, &mut received, 5)).await;
        backend.write_all(b"response").unwrap();
        backend.shutdown(std::net::Shutdown::Write).unwrap();
        let mut response = Vec::new();
        until(&relays, |_| read(&mut client, &mut response, 8)).await;
        assert!(relay.poll(&Context::from_waker(Waker::noop())).is_pending());
        client.write_all(b" late").unwrap();
        drop(client);
        let is_whole = until(&relays, |context| match relay.poll(context) {
            Poll::Ready(is_whole) => Some(is_whole),
            Poll::Pending => None,
        });
        assert!(is_whole.await);
        until(&relays, |_| read(&mut backend, &mut received, 10)).await;
        assert_eq!((&*received, &*response), (&b"early late"[..], &b"response"[..]));
        assert_eq!(relay.moved(), [10, 8]);
    }

    #[tokio::test]
    async fn nothing_more_is_read_while_the_other_end_takes_nothing_and_nothing_is_lost() {
        let ((mut one, mut client), (mut other, mut backend)) = (socket(), socket());
        let relays = relays();
        let relay = relays.add(&mut one, &mut other).unwrap();
        let piece: Vec<u8> = (0..10_007_u32).map(|number| number as u8).collect();
        let (mut sent, mut stalled) = (Vec::new(), 0);
        // What both sockets and what is unsent hold is bounded.
        until(&relays, |_| {
            match client.write(&piece) {
                Ok(count) => {
                    sent.extend_from_slice(&piece[..count]);
                    stalled = 0;
                }
                Err(_) => stalled += 1,
            }
            assert!(sent.len() < 1 << 26, "it reads without end");
            (stalled > 100).then_some(())
        })
        .await;
        let [moved, _] = relay.moved();
        assert!(moved < sent.len() as u64);
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut received = Vec::new();
        until(&relays, |_| read(&mut backend, &mut received, sent.len())).await;
        assert!(received == sent, "something was lost");
        assert_eq!(relay.moved(), [sent.len() as u64, 0]);
    }

    #[tokio::test]
    async fn an_error_ends_both_directions() {
        let ((mut one, mut client), (mut other, backend)) = (socket(), socket());
        let relays = relays();
        let relay = relays.add(&mut one, &mut other).unwrap();
        drop(backend);
        let is_whole = until(&relays, |context| {
            let _ = client.write(b"x");
            match relay.poll(context) {
                Poll::Ready(is_whole) => Some(is_whole),
                Poll::Pending => None,
            }
        });
        assert!(!is_whole.await, "what it sends cannot be delivered");
    }

    #[tokio::test]
    async fn what_an_end_sent_before_it_closed_is_not_lost_to_bytes_that_it_does_not_take() {
        for length in [3, 1 << 19] {
            let ((mut one, mut client), (mut other, mut backend)) = (socket(), socket());
            let last: Vec<u8> = (0..length).map(|number: u32| number as u8).collect();
            // More than the client's socket takes while it reads nothing.
            let waiting = backend.write(&last).unwrap();
            drop(backend);
            // The relay hears of these bytes first.
            client.write_all(b"x").unwrap();
            let mut filling = 0;
            while length > 3
                && let Ok(count) = rustix::net::send(&one, &[7; 1 << 10], SendFlags::NOSIGNAL)
            {
                filling += count;
            }
            let relays = relays();
            let relay = relays.add(&mut one, &mut other).unwrap();
            let mut turns = 0;
            until(&relays, |_| {
                turns += 1;
                (turns > 10).then_some(())
            })
            .await;
            let mut received = Vec::new();
            until(&relays, |_| read(&mut client, &mut received, filling + waiting)).await;
            assert!(received[filling..] == last[..waiting]);
            let is_whole = until(&relays, |context| match relay.poll(context) {
                Poll::Ready(is_whole) => Some(is_whole),
                Poll::Pending => None,
            });
            assert!(!is_whole.await, "what the client sent was not delivered");
        }
    }

    #[tokio::test]
    async fn a_dropped_relay_leaves_its_sockets_alone() {
        let ((mut one, mut client), (mut other, _backend)) = (socket(), socket());
        let relays = relays();
        drop(relays.add(&mut one, &mut other).unwrap());
        client.write_all(b"x").unwrap();
        let mut turns = 0;
        until(&relays, |_| {
            turns += 1;
            (turns > 10).then_some(())
        })
        .await;
        assert!(one.is_readable_or_closed_now());
        assert!(relays.shared.state.borrow().pairs.is_empty());
    }
}
