//! The life of one client connection: wait, read a head, serve the request, again. It ends when either side wants it
//! to, when it has to make room, or when nothing more can be understood.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::crew::Open;
use super::desk::Desks;
use super::http2::{self, Guest};
use super::parking::{Lot, Name, PARKED_AFTER, Parked};
use super::waiting::{Place, WaitingList, Who};
use crate::clock::{self, Ring};
use crate::http1::{self, Kind, Malformed};
use crate::message::{self, HeadError};
use crate::net::Stream;
use crate::proxy::{self, After, Client, Failure, Incoming};
use crate::tasks::LocalTasks;

/// How long a connection that was idle when a stop began may still bring the request that is on its way.
pub(super) const DRAIN_GRACE: Duration = Duration::from_secs(1);
/// How long, and how much, is read after the last answer of a connection, so that a client that is still sending can
/// read it: closing at once would reset the connection under it (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 << 10;
/// Requests that had come together and are served before the other connections have their turn. Those that need no backend
/// would never give way else.
const IN_A_ROW: u32 = 16;

/// What reading a head came to.
enum Next {
    Request(Box<Incoming>, Instant),
    /// Nothing came; there is nothing to log.
    Over,
    /// Something came that is no request.
    Refused(Failure, Instant),
}

/// Why a client leaves its desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing more has come.
    Idle,
    /// Its connection is to end.
    Over,
    /// It speaks HTTP/2.
    ForHttp2,
}

/// What waiting for the first byte of a request came to.
enum First {
    /// It is there.
    Byte,
    /// Nothing for so long that the connection is better parked.
    Parking,
    /// The connection is to end.
    Over,
}

/// One client and how far its connection has come: what is kept while it is idle.
pub(super) struct Visit {
    client: Client,
    /// Its place among those that wait, while it does.
    place: Option<Place>,
    served: u64,
    /// Whether it may speak HTTP/2 if it begins with that.
    may_speak_http2: bool,
    /// Whether the alarm is set for parking, not for the end.
    is_to_be_parked: bool,
}

/// Serves one client, of whom `served` requests were served before, until its connection ends or is parked. `tasks` are there for
/// the streams of one that begins with the preface of HTTP/2, if it may.
#[allow(
    clippy::manual_async_fn,
    reason = "an `async` function keeps what it is given twice, and an idle connection is not much more than this future"
)]
pub(super) fn serve(
    client: Client,
    served: u64,
    tasks: Option<LocalTasks>,
    desks: Desks,
    open: Open,
) -> impl Future<Output = ()> {
    // In a box, because it goes to a desk and comes back with every request.
    let mut visit = Box::new(Visit {
        client,
        place: None,
        served,
        may_speak_http2: tasks.is_some(),
        is_to_be_parked: false,
    });
    async move {
        visit.client.worker.counters.connections_active.up();
        loop {
            match visit.first_byte(&desks).await {
                First::Byte => {}
                First::Parking => return visit.park(desks.lot(), open),
                First::Over => {
                    say_end(&mut visit.client);
                    break;
                }
            }
            let mut desk = desks.lend();
            desk.seat(visit);
            let (back, left) = std::future::poll_fn(|context| desk.poll_left(context)).await;
            desks.give_back(desk);
            visit = back;
            match (left, tasks.as_ref()) {
                (Left::Idle, _) => {}
                (Left::ForHttp2, Some(tasks)) => {
                    // In a box, because every client's connection has room for this one.
                    return Box::pin(serve_http2(*visit, tasks.clone(), desks, open)).await;
                }
                _ => break,
            }
        }
        visit.place = None;
        visit.client.worker.counters.connections_active.down();
        visit.client.connection.release(&visit.client.worker.buffers);
        drop(open);
    }
}

/// Goes on with a connection that began with the preface of HTTP/2.
async fn serve_http2(visit: Visit, tasks: LocalTasks, desks: Desks, open: Open) {
    let Client {
        mut connection,
        peer,
        alarm,
        worker,
        ..
    } = visit.client;
    drop(visit.place);
    let before = std::mem::take(&mut connection.input);
    connection.release(&worker.buffers);
    let counters = Arc::clone(&worker.counters);
    if let Some(stream) = connection.into_stream() {
        let waiting = desks.waiting().clone();
        let guest = Guest {
            peer,
            worker,
            alarm,
            waiting,
            tasks,
            hands: desks.hands().clone(),
        };
        http2::serve(stream, before, guest).await;
    }
    counters.connections_active.down();
    drop(open);
}

