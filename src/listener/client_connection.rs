//! The state of one HTTP/1 client connection, and serving its requests until it is idle. Waiting for the first byte of a
//! request is in `connection`.

use std::rc::Rc;
use std::task::Poll;

use super::closing::linger;
use super::eviction::{EvictionQueue, EvictionTicket, WakeTarget};
use crate::clock::{self, Instant, TimerEvent};
use crate::http1::{self, Kind, Malformed};
use crate::message::{self, AwaitedHead, HeadError};
use crate::proxy::{self, Client, ConnectionDisposition, Failure, Incoming};

/// Pipelined requests served before the task yields to other connections. Requests that need no backend would otherwise
/// never yield.
const BATCH: u32 = 16;

/// One client and the state of its connection: what is kept while it is idle.
pub(super) struct ClientConnection {
    pub(super) client: Client,
    /// Its entry in the eviction queue, while it waits.
    pub(super) ticket: Option<EvictionTicket>,
    /// Number of requests served.
    pub(super) served: u64,
    /// Whether it may switch to HTTP/2 by beginning with the HTTP/2 preface.
    pub(super) may_speak_http2: bool,
    /// Whether the timer is set for parking, not for the idle timeout.
    pub(super) is_park_timer: bool,
    /// Whether the empty line that may precede the next request was discarded.
    pub(super) is_empty_line_used: bool,
}

/// Why serving requests ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServeEnd {
    /// No further bytes have arrived: the connection is idle.
    Idle,
    /// The connection must be closed.
    Close,
    /// The client speaks HTTP/2.
    Http2,
}

/// The result of reading a request head.
enum ReadResult {
    Request(Box<Incoming>, Instant),
    /// The client closed without sending anything; there is nothing to log.
    Closed,
    /// The bytes are not a valid request, or it was not complete in time.
    Rejected(Failure, Instant),
}

impl ClientConnection {
    /// Serves requests one after the other, until no further bytes have arrived or the connection ends.
    pub(super) async fn serve_requests(&mut self, waiting: &EvictionQueue) -> ServeEnd {
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
            let disposition = match next {
                ReadResult::Closed => return ServeEnd::Close,
                ReadResult::Rejected(Failure::Malformed(Malformed::Http2Preface), _)
                    if self.may_speak_http2 && self.served == 0 =>
                {
                    return ServeEnd::Http2;
                }
                ReadResult::Rejected(failure, started) => {
                    let received = client.connection.input.unread().len();
                    let disposition = proxy::refuse(client, failure, None, (started, received)).await;
                    if failure == Failure::Evicted {
                        // A new connection needs its descriptor now.
                        return ServeEnd::Close;
                    }
                    disposition
                }
                ReadResult::Request(incoming, started) => {
                    let disposition = proxy::serve_request(client, &incoming, started).await;
                    worker.give_back_head(incoming);
                    disposition
                }
            };
            self.served += 1;
            match disposition {
                ConnectionDisposition::KeepAlive => client.connection.release_buffers(&worker.buffers),
                ConnectionDisposition::End => return ServeEnd::Close,
                ConnectionDisposition::Close => {
                    linger(client).await;
                    return ServeEnd::Close;
                }
                ConnectionDisposition::Reset => {
                    client.connection.reset();
                    return ServeEnd::Close;
                }
            }
            if has_no_request(client, false) {
                return ServeEnd::Idle;
            }
        }
    }

    /// Reads a head of which some bytes have arrived, within `client_header` in all. On a new connection that time began when
    /// the connection was accepted.
    async fn next_request(&mut self, waiting: &EvictionQueue) -> ReadResult {
        let worker = Rc::clone(&self.client.worker);
        let is_new = self.served == 0;
        let client = &mut self.client;
        let ticket = self
            .ticket
            .get_or_insert_with(|| waiting.join(WakeTarget::Timer(client.timer.key()), self.served));
        let started = clock::now();
        worker.wheel.observe(started);
        let local = worker.local();
        if !is_new {
            client.timer.set(local.snapshot.timeouts.header);
        }
        let limit = local.snapshot.limits.requests_per_connection;
        client.is_last_request = limit.is_some_and(|limit| self.served + 1 >= limit);
        let mut incoming = worker.lend_head();
        if std::mem::take(&mut self.is_empty_line_used) {
            incoming.scan.refuse_empty_line();
        }
        let limits = local.snapshot.limits.message;
        drop(local);
        let result = std::future::poll_fn(|context| {
            let awaited = AwaitedHead {
                scan: &mut incoming.scan,
                kind: Kind::Request,
                limits: &limits,
            };
            if let Poll::Ready(result) =
                message::poll_head(context, &mut client.connection, awaited, &worker.buffers)
            {
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
            Ok(Some(())) => ReadResult::Request(incoming, started),
            Ok(None) => {
                worker.give_back_head(incoming);
                ReadResult::Closed
            }
            Err(failure) => {
                worker.give_back_head(incoming);
                ReadResult::Rejected(failure, started)
            }
        }
    }
}

/// Whether the input is empty or holds at most the empty line that some clients send after a body (RFC 9112 §2.2), which
/// does not begin a request unless it is the first.
pub(super) fn has_no_request(client: &Client, is_first: bool) -> bool {
    let unread = client.connection.input.unread();
    unread.is_empty() || !is_first && b"\r\n".starts_with(unread)
}

/// Parses the head of `end` bytes at the front of the input and removes it from there.
fn parse(client: &mut Client, incoming: &mut Incoming, end: usize) -> Result<(), Malformed> {
    let bytes = client.connection.input.unread().get(..end).unwrap_or_default();
    incoming.head.bytes.extend_from_slice(bytes);
    http1::parse_request(&mut incoming.head, &incoming.scan, end)?;
    client.connection.input.consume(end);
    // The next connection that reads finds the buffer in the processor's cache; this one now waits for its backend.
    client.connection.release_buffers(&client.worker.buffers);
    Ok(())
}
