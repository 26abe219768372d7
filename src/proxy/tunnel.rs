//! Forwards bytes both ways after a backend's 101, until both sides have ended or nothing moves for too long. The end of one
//! direction is forwarded and does not end the other.

use std::task::{Context, Poll};

use super::changes::{HeaderChange, HeaderChanges};
use super::deadlines::Deadline;
use super::exchange::Exchange;
use super::headers::{ForwardedResponse, ResponseContext};
use super::logged_response::head_for_log;
use super::{ConnectionDisposition, Failure, Forwarded, detail};
use crate::buffer::Buffers;
use crate::head::BodyLength;
use crate::message::{Connection, Tunnel};
use crate::pool::{BackendConnection, Pool};

/// One direction of a tunnel.
#[derive(Default)]
struct Direction {
    tunnel: Tunnel,
    has_ended: bool,
}

impl Direction {
    /// Moves bytes and forwards the end. An error ends the tunnel.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        source: &mut Connection,
        sink: &mut Connection,
        buffers: &Buffers,
    ) -> Result<(), ()> {
        if self.has_ended {
            return Ok(());
        }
        match self.tunnel.poll(context, source, sink, buffers) {
            Poll::Ready(Ok(())) => {
                self.has_ended = true;
                sink.end_sending();
                Ok(())
            }
            Poll::Ready(Err(_)) => Err(()),
            Poll::Pending => Ok(()),
        }
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
    let (mut up, mut down) = (Direction::default(), Direction::default());
    let bound = pool.settings.timeouts.tunnel_idle;
    let result = std::future::poll_fn(|context| {
        let client = &mut *exchange.request.client;
        let buffers = &client.worker.buffers;
        let backend = &mut backend.connection;
        if down
            .poll(context, backend, &mut client.connection, buffers)
            .is_err()
            || up
                .poll(context, &mut client.connection, backend, buffers)
                .is_err()
        {
            return Poll::Ready(Err(()));
        }
        if up.has_ended && down.has_ended {
            return Poll::Ready(Ok(None));
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
