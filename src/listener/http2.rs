//! The life of a client connection that speaks HTTP/2: each stream is a request of its own, served by a task of its own. It
//! ends when either side wants it to, when it has to make room, or when it costs more than it is good for.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::connection::DRAIN_GRACE;
use super::eviction::{BusyTicket, EvictionQueue, EvictionTicket, WakeTarget};
use super::stream_tasks::{Request, StreamTasks};
use crate::buffer::Buffer;
use crate::clock::{self, Timer, TimerEvent};
use crate::http1::Malformed;
use crate::http2::{self, Event};
use crate::message::Connection;
use crate::net::Stream;
use crate::proxy::{self, Client, Failure, Incoming, Peer, Worker};
use crate::tasks::LocalTasks;

/// How long a connection that is told to go may take to hear of it.
const GOAWAY_GRACE: Duration = Duration::from_secs(1);

/// How long the socket may take nothing at all while bytes wait for it, where no pool says how long.
const STALL: Duration = Duration::from_secs(30);
/// What has to be sent for a connection that is told to go to get more time: more than its farewell.
const MOVED: u64 = 1 << 10;

/// Whose connection it is, and who serves it.
pub(super) struct ConnectionContext {
    pub(super) peer: Rc<Peer>,
    pub(super) worker: Rc<Worker>,
    pub(super) timer: Timer,
    pub(super) waiting: EvictionQueue,
    pub(super) tasks: LocalTasks,
    pub(super) stream_tasks: StreamTasks,
}

/// Serves one connection to its end. `before` was read from it already. The alarm is set to when it has to have begun.
pub(super) async fn serve(stream: Stream, before: Buffer, ctx: ConnectionContext) {
    let local = ctx.worker.local();
    let limits = local.snapshot.limits.message;
    drop(local);
    ctx.peer.note_destination(&stream);
    let ticket = ctx.waiting.join(WakeTarget::Timer(ctx.timer.key()));
    let busy = ctx.waiting.register_busy(ctx.timer.key());
    let mut session = Session {
        connection: http2::Connection::new(stream, before, &limits, clock::now()),
        ctx,
        _busy: busy,
        is_opening: true,
        ticket: Some(ticket),
        served: 0,
        closing: Closing::No,
        mark: 0,
        stall: Stall::default(),
        head: HeadWatch::default(),
    };
    poll_fn(|context| session.poll(context)).await;
}

/// A connection and how far it has come.
struct Session {
    connection: http2::Connection,
    ctx: ConnectionContext,
    _busy: BusyTicket,
    /// Whether it has not begun as it has to.
    is_opening: bool,
    /// Its place among those that wait, while it has no streams.
    ticket: Option<EvictionTicket>,
    served: u64,
    closing: Closing,
    /// What was sent when its time to leave was last set.
    mark: u64,
    stall: Stall,
    head: HeadWatch,
}

/// Watches that a head of which something has come is whole within `client_header`, whatever goes on beside it.
#[derive(Default)]
struct HeadWatch {
    timer: Option<Timer>,
    /// Frames that had come before it, and since when it is on its way.
    since: Option<(u64, Instant)>,
}

impl HeadWatch {
    /// Whether its time is over.
    fn poll(&mut self, context: &Context<'_>, connection: &http2::Connection, worker: &Worker) -> bool {
        if !connection.is_in_head() {
            if self.since.take().is_some()
                && let Some(timer) = &self.timer
            {
                timer.clear();
            }
            return false;
        }
        let timer = self.timer.get_or_insert_with(|| worker.wheel.timer());
        let header = worker.local().snapshot.timeouts.header;
        let frames = connection.frames();
        if self.since.is_none_or(|(before, _)| before != frames) {
            self.since = Some((frames, worker.wheel.now()));
            timer.set(header);
        }
        while let Poll::Ready(event) = timer.poll(context) {
            match event {
                TimerEvent::Notified => {}
                // It is not the client that waits; how long nothing may be taken has a bound of its own.
                TimerEvent::Expired if connection.is_choked() => timer.set(header),
                TimerEvent::Expired => return true,
            }
        }
        false
    }
}

