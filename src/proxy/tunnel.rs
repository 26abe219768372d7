//! Forwards bytes both ways after a backend's 101, until both sides have ended or nothing moves for too long. The end of one
//! direction is forwarded and does not end the other.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::changes::{HeaderChange, HeaderChanges};
use super::deadlines::Deadline;
use super::exchange::Exchange;
use super::headers::{ForwardedResponse, ResponseContext};
use super::logged_response::head_for_log;
use super::record::Record;
use super::{Client, ConnectionDisposition, Failure, Forwarded, detail};
use crate::buffer::Buffers;
use crate::clock::{self, TimerEvent};
use crate::head::BodyLength;
use crate::message::{BrokenEnd, Connection, Relayed, Tunnel};
use crate::pool::{BackendConnection, Pool};

/// One direction of a tunnel.
#[derive(Default)]
struct Direction {
    tunnel: Tunnel,
    /// Whether everything was moved and the sink's end was begun, and whether that has left.
    is_ending: bool,
    has_ended: bool,
    /// Whether the sink broke. What it sent before goes on in the other direction.
    is_broken: bool,
}

impl Direction {
    /// Moves bytes and forwards the end.
    ///
    /// # Errors
    /// Nothing more can be read, which ends the tunnel.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        source: &mut Connection,
        sink: &mut Connection,
        buffers: &Buffers,
    ) -> Result<(), ()> {
        if !self.is_ending {
            match self.tunnel.poll(context, source, sink, buffers) {
                Poll::Ready(Ok(())) => {
                    self.is_ending = true;
                    sink.end_sending();
                }
                Poll::Ready(Err(BrokenEnd::Source)) => return Err(()),
                Poll::Ready(Err(BrokenEnd::Sink)) => {
                    (self.is_ending, self.has_ended, self.is_broken) = (true, true, true);
                }
                Poll::Pending => return Ok(()),
            }
        }
        // A sink that has closed needs no end.
        self.has_ended = self.has_ended || !sink.is_ending() || sink.poll_flush(context).is_ready();
        Ok(())
    }
}

/// Both.
#[derive(Default)]
struct Directions {
    up: Direction,
    down: Direction,
}

impl Directions {
    /// Moves what was read already. Ready when all of it was written.
    fn poll_unread(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Connection,
        backend: &mut Connection,
    ) -> Poll<Result<(), ()>> {
        let mut poll = || {
            ready!(self.down.tunnel.poll_unread(context, backend, client))?;
            ready!(client.poll_flush(context))?;
            ready!(self.up.tunnel.poll_unread(context, client, backend))?;
            backend.poll_flush(context)
        };
        poll().map_err(|_: io::Error| ())
    }
}

