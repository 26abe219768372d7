//! The life of a client connection that speaks HTTP/2: each stream is a request of its own, served by a task of its own. It
//! ends when either side wants it to, when it has to make room, or when it costs more than it is good for.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::connection::DRAIN_GRACE;
use super::hands::{Hands, Request};
use super::waiting::{Carrier, Place, WaitingList, Who};
use crate::buffer::Buffer;
use crate::clock::{self, Alarm, Ring};
use crate::http1::Malformed;
use crate::http2::{self, Event};
use crate::message::Connection;
use crate::net::Stream;
use crate::proxy::{self, Client, Failure, Incoming, Peer, Worker};
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

/// Serves one connection to its end. `before` was read from it already. The alarm is set to when it has to have begun.
pub(super) async fn serve(stream: Stream, before: Buffer, guest: Guest) {
    let local = guest.worker.local();
    let limits = local.snapshot.limits.message;
    drop(local);
    guest.peer.note_destination(&stream);
    let place = guest.waiting.join(Who::Alarm(guest.alarm.key()));
    let carrier = guest.waiting.carry(guest.alarm.key());
    let mut session = Session {
        connection: http2::Connection::new(stream, before, &limits, clock::now()),
        guest,
        _carrier: carrier,
        is_opening: true,
        place: Some(place),
        served: 0,
        leaving: Leaving::No,
        mark: 0,
        stall: Stall::default(),
        head: HeadWatch::default(),
    };
    poll_fn(|context| session.poll(context)).await;
}

/// A connection and how far it has come.
struct Session {
    connection: http2::Connection,
    guest: Guest,
    _carrier: Carrier,
    /// Whether it has not begun as it has to.
    is_opening: bool,
    /// Its place among those that wait, while it has no streams.
    place: Option<Place>,
    served: u64,
    leaving: Leaving,
    /// What was sent when its time to leave was last set.
    mark: u64,
    stall: Stall,
    head: HeadWatch,
}

/// Watches that a head of which something has come is whole within `client_header`, whatever goes on beside it.
#[derive(Default)]
struct HeadWatch {
    alarm: Option<Alarm>,
    /// Frames that had come before it, and since when it is on its way.
    since: Option<(u64, Instant)>,
}

impl HeadWatch {
    /// Whether its time is over.
    fn poll(&mut self, context: &Context<'_>, connection: &http2::Connection, worker: &Worker) -> bool {
        if !connection.is_in_head() {
            if self.since.take().is_some()
                && let Some(alarm) = &self.alarm
            {
                alarm.clear();
            }
            return false;
        }
        let alarm = self.alarm.get_or_insert_with(|| worker.wheel.alarm());
        let header = worker.local().snapshot.timeouts.header;
        let frames = connection.frames();
        if self.since.is_none_or(|(before, _)| before != frames) {
            self.since = Some((frames, worker.wheel.now()));
            alarm.set(header);
        }
        while let Poll::Ready(ring) = alarm.poll(context) {
            match ring {
                Ring::Called => {}
                // It is not the client that waits; how long nothing may be taken has a bound of its own.
                Ring::Expired if connection.is_choked() => alarm.set(header),
                Ring::Expired => return true,
            }
        }
        false
    }
}

/// Watches that bytes which wait for the socket move. Those of an answer that is whole for us are in no other's hands any more.
#[derive(Default)]
struct Stall {
    alarm: Option<Alarm>,
    is_watching: bool,
    /// What was sent when the alarm was set.
    mark: u64,
}

impl Stall {
    /// Whether nothing has moved for too long.
    fn poll(&mut self, context: &Context<'_>, connection: &http2::Connection, worker: &Worker) -> bool {
        if !self.is_watching && !connection.is_blocked() {
            return false;
        }
        let alarm = self.alarm.get_or_insert_with(|| worker.wheel.alarm());
        if !self.is_watching {
            (self.is_watching, self.mark) = (true, connection.total());
            alarm.set(Self::bound(worker));
        }
        while let Poll::Ready(ring) = alarm.poll(context) {
            if ring == Ring::Called {
                continue;
            }
            if !connection.is_blocked() {
                self.is_watching = false;
                alarm.clear();
                return false;
            }
            if connection.total() == self.mark {
                return true;
            }
            self.mark = connection.total();
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

impl Session {
    /// Takes up requests and moves bytes; ready when the connection is over.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.poll_events(context).is_ready() {
                self.lose_head(Failure::ClientGone);
                return Poll::Ready(());
            }
            if self.stall.poll(context, &self.connection, &self.guest.worker) {
                self.lose_head(Failure::ClientStalled);
                return Poll::Ready(());
            }
            let is_late = self.head.poll(context, &self.connection, &self.guest.worker);
            if is_late {
                self.lose_head(Failure::HeaderTimeout);
                self.connection.give_up();
                self.expel();
            }
            if self.poll_leave(context) {
                return Poll::Ready(());
            }
            if !(is_late || self.tell()) {
                break;
            }
        }
        // While the end of an answer waits for the socket, the last word is not said.
        let is_said = self.connection.is_closing() && !self.connection.is_blocked();
        if is_said && self.leaving != Leaving::Expelled {
            self.expel();
        }
        Poll::Pending
    }

