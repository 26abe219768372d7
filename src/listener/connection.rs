//! The life of one client connection: wait, read a head, serve the request, again. It ends when either side wants it
//! to, when it has to make room, or when nothing more can be understood.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::crew::Open;
use super::waiting::WaitingList;
use crate::clock::{self, Ring};
use crate::http1::{self, HeadError, Kind, Malformed};
use crate::proxy::{self, After, Client, Failure, Incoming, Worker};

/// How long a connection that was idle when a stop began may still bring the request that is on its way.
const DRAIN_GRACE: Duration = Duration::from_secs(1);
/// How long, and how much, is read after the last answer of a connection, so that a client that is still sending can
/// read it: closing at once would reset the connection under it (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 << 10;

/// What waiting for a request came to.
enum Next {
    Request(Incoming, Instant),
    /// Nothing came; there is nothing to log.
    Over,
    /// Something came that is no request.
    Refused(Failure, Instant),
}

/// Serves one client until its connection ends.
#[allow(
    clippy::manual_async_fn,
    reason = "an `async` function keeps what it is given twice, and an idle connection is not much more than this future"
)]
pub(super) fn serve(mut client: Client, waiting: WaitingList, open: Open) -> impl Future<Output = ()> {
    async move {
        client.worker.counters.connections_active.up();
        serve_all(&mut client, &waiting).await;
        client.worker.counters.connections_active.down();
        client.connection.release(&client.worker.buffers);
        drop(open);
    }
}

/// Serves one request after the other.
async fn serve_all(client: &mut Client, waiting: &WaitingList) {
    let worker = Rc::clone(&client.worker);
    let notice = Rc::default();
    let mut served: u64 = 0;
    loop {
        let limit = worker.local().snapshot.limits.requests_per_connection;
        client.is_last_request = limit.is_some_and(|limit| served + 1 >= limit);
        let place = waiting.join(client.alarm.key(), &notice);
        let next = next_request(client, &notice, served == 0).await;
        drop(place);
        let after = match next {
            Next::Over => break,
            Next::Refused(failure, started) => {
                let received = client.connection.input.unread().len();
                let after = proxy::refuse(client, failure, (started, received)).await;
                if failure == Failure::Evicted {
                    // Its descriptor is wanted now.
                    break;
                }
                after
            }
            Next::Request(incoming, started) => {
                let after = proxy::serve_request(client, &incoming, started).await;
                worker.give_back_head(incoming);
                after
            }
        };
        served += 1;
        match after {
            After::KeepOpen => client.connection.rest(&worker.buffers),
            After::End => break,
            After::Close => {
                linger(client).await;
                break;
            }
            After::Reset => {
                client.connection.stream().reset_on_close();
                break;
            }
        }
    }
}

/// Waits for a request: `client_idle` for its first byte (`client_header` on a new connection), then `client_header`
/// in all for the rest of its head.
async fn next_request(client: &mut Client, notice: &Rc<Cell<bool>>, is_first: bool) -> Next {
    let worker = Rc::clone(&client.worker);
    let timeouts = worker.local().snapshot.timeouts;
    client.alarm.set(match worker.is_draining.get() {
        true => DRAIN_GRACE,
        false if is_first => timeouts.header,
        false => timeouts.idle,
    });
    if has_nothing(client, is_first) && !first_byte(client, &worker, notice, is_first).await {
        return Next::Over;
    }
    let started = clock::now();
    worker.wheel.observe(started);
    if !is_first {
        client.alarm.set(timeouts.header);
    }
    let mut incoming = worker.lend_head();
    let limits = worker.local().snapshot.limits.message;
    let result = std::future::poll_fn(|context| {
        let head = (Kind::Request, &limits);
        if let Poll::Ready(result) = http1::poll_head(
            context,
            &mut client.connection,
            &mut incoming.scan,
            head,
            &worker.buffers,
        ) {
            return Poll::Ready(match result {
                Ok(Some(end)) => Ok(Some(end)),
                Ok(None) => Ok(None),
                Err(HeadError::Malformed(reason)) => Err(Failure::Malformed(reason)),
                Err(_) => Err(Failure::ClientGone),
            });
        }
        while let Poll::Ready(ring) = client.alarm.poll(context) {
            match ring {
                Ring::Expired => return Poll::Ready(Err(Failure::HeaderTimeout)),
                Ring::Called if notice.get() => return Poll::Ready(Err(Failure::Evicted)),
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

/// Whether nothing has come, or no more than the empty line that some clients send behind a body (RFC 9112 §2.2), which
/// begins no request unless it is the first.
fn has_nothing(client: &Client, is_first: bool) -> bool {
    let unread = client.connection.input.unread();
    unread.is_empty() || !is_first && b"\r\n".starts_with(unread)
}

/// Waits, without holding memory, until something arrives; `false` when the connection is to end.
async fn first_byte(client: &mut Client, worker: &Worker, notice: &Rc<Cell<bool>>, is_first: bool) -> bool {
    std::future::poll_fn(|context| {
        while let Poll::Ready(result) = client.connection.poll_fill(context, &worker.buffers, 0) {
            let has_more = matches!(result, Ok(1..));
            if !has_more || !has_nothing(client, is_first) {
                return Poll::Ready(has_more);
            }
        }
        while let Poll::Ready(ring) = client.alarm.poll(context) {
            match ring {
                Ring::Expired => return Poll::Ready(false),
                Ring::Called if notice.get() => return Poll::Ready(false),
                // The process is to stop: what is on its way may still come.
                Ring::Called if worker.is_draining.get() => client.alarm.set(DRAIN_GRACE),
                Ring::Called => {}
            }
        }
        Poll::Pending
    })
    .await
}

/// Parses the head of `end` bytes at the front of the input, and takes it from there.
fn parse(client: &mut Client, incoming: &mut Incoming, end: usize) -> Result<(), Malformed> {
    let bytes = client.connection.input.unread().get(..end).unwrap_or_default();
    incoming.head.bytes.extend_from_slice(bytes);
    http1::parse_request(&mut incoming.head, &incoming.scan, end)?;
    client.connection.input.consume(end);
    Ok(())
}

/// Says that no more will be sent, and reads for a moment what the client still sends.
async fn linger(client: &mut Client) {
    let worker = Rc::clone(&client.worker);
    client.connection.stream().shutdown_write();
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
