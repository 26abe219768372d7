//! The lifecycle of a client connection that speaks HTTP/2. Each stream carries one request and is served by its own task.
//! The connection ends when either side closes it, when it is evicted, or when a timeout or a limit is exceeded.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::closing::DRAIN_GRACE;
use super::eviction::{BusyTicket, EvictionQueue, EvictionTicket, WakeTarget};
use super::stream_tasks::{Request, StreamTasks};
use crate::buffer::Buffer;
use crate::clock::{self, Instant, Timer, TimerEvent};
use crate::http1::Malformed;
use crate::http2::{self, Event};
use crate::message::Connection;
use crate::net::Stream;
use crate::proxy::{self, Client, Failure, Incoming, Peer, Worker};
use crate::tasks::LocalTasks;

/// How long a connection stays open after GOAWAY with no more requests expected, so that the frame can reach the client.
const GOAWAY_GRACE: Duration = Duration::from_secs(1);

/// How long the socket may accept no bytes while some wait to be sent, if no pool has a timeout for it.
const DEFAULT_STALL: Duration = Duration::from_secs(30);
/// Bytes that a draining connection must have sent to get more time: more than its GOAWAY frames.
const MIN_PROGRESS: u64 = 1 << 10;

/// The client of a connection and what serves it.
pub(super) struct ConnectionContext {
    pub(super) peer: Rc<Peer>,
    pub(super) worker: Rc<Worker>,
    pub(super) timer: Timer,
    pub(super) waiting: EvictionQueue,
    pub(super) tasks: LocalTasks,
    pub(super) stream_tasks: StreamTasks,
}

/// Serves one connection to its end. `received` holds the bytes already read. The caller has set the timer to the deadline
/// for the preface.
pub(super) async fn serve(stream: Stream, received: Buffer, ctx: ConnectionContext) {
    let local = ctx.worker.local();
    let limits = local.snapshot.limits.message;
    drop(local);
    ctx.peer.note_destination(&stream);
    let ticket = ctx.waiting.join(WakeTarget::Timer(ctx.timer.key()), 0);
    let busy = ctx.waiting.register_busy(ctx.timer.key());
    let mut session = Session {
        connection: http2::Connection::new(stream, received, &limits, clock::now()),
        ctx,
        _busy: busy,
        is_opening: true,
        ticket: Some(ticket),
        served: 0,
        closing: Closing::No,
        sent_mark: 0,
        stall: StallWatch::default(),
        head: HeadWatch::default(),
    };
    poll_fn(|context| session.poll(context)).await;
}

/// A connection and its state.
struct Session {
    connection: http2::Connection,
    ctx: ConnectionContext,
    _busy: BusyTicket,
    /// Whether the client's preface is not complete yet.
    is_opening: bool,
    /// Its entry in the eviction queue, while it has no streams.
    ticket: Option<EvictionTicket>,
    served: u64,
    closing: Closing,
    /// Bytes sent when the timer for its end was last set.
    sent_mark: u64,
    stall: StallWatch,
    head: HeadWatch,
}

/// Checks that a head is complete within `client_header` after its first byte, even while other streams make progress.
#[derive(Default)]
struct HeadWatch {
    timer: Option<Timer>,
    /// Number of frames received before the head, and when its first byte arrived.
    since: Option<(u64, Instant)>,
}

impl HeadWatch {
    /// Whether the head is late.
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
                // We have stopped reading because the client does not read; the stall timeout applies then.
                TimerEvent::Expired if connection.is_choked() => timer.set(header),
                TimerEvent::Expired => return true,
            }
        }
        false
    }
}

/// Checks that bytes waiting for the socket make progress. Nothing else watches the bytes of a response whose stream is done.
#[derive(Default)]
struct StallWatch {
    timer: Option<Timer>,
    is_watching: bool,
    /// Bytes sent when the timer was set.
    sent_mark: u64,
}

impl StallWatch {
    /// Whether no byte was sent for too long.
    fn poll(&mut self, context: &Context<'_>, connection: &http2::Connection, worker: &Worker) -> bool {
        if !self.is_watching && !connection.is_blocked() {
            return false;
        }
        let timer = self.timer.get_or_insert_with(|| worker.wheel.timer());
        if !self.is_watching {
            (self.is_watching, self.sent_mark) = (true, connection.total());
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
            if connection.total() == self.sent_mark {
                return true;
            }
            self.sent_mark = connection.total();
            timer.set(Self::bound(worker));
        }
        false
    }

    /// Twice the longest such timeout of all pools: the streams may use any pool, or none, and each that is running ends by
    /// its own timeout first, with its own error. A connection that ended before them would leave them without a client.
    fn bound(worker: &Worker) -> Duration {
        let local = worker.local();
        let pools = local.snapshot.pools.iter();
        let bounds = pools.map(|pool| pool.settings.timeouts.progress);
        bounds.max().unwrap_or(DEFAULT_STALL) * 2
    }
}

/// How far closing a connection has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    /// GOAWAY was sent: new streams are refused, running ones continue.
    GoAwaySent,
    /// The last GOAWAY was sent: the connection closes without waiting for streams.
    Failed,
}

