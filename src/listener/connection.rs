//! The life of one client connection: wait, read a head, serve the request, again. It ends when either side wants it
//! to, when it has to make room, or when nothing more can be understood.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::connection_tasks::ConnectionTasks;
use super::eviction::{EvictionQueue, EvictionTicket, WakeTarget};
use super::http2::{self, ConnectionContext};
use super::parked::{Name, PARK_AFTER, Parked, ParkedConnections};
use super::worker_set::OpenConnection;
use crate::clock::{self, TimerEvent};
use crate::http1::{self, Kind, Malformed};
use crate::message::{self, HeadError};
use crate::net::Stream;
use crate::proxy::{self, Client, ConnectionDisposition, Failure, Incoming};
use crate::tasks::LocalTasks;

/// How long a connection that was idle when a stop began may still bring the request that is on its way.
pub(super) const DRAIN_GRACE: Duration = Duration::from_secs(1);
/// How long, and how much, is read after the last answer of a connection, so that a client that is still sending can
/// read it: closing at once would reset the connection under it (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 << 10;
/// Requests that had come together and are served before the other connections have their turn. Those that need no backend
/// would never give way else.
const BATCH: u32 = 16;

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
pub(super) enum ServeEnd {
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
    Park,
    /// The connection is to end.
    Over,
}

/// One client and how far its connection has come: what is kept while it is idle.
pub(super) struct ClientConnection {
    client: Client,
    /// Its place among those that wait, while it does.
    ticket: Option<EvictionTicket>,
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
    connection_tasks: ConnectionTasks,
    open: OpenConnection,
) -> impl Future<Output = ()> {
    // In a box, because it goes to a desk and comes back with every request.
    let mut connection = Box::new(ClientConnection {
        client,
        ticket: None,
        served,
        may_speak_http2: tasks.is_some(),
        is_to_be_parked: false,
    });
    async move {
        connection.client.worker.counters.connections_active.up();
        loop {
            match connection.first_byte(&connection_tasks).await {
                First::Byte => {}
                First::Park => return connection.park(connection_tasks.parked_connections(), open),
                First::Over => {
                    say_end(&mut connection.client);
                    break;
                }
            }
            let mut task = connection_tasks.take();
            task.handle(connection);
            let (back, left) = std::future::poll_fn(|context| task.poll_done(context)).await;
            connection_tasks.give_back(task);
            connection = back;
            match (left, tasks.as_ref()) {
                (ServeEnd::Idle, _) => {}
                (ServeEnd::ForHttp2, Some(tasks)) => {
                    // In a box, because every client's connection has room for this one.
                    return Box::pin(serve_http2(*connection, tasks.clone(), connection_tasks, open)).await;
                }
                _ => break,
            }
        }
        connection.ticket = None;
        connection.client.worker.counters.connections_active.down();
        connection
            .client
            .connection
            .release(&connection.client.worker.buffers);
        drop(open);
    }
}

/// Goes on with a connection that began with the preface of HTTP/2.
async fn serve_http2(
    connection: ClientConnection,
    tasks: LocalTasks,
    connection_tasks: ConnectionTasks,
    open: OpenConnection,
) {
    let ClientConnection { client, ticket, .. } = connection;
    drop(ticket);
    let Client {
        mut connection,
        peer,
        timer,
        worker,
        ..
    } = client;
    let before = std::mem::take(&mut connection.input);
    connection.release(&worker.buffers);
    let counters = Arc::clone(&worker.counters);
    if let Some(stream) = connection.into_stream() {
        let waiting = connection_tasks.waiting().clone();
        let ctx = ConnectionContext {
            peer,
            worker,
            timer,
            waiting,
            tasks,
            stream_tasks: connection_tasks.stream_tasks().clone(),
        };
        http2::serve(stream, before, ctx).await;
    }
    counters.connections_active.down();
    drop(open);
}

