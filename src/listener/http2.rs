//! The life of a client connection that speaks HTTP/2: each stream is a request of its own, served by a task of its own. It
//! ends when either side wants it to, when it has to make room, or when it costs more than it is good for.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::connection::DRAIN_GRACE;
use super::hands::{Hands, Request};
use super::waiting::{Place, WaitingList, Who};
use crate::clock::{self, Alarm, Ring};
use crate::http2::{self, Counted, Glitches};
use crate::message::Connection;
use crate::net::Stream;
use crate::proxy::{Client, Peer, Worker};
use crate::tasks::LocalTasks;

/// How long a connection that is told to go may take to hear of it.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long the socket may take nothing at all while bytes wait for it, where no pool says how long.
const STALL: Duration = Duration::from_secs(30);
/// What has to be sent for a connection that is told to go to get more time: more than its farewell.
const MOVED: u64 = 1 << 10;

/// Whose connection it is, and who serves it.
pub(super) struct Guest {
    pub(super) peer: Rc<Peer>,
    pub(super) worker: Rc<Worker>,
    pub(super) alarm: Alarm,
    pub(super) waiting: WaitingList,
    pub(super) tasks: LocalTasks,
    pub(super) hands: Hands,
}

/// Serves one connection to its end. `before` was read from it already.
pub(super) async fn serve(stream: Stream, before: Vec<u8>, guest: Guest) {
    let local = guest.worker.local();
    let (limits, header) = (local.snapshot.limits.message, local.snapshot.timeouts.header);
    drop(local);
    guest.peer.note_destination(&stream);
    let glitches = Glitches::new(&guest.worker.wheel);
    let counted = Counted::new(stream, before, &limits, Rc::clone(&glitches));
    let mut handshake = std::pin::pin!(http2::handshake(counted, &limits));
    let place = guest.waiting.join(Who::Alarm(guest.alarm.key()));
    guest.alarm.set(header);
    let begun = poll_fn(|context| {
        if let Poll::Ready(result) = handshake.as_mut().poll(context) {
            return Poll::Ready(result.ok());
        }
        while let Poll::Ready(ring) = guest.alarm.poll(context) {
            if ring == Ring::Expired || place.is_given_up() {
                return Poll::Ready(None);
            }
        }
        Poll::Pending
    });
    let Some(connection) = begun.await else { return };
    drop(place);
    // It may have requests already, and then nothing else would stop the alarm.
    guest.alarm.clear();
    let _carrier = guest.waiting.carry(guest.alarm.key());
    let mut session = Session {
        connection,
        guest,
        glitches,
        streams: Rc::default(),
        place: None,
        served: 0,
        leaving: Leaving::No,
        mark: 0,
        stall: Stall::default(),
    };
    poll_fn(|context| session.poll(context)).await;
}

/// A connection after its handshake.
struct Session {
    connection: http2::Connection,
    guest: Guest,
    glitches: Rc<Glitches>,
    streams: Rc<Streams>,
    /// Its place among those that wait, while it has no streams.
    place: Option<Place>,
    served: u64,
    leaving: Leaving,
    /// What was sent when its time to leave was last set.
    mark: u64,
    stall: Stall,
}

/// Watches that bytes which wait for the socket move. What the crate keeps of an answer is in no other's hands any more.
#[derive(Default)]
struct Stall {
    alarm: Option<Alarm>,
    is_watching: bool,
    /// What was sent when the alarm was set.
    mark: u64,
}

impl Stall {
    /// Whether nothing has moved for too long.
    fn poll(&mut self, context: &Context<'_>, glitches: &Glitches, worker: &Worker) -> bool {
        if !self.is_watching && !glitches.is_blocked() {
            return false;
        }
        let alarm = self.alarm.get_or_insert_with(|| worker.wheel.alarm());
        if !self.is_watching {
            (self.is_watching, self.mark) = (true, glitches.total());
            alarm.set(Self::bound(worker));
        }
        while let Poll::Ready(ring) = alarm.poll(context) {
            if ring == Ring::Called {
                continue;
            }
            if !glitches.is_blocked() {
                self.is_watching = false;
                alarm.clear();
                return false;
            }
            if glitches.total() == self.mark {
                return true;
            }
            self.mark = glitches.total();
            alarm.set(Self::bound(worker));
        }
        false
    }

    /// The streams may be of any pool, or of none.
    fn bound(worker: &Worker) -> Duration {
        let local = worker.local();
        let pools = local.snapshot.pools.iter();
        let bounds = pools.map(|pool| pool.settings.timeouts.progress);
        bounds.max().unwrap_or(STALL)
    }
}

/// How far its end has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    /// It was told that no new streams are taken; those under way go on.
    Told,
    /// It was told to go now.
    Expelled,
}

