//! The lifecycle of one client connection: waits for the first byte of a request, serves requests on a connection task,
//! and waits again, until it is parked, switches to HTTP/2 or ends.

use std::task::{Context, Poll};

use super::client_connection::{ClientConnection, ServeEnd, has_no_request};
use super::closing::{ActiveConnection, DRAIN_GRACE};
use super::connection_tasks::ConnectionTasks;
use super::eviction::{EvictionTicket, WakeTarget};
use super::http2::{self, ConnectionContext};
use super::parked::{PARK_AFTER, Parked, ParkedConnections, ParkedPeer};
use super::worker_set::OpenConnection;
use crate::clock::TimerEvent;
use crate::net::Stream;
use crate::proxy::Client;
use crate::tasks::LocalTasks;

/// The result of waiting for the first byte of a request.
enum WaitResult {
    /// It has arrived.
    Byte,
    /// The connection has been idle for [`PARK_AFTER`].
    Park,
    /// The connection must be closed.
    Close,
}

/// Serves one client until its connection ends or is parked. `served` requests were served before. With `tasks`, which run
/// HTTP/2 streams, the client may begin with the HTTP/2 preface.
#[allow(
    clippy::manual_async_fn,
    reason = "an `async` function stores its arguments twice, and this future is most of the memory of an idle connection"
)]
pub(super) fn serve(
    client: Client,
    served: u64,
    tasks: Option<LocalTasks>,
    connection_tasks: ConnectionTasks,
    open: OpenConnection,
) -> impl Future<Output = ()> {
    // Boxed, because it is handed to a connection task and back with every request.
    let mut connection = Box::new(ClientConnection {
        client,
        ticket: None,
        served,
        may_speak_http2: tasks.is_some(),
        is_park_timer: false,
        is_empty_line_used: false,
    });
    async move {
        let active = ActiveConnection::new(&connection.client.worker);
        loop {
            match connection.first_byte(&connection_tasks).await {
                WaitResult::Byte => {}
                WaitResult::Park => return connection.park(connection_tasks.parked_connections(), open),
                WaitResult::Close => {
                    send_close_notify(&mut connection.client);
                    break;
                }
            }
            let mut task = connection_tasks.take();
            task.start(connection);
            let (served, end) = std::future::poll_fn(|context| task.poll_done(context)).await;
            connection_tasks.give_back(task);
            connection = served;
            match (end, tasks.as_ref()) {
                (ServeEnd::Idle, _) => {}
                (ServeEnd::Http2, Some(tasks)) => {
                    // Boxed, because otherwise the future of every HTTP/1 connection would be as large.
                    return Box::pin(serve_http2(*connection, tasks.clone(), connection_tasks, open)).await;
                }
                _ => break,
            }
        }
        connection.ticket = None;
        drop(active);
        connection
            .client
            .connection
            .release(&connection.client.worker.buffers);
        drop(open);
    }
}

/// Continues a connection that began with the HTTP/2 preface.
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
    let received = std::mem::take(&mut connection.input);
    connection.release(&worker.buffers);
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
        http2::serve(stream, received, ctx).await;
    }
    drop(open);
}

impl ClientConnection {
    /// Waits for the first byte of a request without holding a buffer, at most `client_idle`, or `client_header` on a new
    /// connection.
    fn first_byte(&mut self, connection_tasks: &ConnectionTasks) -> impl Future<Output = WaitResult> {
        self.drop_empty_line();
        let timeouts = self.client.worker.local().snapshot.timeouts;
        let Client {
            connection, timer, ..
        } = &self.client;
        self.is_park_timer = false;
        timer.set(match self.client.is_draining() {
            true => DRAIN_GRACE,
            false if self.served == 0 => timeouts.header,
            false if connection.is_plain() && timeouts.idle > PARK_AFTER => {
                self.is_park_timer = true;
                PARK_AFTER
            }
            false => timeouts.idle,
        });
        let target = WakeTarget::Timer(timer.key());
        self.ticket = Some(connection_tasks.waiting().join(target, self.served));
        std::future::poll_fn(|context| self.poll_first_byte(context))
    }

    fn poll_first_byte(&mut self, context: &mut Context<'_>) -> Poll<WaitResult> {
        let mut client = &mut self.client;
        while let Poll::Ready(result) = client.connection.poll_fill(context, &client.worker.buffers, 0) {
            let has_more = matches!(result, Ok(1..));
            if !has_more {
                return Poll::Ready(WaitResult::Close);
            }
            if !has_no_request(client, self.served == 0) {
                return Poll::Ready(WaitResult::Byte);
            }
            self.drop_empty_line();
            client = &mut self.client;
        }
        while let Poll::Ready(event) = self.client.timer.poll(context) {
            let client = &self.client;
            match event {
                TimerEvent::Expired if self.may_park() => return Poll::Ready(WaitResult::Park),
                // It must not be parked: half an empty line has arrived, or a drain has begun but the notification has not arrived.
                TimerEvent::Expired if std::mem::take(&mut self.is_park_timer) => {
                    let idle = client.worker.local().snapshot.timeouts.idle;
                    client.timer.set(match client.is_draining() {
                        true => DRAIN_GRACE,
                        false => idle.saturating_sub(PARK_AFTER),
                    });
                }
                TimerEvent::Expired => return Poll::Ready(WaitResult::Close),
                TimerEvent::Notified if self.ticket.as_ref().is_some_and(EvictionTicket::is_evicted) => {
                    return Poll::Ready(WaitResult::Close);
                }
                // A request that is on its way is still accepted.
                TimerEvent::Notified if client.is_draining() => client.timer.set(DRAIN_GRACE),
                TimerEvent::Notified => {}
            }
        }
        Poll::Pending
    }

    fn may_park(&self) -> bool {
        let client = &self.client;
        let is_unpinned = client.pinned.is_none();
        self.is_park_timer && is_unpinned && client.connection.input.is_empty() && !client.is_draining()
    }

    /// Discards the empty line that some clients send after a body, so that it does not hold a buffer while the connection is
    /// idle. A second one makes the next request invalid (RFC 9112 §2.2), however the bytes are split.
    fn drop_empty_line(&mut self) {
        let connection = &mut self.client.connection;
        if self.served > 0 && !self.is_empty_line_used && connection.input.unread() == b"\r\n" {
            self.is_empty_line_used = true;
            connection.input.consume(2);
            connection.release_buffers(&self.client.worker.buffers);
        }
    }

    /// Parks the connection, where waiting costs less memory. It still counts as an open connection.
    fn park(self, parked_connections: &ParkedConnections, open: OpenConnection) {
        let Client {
            connection,
            peer,
            worker,
            ..
        } = self.client;
        drop(self.ticket);
        let now = worker.wheel.now();
        let parked = connection
            .into_stream()
            .and_then(Stream::into_descriptor)
            .map(|stream| Parked {
                stream,
                peer: ParkedPeer::of(peer),
                open,
                served: self.served,
                since: now.checked_sub(PARK_AFTER).unwrap_or(now),
            });
        if let Some(parked) = parked {
            // Fails only if the system is out of memory or watches; the connection is closed then.
            let _ = parked_connections.park(parked);
        }
    }
}

/// Sends the TLS `close_notify` alert, without which TLS clients treat the end as a truncation. Plain sockets are just
/// closed.
fn send_close_notify(client: &mut Client) {
    if !client.connection.is_plain() {
        client.connection.end_sending();
    }
}