impl Session {
    /// Starts requests and moves bytes; ready when the connection has ended.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.poll_events(context).is_ready() {
                self.log_partial_head(Failure::ClientGone);
                return Poll::Ready(());
            }
            if self.stall.poll(context, &self.connection, &self.ctx.worker) {
                self.log_partial_head(Failure::ClientStalled);
                return Poll::Ready(());
            }
            let is_late = self.head.poll(context, &self.connection, &self.ctx.worker);
            if is_late {
                self.log_partial_head(Failure::HeaderTimeout);
                self.connection.give_up();
                self.fail_connection();
            }
            if self.poll_timer(context) {
                return Poll::Ready(());
            }
            if !(is_late || self.send_goaway_if_due()) {
                break;
            }
        }
        // While the end of a response waits for the socket, the last GOAWAY has not been sent.
        let is_sent = self.connection.is_closing() && !self.connection.is_blocked();
        if is_sent && self.closing != Closing::Failed {
            self.fail_connection();
        }
        Poll::Pending
    }

    /// Handles the connection's events; ready when it has ended.
    fn poll_events(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let worker = Rc::clone(&self.ctx.worker);
        let mut incoming = worker.lend_head();
        loop {
            let head = (&mut incoming.head, worker.wheel.now());
            match self.connection.poll_next(context, head, &worker.buffers) {
                Poll::Ready(Some(Event::Request(stream, result))) => {
                    self.start_request(stream, (incoming, result));
                    incoming = worker.lend_head();
                }
                Poll::Ready(Some(Event::ConnectionError(reason))) => {
                    tracing::debug!(%reason, "HTTP/2 connection error; closing the connection");
                    worker.counters.http2_connection_errors.increment();
                    self.log_partial_head(Failure::Http2ConnectionError);
                    self.fail_connection();
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        worker.give_back_head(incoming);
        Poll::Pending
    }

    /// Logs the request whose head was incomplete when the connection failed, if there is one.
    fn log_partial_head(&mut self, failure: Failure) {
        if let Some(received) = self.connection.take_half_head() {
            let started = self.head.since.map_or_else(clock::now, |(_, since)| since);
            proxy::log_half_head(&self.ctx.worker, &self.ctx.peer, failure, (started, received));
        }
    }

    /// The last GOAWAY was sent; the connection closes after [`GOAWAY_GRACE`].
    fn fail_connection(&mut self) {
        self.closing = Closing::Failed;
        self.is_opening = false;
        self.ticket = None;
        self.ctx.timer.set(GOAWAY_GRACE);
    }

    /// Sets and polls the timer for its end; returns whether the connection must be closed.
    fn poll_timer(&mut self, context: &Context<'_>) -> bool {
        let is_idle = self.connection.is_idle();
        let ctx = &self.ctx;
        if self.is_opening && self.connection.has_begun() {
            self.is_opening = false;
            self.ticket = None;
            // It may have requests already; then nothing else would clear the timer.
            ctx.timer.clear();
        }
        if self.is_opening {
            // The timer is set to `client_header`.
        } else if !is_idle && self.ticket.take().is_some() {
            ctx.timer.set(Duration::MAX);
        } else if is_idle && self.ticket.is_none() && self.closing != Closing::Failed {
            let target = WakeTarget::Timer(ctx.timer.key());
            self.ticket = Some(ctx.waiting.join(target, self.served));
            self.sent_mark = self.connection.total();
            ctx.timer.set(match self.closing {
                Closing::No => ctx.worker.local().snapshot.timeouts.idle,
                _ => DRAIN_GRACE,
            });
        }
        while let Poll::Ready(event) = ctx.timer.poll(context) {
            match event {
                TimerEvent::Expired if self.is_opening => {
                    self.log_partial_head(Failure::HeaderTimeout);
                    return true;
                }
                // `HeadWatch` limits an incomplete head.
                TimerEvent::Expired if self.closing != Closing::Failed && self.connection.is_in_head() => {
                    ctx.timer.set(DRAIN_GRACE);
                }
                TimerEvent::Expired if self.closing == Closing::No && is_idle => {
                    self.connection.send_goaway();
                    self.closing = Closing::GoAwaySent;
                    self.sent_mark = self.connection.total();
                    ctx.timer.set(GOAWAY_GRACE);
                }
                // Responses whose streams are done may still be waiting for the socket.
                TimerEvent::Expired
                    if self.closing == Closing::GoAwaySent
                        && (self.connection.is_blocked()
                            || self.connection.total() > self.sent_mark + MIN_PROGRESS) =>
                {
                    self.sent_mark = self.connection.total();
                    ctx.timer.set(DRAIN_GRACE);
                }
                TimerEvent::Expired if self.closing != Closing::No => return true,
                TimerEvent::Notified if self.ticket.as_ref().is_some_and(EvictionTicket::is_evicted) => {
                    self.log_partial_head(Failure::Evicted);
                    return true;
                }
                // A timer that is not cleared stays expired.
                TimerEvent::Expired => ctx.timer.clear(),
                TimerEvent::Notified => {}
            }
        }
        false
    }

    /// Sends GOAWAY on a drain, or when the connection has served its limit of requests. Returns whether it did.
    fn send_goaway_if_due(&mut self) -> bool {
        let worker = &self.ctx.worker;
        let limit = worker.local().snapshot.limits.requests_per_connection;
        let is_full = limit.is_some_and(|limit| self.served >= limit);
        if self.closing != Closing::No || !(is_full || worker.is_draining(self.ctx.peer.listener)) {
            return false;
        }
        self.connection.send_goaway();
        self.closing = Closing::GoAwaySent;
        if self.ticket.is_some() {
            self.sent_mark = self.connection.total();
            self.ctx.timer.set(DRAIN_GRACE);
        }
        true
    }

    /// Starts serving a request.
    fn start_request(
        &mut self,
        stream: http2::Stream,
        (incoming, result): (Box<Incoming>, Result<(), Malformed>),
    ) {
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