    /// Takes up what comes; ready when nothing does any more.
    fn poll_events(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let worker = Rc::clone(&self.guest.worker);
        let mut incoming = worker.lend_head();
        loop {
            let head = (&mut incoming.head, worker.wheel.now());
            match self.connection.poll_next(context, head, &worker.buffers) {
                Poll::Ready(Some(Event::Request(stream, result))) => {
                    self.begin(stream, (incoming, result));
                    incoming = worker.lend_head();
                }
                Poll::Ready(Some(Event::Expelled(reason))) => {
                    tracing::debug!(%reason, "An HTTP/2 connection is ended");
                    worker.counters.http2_connections_expelled.increment();
                    self.lose_head(Failure::Http2ConnectionError);
                    self.expel();
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        worker.give_back_head(incoming);
        Poll::Pending
    }

    /// Logs the request whose head was on its way when the connection failed, if there is one.
    fn lose_head(&mut self, failure: Failure) {
        if let Some(received) = self.connection.take_half_head() {
            let started = self.head.since.map_or_else(clock::now, |(_, since)| since);
            proxy::log_half_head(&self.guest.worker, &self.guest.peer, failure, (started, received));
        }
    }

    /// It was told to go now, and may take a moment to hear of it.
    fn expel(&mut self) {
        self.leaving = Leaving::Expelled;
        self.is_opening = false;
        self.place = None;
        self.guest.alarm.set(FAREWELL);
    }

    /// Whether its time is over.
    fn poll_leave(&mut self, context: &Context<'_>) -> bool {
        let is_idle = self.connection.is_idle();
        let guest = &self.guest;
        if self.is_opening && self.connection.has_begun() {
            self.is_opening = false;
            self.place = None;
            // It may have requests already, and then nothing else would stop the alarm.
            guest.alarm.clear();
        }
        if self.is_opening {
            // Its time is that of a head.
        } else if !is_idle && self.place.take().is_some() {
            guest.alarm.set(Duration::MAX);
        } else if is_idle && self.place.is_none() && self.leaving != Leaving::Expelled {
            self.place = Some(guest.waiting.join(Who::Alarm(guest.alarm.key())));
            self.mark = self.connection.total();
            guest.alarm.set(match self.leaving {
                Leaving::No => guest.worker.local().snapshot.timeouts.idle,
                _ => DRAIN_GRACE,
            });
        }
        while let Poll::Ready(ring) = guest.alarm.poll(context) {
            match ring {
                Ring::Expired if self.is_opening => {
                    self.lose_head(Failure::HeaderTimeout);
                    return true;
                }
                // What has come of a head has its own bound.
                Ring::Expired if self.leaving != Leaving::Expelled && self.connection.is_in_head() => {
                    guest.alarm.set(DRAIN_GRACE);
                }
                Ring::Expired if self.leaving == Leaving::No && is_idle => {
                    self.connection.say_goodbye();
                    self.leaving = Leaving::Told;
                    self.mark = self.connection.total();
                    guest.alarm.set(FAREWELL);
                }
                // Answers that are whole for us may still be on their way.
                Ring::Expired
                    if self.leaving == Leaving::Told
                        && (self.connection.is_blocked() || self.connection.total() > self.mark + MOVED) =>
                {
                    self.mark = self.connection.total();
                    guest.alarm.set(DRAIN_GRACE);
                }
                Ring::Expired if self.leaving != Leaving::No => return true,
                Ring::Called if self.place.as_ref().is_some_and(Place::is_given_up) => {
                    self.lose_head(Failure::Evicted);
                    return true;
                }
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
        let limit = worker.local().snapshot.limits.requests_per_connection;
        let is_full = limit.is_some_and(|limit| self.served >= limit);
        if self.leaving != Leaving::No || !(is_full || worker.is_draining.get()) {
            return false;
        }
        self.connection.say_goodbye();
        self.leaving = Leaving::Told;
        if self.place.is_some() {
            self.mark = self.connection.total();
            self.guest.alarm.set(DRAIN_GRACE);
        }
        true
    }

    /// Begins to serve a request.
    fn begin(&mut self, stream: http2::Stream, (incoming, result): (Box<Incoming>, Result<(), Malformed>)) {
        let worker = &self.guest.worker;
        let started = clock::now();
        worker.wheel.observe(started);
        self.served += 1;
        let client = Client {
            connection: Connection::of_stream(stream),
            peer: Rc::clone(&self.guest.peer),
            alarm: worker.wheel.alarm(),
            worker: Rc::clone(worker),
            is_last_request: false,
            pinned: None,
        };
        let request = Request {
            client,
            incoming,
            result,
            started,
        };
        self.guest.hands.serve(request, &self.guest.tasks);
    }
}