/// The streams of one connection.
#[derive(Default)]
struct Streams {
    running: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

/// One stream that runs.
pub(super) struct Running(Rc<Streams>);

impl Running {
    fn new(streams: &Rc<Streams>) -> Self {
        streams.running.set(streams.running.get() + 1);
        Self(Rc::clone(streams))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
        if self.0.running.get() == 0
            && let Some(waker) = self.0.waker.take()
        {
            // The connection is idle now.
            waker.wake();
        }
    }
}

impl Session {
    /// Takes up requests and moves bytes; ready when the connection is over.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            while let Poll::Ready(next) = self.connection.poll_accept(context) {
                match next {
                    Some(Ok(incoming)) => self.begin(incoming),
                    Some(Err(_)) | None => return Poll::Ready(()),
                }
            }
            let is_stalled = self.stall.poll(context, &self.glitches, &self.guest.worker);
            if is_stalled || self.poll_leave(context) {
                return Poll::Ready(());
            }
            if !self.tell() {
                break;
            }
        }
        if self.glitches.is_closing() && self.leaving != Leaving::Expelled {
            self.leaving = Leaving::Expelled;
            self.place = None;
            self.guest.alarm.set(FAREWELL);
        }
        let mut waker = self.streams.waker.borrow_mut();
        if waker
            .as_ref()
            .is_none_or(|waker| !waker.will_wake(context.waker()))
        {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// Whether its time is over.
    fn poll_leave(&mut self, context: &mut Context<'_>) -> bool {
        let is_idle = self.streams.running.get() == 0;
        let guest = &self.guest;
        if !is_idle && self.place.take().is_some() {
            guest.alarm.set(Duration::MAX);
        } else if is_idle && self.place.is_none() && self.leaving != Leaving::Expelled {
            self.place = Some(guest.waiting.join(Who::Alarm(guest.alarm.key())));
            self.mark = self.glitches.total();
            guest.alarm.set(match self.leaving {
                Leaving::No => guest.worker.local().snapshot.timeouts.idle,
                _ => DRAIN_GRACE,
            });
        }
        while let Poll::Ready(ring) = guest.alarm.poll(context) {
            match ring {
                Ring::Expired if self.leaving == Leaving::No && is_idle => {
                    self.connection.graceful_shutdown();
                    self.leaving = Leaving::Told;
                    self.mark = self.glitches.total();
                    guest.alarm.set(FAREWELL);
                    context.waker().wake_by_ref();
                }
                // Answers that are whole for us may still be on their way.
                Ring::Expired
                    if self.leaving == Leaving::Told
                        && (self.glitches.is_blocked() || self.glitches.total() > self.mark + MOVED) =>
                {
                    self.mark = self.glitches.total();
                    guest.alarm.set(DRAIN_GRACE);
                }
                Ring::Expired if self.leaving != Leaving::No => return true,
                Ring::Called if self.place.as_ref().is_some_and(Place::is_given_up) => return true,
                // An alarm that is not stopped rings for ever.
                Ring::Expired => guest.alarm.clear(),
                Ring::Called => {}
            }
        }
        false
    }

    /// Tells it to go where that is due. Whether it did.
    fn tell(&mut self) -> bool {
        let worker = &self.guest.worker;
        let verdict = self.glitches.verdict();
        if let Some(reason) = verdict.filter(|_| self.leaving != Leaving::Expelled) {
            tracing::debug!(%reason, "An HTTP/2 connection is ended");
            worker.counters.http2_connections_expelled.increment();
            self.connection.abrupt_shutdown(reason);
            self.leaving = Leaving::Expelled;
            self.place = None;
            self.guest.alarm.set(FAREWELL);
            return true;
        }
        let limit = worker.local().snapshot.limits.requests_per_connection;
        let is_full = limit.is_some_and(|limit| self.served >= limit);
        let is_over = is_full || self.glitches.is_spoiled() || worker.is_draining.get();
        if self.leaving == Leaving::No && is_over {
            self.connection.graceful_shutdown();
            self.leaving = Leaving::Told;
            if self.place.is_some() {
                self.mark = self.glitches.total();
                self.guest.alarm.set(DRAIN_GRACE);
            }
            return true;
        }
        false
    }

    /// Begins to serve a request.
    fn begin(&mut self, (request, respond): http2::Incoming) {
        let worker = &self.guest.worker;
        let started = clock::now();
        worker.wheel.observe(started);
        self.served += 1;
        let (parts, body) = request.into_parts();
        let limits = worker.local().snapshot.limits.message;
        let mut incoming = worker.lend_head();
        let stream = u32::from(respond.stream_id());
        let result = match self.glitches.flaw(stream) {
            Some(flaw) => Err(flaw),
            None => http2::request(&parts, !body.is_end_stream(), &limits, &mut incoming.head),
        };
        let client = Client {
            connection: Connection::of_stream(http2::Stream::of_server(respond, body, &self.glitches)),
            peer: Rc::clone(&self.guest.peer),
            alarm: worker.wheel.alarm(),
            worker: Rc::clone(worker),
            is_last_request: false,
        };
        let running = Running::new(&self.streams);
        let request = Request {
            client,
            incoming,
            result,
            started,
        };
        self.guest.hands.serve(request, running, &self.guest.tasks);
    }
}