/// Watches that bytes which wait for the socket move. Those of an answer that is whole for us are in no other's hands any more.
#[derive(Default)]
struct Stall {
    timer: Option<Timer>,
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
        let timer = self.timer.get_or_insert_with(|| worker.wheel.timer());
        if !self.is_watching {
            (self.is_watching, self.mark) = (true, connection.total());
            timer.set(Self::bound(worker));
        }
        while let Poll::Ready(event) = timer.poll(context) {
            if event == TimerEvent::Notified {
                continue;
            }
            if !connection.is_blocked() {
                self.is_watching = false;
                timer.clear();
                return false;
            }
            if connection.total() == self.mark {
                return true;
            }
            self.mark = connection.total();
            timer.set(Self::bound(worker));
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
enum Closing {
    No,
    /// It was told that no new streams are taken; those under way go on.
    GoAwaySent,
    /// It was told to go now.
    Failed,
}

impl Session {
    /// Takes up requests and moves bytes; ready when the connection is over.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.poll_events(context).is_ready() {
                self.lose_head(Failure::ClientGone);
                return Poll::Ready(());
            }
            if self.stall.poll(context, &self.connection, &self.ctx.worker) {
                self.lose_head(Failure::ClientStalled);
                return Poll::Ready(());
            }
            let is_late = self.head.poll(context, &self.connection, &self.ctx.worker);
            if is_late {
                self.lose_head(Failure::HeaderTimeout);
                self.connection.give_up();
                self.fail_connection();
            }
            if self.poll_leave(context) {
                return Poll::Ready(());
            }
            if !(is_late || self.send_goaway_if_due()) {
                break;
            }
        }
        // While the end of an answer waits for the socket, the last word is not said.
        let is_said = self.connection.is_closing() && !self.connection.is_blocked();
        if is_said && self.closing != Closing::Failed {
            self.fail_connection();
        }
        Poll::Pending
    }

    /// Takes up what comes; ready when nothing does any more.
    fn poll_events(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let worker = Rc::clone(&self.ctx.worker);
        let mut incoming = worker.lend_head();
        loop {
            let head = (&mut incoming.head, worker.wheel.now());
            match self.connection.poll_next(context, head, &worker.buffers) {
                Poll::Ready(Some(Event::Request(stream, result))) => {
                    self.begin(stream, (incoming, result));
                    incoming = worker.lend_head();
                }
                Poll::Ready(Some(Event::ConnectionError(reason))) => {
                    tracing::debug!(%reason, "An HTTP/2 connection is ended");
                    worker.counters.http2_connection_errors.increment();
                    self.lose_head(Failure::Http2ConnectionError);
                    self.fail_connection();
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
            proxy::log_half_head(&self.ctx.worker, &self.ctx.peer, failure, (started, received));
        }
    }

    /// It was told to go now, and may take a moment to hear of it.
    fn fail_connection(&mut self) {
        self.closing = Closing::Failed;
        self.is_opening = false;
        self.ticket = None;
        self.ctx.timer.set(GOAWAY_GRACE);
    }

    /// Whether its time is over.
    fn poll_leave(&mut self, context: &Context<'_>) -> bool {
        let is_idle = self.connection.is_idle();
        let ctx = &self.ctx;
        if self.is_opening && self.connection.has_begun() {
            self.is_opening = false;
            self.ticket = None;
            // It may have requests already, and then nothing else would stop the alarm.
            ctx.timer.clear();
        }
        if self.is_opening {
            // Its time is that of a head.
        } else if !is_idle && self.ticket.take().is_some() {
            ctx.timer.set(Duration::MAX);
        } else if is_idle && self.ticket.is_none() && self.closing != Closing::Failed {
            self.ticket = Some(ctx.waiting.join(WakeTarget::Timer(ctx.timer.key())));
            self.mark = self.connection.total();
            ctx.timer.set(match self.closing {
                Closing::No => ctx.worker.local().snapshot.timeouts.idle,
                _ => DRAIN_GRACE,
            });
        }
        while let Poll::Ready(event) = ctx.timer.poll(context) {
            match event {
                TimerEvent::Expired if self.is_opening => {
                    self.lose_head(Failure::HeaderTimeout);
                    return true;
                }
                // What has come of a head has its own bound.
                TimerEvent::Expired if self.closing != Closing::Failed && self.connection.is_in_head() => {
                    ctx.timer.set(DRAIN_GRACE);
                }
                TimerEvent::Expired if self.closing == Closing::No && is_idle => {
                    self.connection.send_goaway();
                    self.closing = Closing::GoAwaySent;
                    self.mark = self.connection.total();
                    ctx.timer.set(GOAWAY_GRACE);
                }
                // Answers that are whole for us may still be on their way.
                TimerEvent::Expired
                    if self.closing == Closing::GoAwaySent
                        && (self.connection.is_blocked() || self.connection.total() > self.mark + MOVED) =>
                {
                    self.mark = self.connection.total();
                    ctx.timer.set(DRAIN_GRACE);
                }
                TimerEvent::Expired if self.closing != Closing::No => return true,
                TimerEvent::Notified if self.ticket.as_ref().is_some_and(EvictionTicket::is_evicted) => {
                    self.lose_head(Failure::Evicted);
                    return true;
                }
                // An alarm that is not stopped rings for ever.
                TimerEvent::Expired => ctx.timer.clear(),
                TimerEvent::Notified => {}
            }
        }
        false
    }

    /// Tells it to go where that is due. Whether it did.
    fn send_goaway_if_due(&mut self) -> bool {
        let worker = &self.ctx.worker;
        let limit = worker.local().snapshot.limits.requests_per_connection;
        let is_full = limit.is_some_and(|limit| self.served >= limit);
        if self.closing != Closing::No || !(is_full || worker.is_draining.get()) {
            return false;
        }
        self.connection.send_goaway();
        self.closing = Closing::GoAwaySent;
        if self.ticket.is_some() {
            self.mark = self.connection.total();
            self.ctx.timer.set(DRAIN_GRACE);
        }
        true
    }

    /// Begins to serve a request.
    fn begin(&mut self, stream: http2::Stream, (incoming, result): (Box<Incoming>, Result<(), Malformed>)) {
        let worker = &self.ctx.worker;
        let started = clock::now();
        worker.wheel.observe(started);
        self.served += 1;
        let client = Client {
            connection: Connection::of_stream(stream),
            peer: Rc::clone(&self.ctx.peer),
            timer: worker.wheel.timer(),
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
        self.ctx.stream_tasks.serve(request, &self.ctx.tasks);
    }
}