/// Forwards the 101, then bytes both ways.
pub(super) async fn run(
    exchange: &mut Exchange<'_>,
    (pool, cookie): (&Pool, Option<HeaderChange<'_>>),
    mut backend: Box<BackendConnection>,
) -> Forwarded {
    let changes = cookie.map(HeaderChanges::only);
    let context = ResponseContext {
        body: BodyLength::None,
        keep_alive: true,
        version: exchange.request.head.version,
        date: b"",
        is_switch: true,
    };
    let response = ForwardedResponse {
        changes: changes.as_ref(),
        head: &backend.head,
        bytes: backend.connection.input.unread(),
        context,
    };
    let client = &mut *exchange.request.client;
    client.connection.put_response(&response, &client.worker.buffers);
    exchange.record.response_head = head_for_log(&client.worker, &response);
    backend.connection.input.consume(backend.head_end);
    let bound = pool.settings.timeouts.tunnel_idle;
    let mut directions = Directions::default();
    let result = match relay(exchange, &mut backend, &mut directions, bound).await {
        Some(result) => result,
        None => move_bytes(exchange, &mut backend, &mut directions, bound).await,
    };
    let is_whole = matches!(result, Ok(None));
    if let Ok(Some(ended)) = result {
        exchange.record.detail = detail::of_wait(&exchange.request, (ended, bound), &pool.settings.timeouts);
    }
    Forwarded {
        after: match exchange.request.client.connection.marks_message_ends() {
            // A stream says whether it has ended or broken (RFC 9113 §8.5).
            true if !is_whole => ConnectionDisposition::Reset,
            _ => ConnectionDisposition::Close,
        },
        failure: result.ok().flatten().map(|_| Failure::TunnelIdle),
    }
}

/// Moves the bytes with the tunnels of this worker, where both connections are plain sockets. `None` if that cannot be.
async fn relay(
    exchange: &mut Exchange<'_>,
    backend: &mut BackendConnection,
    directions: &mut Directions,
    bound: Duration,
) -> Option<Result<Option<Deadline>, ()>> {
    let Exchange { request, record, .. } = exchange;
    let Client {
        connection,
        worker,
        timer,
        ..
    } = &mut *request.client;
    let backend = &mut backend.connection;
    if !connection.is_plain() || !backend.is_plain() {
        return None;
    }
    let begin = |context: &mut Context<'_>| Poll::Ready(directions.poll_unread(context, connection, backend));
    if std::future::poll_fn(begin).await != Poll::Ready(Ok(())) {
        return None;
    }
    connection.release_buffers(&worker.buffers);
    backend.release_buffers(&worker.buffers);
    let relayed = Relayed::begin(worker.relays()?, connection, backend)?;
    let relayed = Recorded {
        before: directions.up.tunnel.moved,
        relayed,
        record,
    };
    // The time of the last bytes is a tick old at most.
    let bound = bound.saturating_add(clock::TICK);
    timer.set(bound);
    let result = std::future::poll_fn(|context| {
        if let Poll::Ready(is_whole) = relayed.relayed.poll(context) {
            return Poll::Ready(is_whole.then_some(None).ok_or(()));
        }
        while let Poll::Ready(event) = timer.poll(context) {
            let silent = timer.now().saturating_duration_since(relayed.relayed.moved_at());
            match event {
                TimerEvent::Expired if silent >= bound => return Poll::Ready(Ok(Some(Deadline::Tunnel))),
                // Traffic does not touch the timer.
                TimerEvent::Expired => timer.set(bound.saturating_sub(silent)),
                TimerEvent::Notified => {}
            }
        }
        Poll::Pending
    });
    Some(result.await)
}

/// Takes down what was moved, also for a tunnel that is cut by a stop.
struct Recorded<'a, 'r> {
    /// Bytes of the client that were moved before.
    before: u64,
    relayed: Relayed<'a>,
    record: &'a mut Record<'r>,
}

impl Drop for Recorded<'_, '_> {
    fn drop(&mut self) {
        let [of_client, _] = self.relayed.moved();
        self.record.tunnelled = self.before + of_client;
    }
}

/// Moves the bytes of both directions here.
async fn move_bytes(
    exchange: &mut Exchange<'_>,
    backend: &mut BackendConnection,
    directions: &mut Directions,
    bound: Duration,
) -> Result<Option<Deadline>, ()> {
    let Directions { up, down } = directions;
    let result = std::future::poll_fn(|context| {
        let client = &mut *exchange.request.client;
        let buffers = &client.worker.buffers;
        let backend = &mut backend.connection;
        let was_broken = up.is_broken;
        down.poll(context, backend, &mut client.connection, buffers)?;
        up.poll(context, &mut client.connection, backend, buffers)?;
        if up.is_broken && !was_broken {
            down.poll(context, backend, &mut client.connection, buffers)?;
        }
        if up.has_ended && down.has_ended {
            let is_broken = up.is_broken || down.is_broken;
            return Poll::Ready(if is_broken { Err(()) } else { Ok(None) });
        }
        // Updated continuously, for a tunnel that is cut by a stop.
        exchange.record.tunnelled = up.tunnel.moved;
        let progress = up.tunnel.moved + down.tunnel.moved;
        exchange
            .deadlines
            .poll(context, &client.timer, (Deadline::Tunnel, bound), progress)
            .map(|deadline| Ok(Some(deadline)))
    })
    .await;
    exchange.record.tunnelled = up.tunnel.moved;
    result
}