impl Visit {
    /// Waits, without holding memory, until something arrives: `client_idle`, or `client_header` on a new connection.
    fn first_byte(&mut self, desks: &Desks) -> impl Future<Output = First> {
        self.drop_empty_line();
        let timeouts = self.client.worker.local().snapshot.timeouts;
        let Client {
            connection,
            alarm,
            worker,
            ..
        } = &self.client;
        self.is_to_be_parked = false;
        alarm.set(match worker.is_draining.get() {
            true => DRAIN_GRACE,
            false if self.served == 0 => timeouts.header,
            false if connection.is_plain() && timeouts.idle > PARKED_AFTER => {
                self.is_to_be_parked = true;
                PARKED_AFTER
            }
            false => timeouts.idle,
        });
        self.place = Some(desks.waiting().join(Who::Alarm(alarm.key())));
        std::future::poll_fn(|context| self.poll_first_byte(context))
    }

    fn poll_first_byte(&mut self, context: &mut Context<'_>) -> Poll<First> {
        let mut client = &mut self.client;
        while let Poll::Ready(result) = client.connection.poll_fill(context, &client.worker.buffers, 0) {
            let has_more = matches!(result, Ok(1..));
            if !has_more {
                return Poll::Ready(First::Over);
            }
            if !has_nothing(client, self.served == 0) {
                return Poll::Ready(First::Byte);
            }
            self.drop_empty_line();
            client = &mut self.client;
        }
        while let Poll::Ready(ring) = self.client.alarm.poll(context) {
            let client = &self.client;
            match ring {
                Ring::Expired if self.may_park() => return Poll::Ready(First::Parking),
                // Half an empty line has come, or a stop has begun that it was not told of yet.
                Ring::Expired if std::mem::take(&mut self.is_to_be_parked) => {
                    let idle = client.worker.local().snapshot.timeouts.idle;
                    client.alarm.set(match client.worker.is_draining.get() {
                        true => DRAIN_GRACE,
                        false => idle.saturating_sub(PARKED_AFTER),
                    });
                }
                Ring::Expired => return Poll::Ready(First::Over),
                Ring::Called if self.place.as_ref().is_some_and(Place::is_given_up) => {
                    return Poll::Ready(First::Over);
                }
                // The process is to stop: what is on its way may still come.
                Ring::Called if client.worker.is_draining.get() => client.alarm.set(DRAIN_GRACE),
                Ring::Called => {}
            }
        }
        Poll::Pending
    }

    fn is_new(&self) -> bool {
        self.served == 0
    }

    fn may_park(&self) -> bool {
        let Client {
            connection, worker, ..
        } = &self.client;
        let is_alone = self.client.pinned.is_none();
        self.is_to_be_parked && is_alone && connection.input.is_empty() && !worker.is_draining.get()
    }

    /// Forgets the empty line that some clients send behind a body, so that it takes no memory while nothing follows.
    fn drop_empty_line(&mut self) {
        let connection = &mut self.client.connection;
        if self.served > 0 && connection.input.unread() == b"\r\n" {
            connection.input.consume(2);
            connection.rest(&self.client.worker.buffers);
        }
    }

    /// Goes to where it costs less to wait. It goes on counting as a connection.
    fn park(self, lot: &Lot, open: Open) {
        let Client {
            connection,
            peer,
            worker,
            ..
        } = self.client;
        drop(self.place);
        worker.counters.connections_active.down();
        let now = worker.wheel.now();
        let parked = connection
            .into_stream()
            .and_then(Stream::into_descriptor)
            .map(|stream| Parked {
                stream,
                name: Name::of(peer),
                open,
                served: self.served,
                since: now.checked_sub(PARKED_AFTER).unwrap_or(now),
            });
        if let Some(parked) = parked {
            // Fails only where the machine lacks something; then the connection is closed.
            let _ = lot.park(parked);
        }
    }

    /// Serves one request after the other, until nothing more has come.
    pub(super) async fn serve_all(&mut self, waiting: &WaitingList) -> Left {
        let worker = Rc::clone(&self.client.worker);
        let mut in_a_row = 0;
        loop {
            if in_a_row == IN_A_ROW {
                in_a_row = 0;
                tokio::task::yield_now().await;
            }
            in_a_row += 1;
            let next = self.next_request(waiting).await;
            self.place = None;
            let client = &mut self.client;
            let after = match next {
                Next::Over => return Left::Over,
                Next::Refused(Failure::Malformed(Malformed::Http2Preface), _)
                    if self.may_speak_http2 && self.served == 0 =>
                {
                    return Left::ForHttp2;
                }
                Next::Refused(failure, started) => {
                    let received = client.connection.input.unread().len();
                    let after = proxy::refuse(client, failure, None, (started, received)).await;
                    if failure == Failure::Evicted {
                        // Its descriptor is wanted now.
                        return Left::Over;
                    }
                    after
                }
                Next::Request(incoming, started) => {
                    let after = proxy::serve_request(client, &incoming, started).await;
                    worker.give_back_head(incoming);
                    after
                }
            };
            self.served += 1;
            match after {
                After::KeepOpen => client.connection.rest(&worker.buffers),
                After::End => return Left::Over,
                After::Close => {
                    linger(client).await;
                    return Left::Over;
                }
                After::Reset => {
                    client.connection.reset();
                    return Left::Over;
                }
            }
            if has_nothing(client, false) {
                return Left::Idle;
            }
        }
    }