impl ClientConnection {
    /// Waits, without holding memory, until something arrives: `client_idle`, or `client_header` on a new connection.
    fn first_byte(&mut self, connection_tasks: &ConnectionTasks) -> impl Future<Output = First> {
        self.drop_empty_line();
        let timeouts = self.client.worker.local().snapshot.timeouts;
        let Client {
            connection,
            timer,
            worker,
            ..
        } = &self.client;
        self.is_to_be_parked = false;
        timer.set(match worker.is_draining.get() {
            true => DRAIN_GRACE,
            false if self.served == 0 => timeouts.header,
            false if connection.is_plain() && timeouts.idle > PARK_AFTER => {
                self.is_to_be_parked = true;
                PARK_AFTER
            }
            false => timeouts.idle,
        });
        self.ticket = Some(connection_tasks.waiting().join(WakeTarget::Timer(timer.key())));
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
        while let Poll::Ready(event) = self.client.timer.poll(context) {
            let client = &self.client;
            match event {
                TimerEvent::Expired if self.may_park() => return Poll::Ready(First::Park),
                // Half an empty line has come, or a stop has begun that it was not told of yet.
                TimerEvent::Expired if std::mem::take(&mut self.is_to_be_parked) => {
                    let idle = client.worker.local().snapshot.timeouts.idle;
                    client.timer.set(match client.worker.is_draining.get() {
                        true => DRAIN_GRACE,
                        false => idle.saturating_sub(PARK_AFTER),
                    });
                }
                TimerEvent::Expired => return Poll::Ready(First::Over),
                TimerEvent::Notified if self.ticket.as_ref().is_some_and(EvictionTicket::is_evicted) => {
                    return Poll::Ready(First::Over);
                }
                // The process is to stop: what is on its way may still come.
                TimerEvent::Notified if client.worker.is_draining.get() => client.timer.set(DRAIN_GRACE),
                TimerEvent::Notified => {}
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
            connection.release_buffers(&self.client.worker.buffers);
        }
    }

    /// Goes to where it costs less to wait. It goes on counting as a connection.
    fn park(self, parked_connections: &ParkedConnections, open: OpenConnection) {
        let Client {
            connection,
            peer,
            worker,
            ..
        } = self.client;
        drop(self.ticket);
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
                since: now.checked_sub(PARK_AFTER).unwrap_or(now),
            });
        if let Some(parked) = parked {
            // Fails only where the machine lacks something; then the connection is closed.
            let _ = parked_connections.park(parked);
        }
    }

    /// Serves one request after the other, until nothing more has come.
    pub(super) async fn serve_all(&mut self, waiting: &EvictionQueue) -> ServeEnd {
        let worker = Rc::clone(&self.client.worker);
        let mut batch = 0;
        loop {
            if batch == BATCH {
                batch = 0;
                tokio::task::yield_now().await;
            }
            batch += 1;
            let next = self.next_request(waiting).await;
            self.ticket = None;
            let client = &mut self.client;
            let after = match next {
                Next::Over => return ServeEnd::Over,
                Next::Refused(Failure::Malformed(Malformed::Http2Preface), _)
                    if self.may_speak_http2 && self.served == 0 =>
                {
                    return ServeEnd::ForHttp2;
                }
                Next::Refused(failure, started) => {
                    let received = client.connection.input.unread().len();
                    let after = proxy::refuse(client, failure, None, (started, received)).await;
                    if failure == Failure::Evicted {
                        // Its descriptor is wanted now.
                        return ServeEnd::Over;
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
                ConnectionDisposition::KeepAlive => client.connection.release_buffers(&worker.buffers),
                ConnectionDisposition::End => return ServeEnd::Over,
                ConnectionDisposition::Close => {
                    linger(client).await;
                    return ServeEnd::Over;
                }
                ConnectionDisposition::Reset => {
                    client.connection.reset();
                    return ServeEnd::Over;
                }
            }
            if has_nothing(client, false) {
                return ServeEnd::Idle;
            }
        }
    }

    /// Reads a head, of which something has come: `client_header` in all, which a new connection has begun to use.
    async fn next_request(&mut self, waiting: &EvictionQueue) -> Next {
        let worker = Rc::clone(&self.client.worker);
        let is_new = self.is_new();
        let client = &mut self.client;
        let ticket = self
            .ticket
            .get_or_insert_with(|| waiting.join(WakeTarget::Timer(client.timer.key())));
        let started = clock::now();
        worker.wheel.observe(started);
        let local = worker.local();
        if !is_new {
            client.timer.set(local.snapshot.timeouts.header);
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
            while let Poll::Ready(event) = client.timer.poll(context) {
                match event {
                    TimerEvent::Expired => return Poll::Ready(Err(Failure::HeaderTimeout)),
                    TimerEvent::Notified if ticket.is_evicted() => return Poll::Ready(Err(Failure::Evicted)),
                    TimerEvent::Notified => {}
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
    client.connection.release_buffers(&client.worker.buffers);
    Ok(())
}

/// Says that no more will be sent, and reads for a moment what the client still sends.
pub(super) async fn linger(client: &mut Client) {
    let worker = Rc::clone(&client.worker);
    client.connection.end_sending();
    client.timer.set(LINGER);
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
        while let Poll::Ready(event) = client.timer.poll(context) {
            if event == TimerEvent::Expired {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    })
    .await;
}