    /// Reads a head, of which something has come: `client_header` in all, which a new connection has begun to use.
    async fn next_request(&mut self, waiting: &WaitingList) -> Next {
        let worker = Rc::clone(&self.client.worker);
        let is_new = self.is_new();
        let client = &mut self.client;
        let place = self
            .place
            .get_or_insert_with(|| waiting.join(Who::Alarm(client.alarm.key())));
        let started = clock::now();
        worker.wheel.observe(started);
        let local = worker.local();
        if !is_new {
            client.alarm.set(local.snapshot.timeouts.header);
        }
        let limit = local.snapshot.limits.requests_per_connection;
        client.is_last_request = limit.is_some_and(|limit| self.served + 1 >= limit);
        let mut incoming = worker.lend_head();
        let limits = local.snapshot.limits.message;
        drop(local);
        let result = std::future::poll_fn(|context| {
            let head = (Kind::Request, &limits);
            if let Poll::Ready(result) = message::poll_head(
                context,
                &mut client.connection,
                &mut incoming.scan,
                head,
                &worker.buffers,
            ) {
                return Poll::Ready(match result {
                    Ok(end) => Ok(end),
                    Err(HeadError::Malformed(reason)) => Err(Failure::Malformed(reason)),
                    Err(_) => Err(Failure::ClientGone),
                });
            }
            while let Poll::Ready(ring) = client.alarm.poll(context) {
                match ring {
                    Ring::Expired => return Poll::Ready(Err(Failure::HeaderTimeout)),
                    Ring::Called if place.is_given_up() => return Poll::Ready(Err(Failure::Evicted)),
                    Ring::Called => {}
                }
            }
            Poll::Pending
        })
        .await;
        let result = result.and_then(|end| match end {
            Some(end) => parse(client, &mut incoming, end)
                .map(Some)
                .map_err(Failure::Malformed),
            None => Ok(None),
        });
        match result {
            Ok(Some(())) => Next::Request(incoming, started),
            Ok(None) => {
                worker.give_back_head(incoming);
                Next::Over
            }
            Err(failure) => {
                worker.give_back_head(incoming);
                Next::Refused(failure, started)
            }
        }
    }
}

/// Says that nothing more will be sent where TLS has a word for it: to its clients an end without one is a cut. Sockets
/// say so by being closed.
fn say_end(client: &mut Client) {
    if !client.connection.is_plain() {
        client.connection.end_sending();
    }
}

/// Whether nothing has come, or no more than the empty line that some clients send behind a body (RFC 9112 §2.2), which
/// begins no request unless it is the first.
fn has_nothing(client: &Client, is_first: bool) -> bool {
    let unread = client.connection.input.unread();
    unread.is_empty() || !is_first && b"\r\n".starts_with(unread)
}

/// Parses the head of `end` bytes at the front of the input, and takes it from there.
fn parse(client: &mut Client, incoming: &mut Incoming, end: usize) -> Result<(), Malformed> {
    let bytes = client.connection.input.unread().get(..end).unwrap_or_default();
    incoming.head.bytes.extend_from_slice(bytes);
    http1::parse_request(&mut incoming.head, &incoming.scan, end)?;
    client.connection.input.consume(end);
    // The next one that reads finds the buffer in the processor's cache; this one waits for its backend now.
    client.connection.rest(&client.worker.buffers);
    Ok(())
}

/// Says that no more will be sent, and reads for a moment what the client still sends.
pub(super) async fn linger(client: &mut Client) {
    let worker = Rc::clone(&client.worker);
    client.connection.end_sending();
    client.alarm.set(LINGER);
    let mut left = LINGER_BYTES;
    std::future::poll_fn(|context| {
        loop {
            client.connection.input.consume(usize::MAX);
            match client.connection.poll_fill(context, &worker.buffers, 0) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(count)) if count >= left => return Poll::Ready(()),
                Poll::Ready(Ok(count)) => left -= count,
                Poll::Pending => break,
            }
        }
        while let Poll::Ready(ring) = client.alarm.poll(context) {
            if ring == Ring::Expired {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    })
    .await;
}
