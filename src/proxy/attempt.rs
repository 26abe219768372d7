//! One attempt: get a connection to one backend, send it the request, and wait for the head of its response. The caller
//! decides whether another attempt follows.

use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::deadlines::Deadline;
use super::departure::Phase;
use super::headers::{ForwardedRequest, ForwardedResponse, ResponseContext};
use super::{Exchange, Failure, websocket};
use crate::head::{BodyLength, Version};
use crate::message::{self, RequestFate, ResponseError, Waiting};
use crate::net::DialError;
use crate::pool::{BackendConnection, Member, Pool};
use crate::retry::ConnectionEvent;

/// Interim responses (1xx) that one exchange may have.
const INTERIM_BOUND: usize = 32;

/// Why an attempt got no response.
#[derive(Debug)]
pub(super) struct AttemptError {
    pub(super) failure: Failure,
    /// Whether the backend cannot have seen any byte of the request.
    pub(super) nothing_sent: bool,
    /// What happened to the connection, if that says nothing about the health of the backend.
    pub(super) event: Option<ConnectionEvent>,
    /// Whether the backend should be probed.
    is_suspicious: bool,
    /// What exactly was wrong, where that is known.
    pub(super) detail: Option<String>,
}

impl AttemptError {
    /// An attempt that sent nothing.
    pub(super) fn unsent(failure: Failure) -> Self {
        Self {
            failure,
            nothing_sent: true,
            event: None,
            is_suspicious: true,
            detail: None,
        }
    }

    /// The same, with what exactly was wrong.
    pub(super) fn because(self, detail: String) -> Self {
        Self {
            detail: Some(detail),
            ..self
        }
    }

    /// An attempt that could not connect.
    pub(super) fn unconnected(error: &DialError) -> Self {
        let ours = match error {
            DialError::NoLocalPort(_) => Failure::NoLocalPort,
            DialError::NoDescriptor(_) => Failure::NoDescriptor,
            _ => return Self::unsent(Failure::ConnectFailed),
        };
        Self {
            failure: ours,
            nothing_sent: true,
            event: Some(ConnectionEvent::Unconnectable),
            is_suspicious: false,
            detail: None,
        }
    }
}

/// Counts a request as in flight at a backend for as long as it lives.
pub(super) struct InFlight<'a>(&'a Member);

impl<'a> InFlight<'a> {
    fn new(member: &'a Member) -> Self {
        member.backend.load.in_flight.0.fetch_add(1, Ordering::Relaxed);
        Self(member)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.backend.load.in_flight.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An attempt in progress.
struct Attempt<'a> {
    pool: &'a Pool,
    backend: Box<BackendConnection>,
    /// Whether writing failed; the backend may have responded before it closed.
    sending_failed: bool,
    interim: usize,
    /// Whether each interim response so far ended where every recipient finds its end. What follows one that announced
    /// a body may be that body, and would pass for a response to somebody else's request.
    is_end_proved: bool,
}

impl<'a> Exchange<'a> {
    /// Sends the request to one backend and waits for the head of its final response.
    pub(super) async fn attempt(
        &mut self,
        pool: &Pool,
        member: &'a Member,
        is_fresh: bool,
    ) -> Result<Box<BackendConnection>, AttemptError> {
        self.in_flight = None;
        self.in_flight = Some(InFlight::new(member));
        self.record.attempts_at(member, self.client.worker.wheel.now());
        member.backend.totals.attempts.fetch_add(1, Ordering::Relaxed);
        let pinned = if is_fresh {
            None
        } else {
            self.take_pinned(pool, member)
        };
        let connected = match pinned {
            Some(pinned) => Ok(pinned),
            None => self.connect(pool, member, is_fresh).await,
        };
        let result = match connected {
            Ok(backend) => self.send(pool, member, backend).await,
            Err(mut error) => {
                self.record.detail = error.detail.take();
                Err(error)
            }
        };
        match &result {
            Ok(_) => self.record.responded(crate::clock::now()),
            Err(error) => record_failure(member, error),
        }
        result
    }

    async fn send(
        &mut self,
        pool: &Pool,
        member: &Member,
        mut backend: Box<BackendConnection>,
    ) -> Result<Box<BackendConnection>, AttemptError> {
        let before = backend.connection.bytes_out;
        let buffers = &self.client.worker.buffers;
        if self.head.upgrade.is_some() && !backend.connection.can_upgrade() {
            return Err(AttemptError::unsent(Failure::UnexpectedUpgrade));
        }
        let request = ForwardedRequest {
            head: self.head,
            identity: &self.identity,
            peer: &self.client.peer,
            backend: &member.backend.address,
        };
        backend
            .connection
            .put_request(&request, self.head.method, buffers);
        let encoder = backend.connection.encoder(self.head.body);
        self.body
            .transfer
            .restart(&mut backend.connection, buffers, &self.body.replay, encoder);
        self.body.is_sent = false;
        self.deadlines.reset();
        let mut attempt = Attempt {
            pool,
            backend,
            sending_failed: false,
            interim: 0,
            is_end_proved: true,
        };
        let is_new = !attempt.backend.is_reused;
        let waiting = is_new.then(|| member.backend.wait_on_new());
        let result = std::future::poll_fn(|context| attempt.poll(self, context)).await;
        drop(waiting);
        let mut backend = attempt.backend;
        match result {
            Ok(()) => Ok(backend),
            Err(failure) => {
                if let Failure::MalformedResponse(reason) = failure {
                    self.explain_answer(reason, &mut backend.connection);
                }
                if failure == Failure::BackendTimeout {
                    backend.connection.suspect();
                }
                Err(AttemptError::over(&mut backend, failure, before))
            }
        }
    }
}

impl AttemptError {
    /// How an attempt failed over a connection that had sent `bytes_before` bytes before it.
    fn over(backend: &mut BackendConnection, failure: Failure, bytes_before: u64) -> Self {
        let is_reused = backend.is_reused;
        let RequestFate {
            is_unprocessed: nothing_sent,
            is_refused: was_refused,
            is_connection_over: is_over,
        } = backend.connection.request_fate(bytes_before);
        let event = match failure {
            Failure::BackendReset if was_refused && is_over => Some(ConnectionEvent::Closing),
            // Where only the stream was reset, the connection was not stale.
            Failure::BackendReset if is_reused && is_over => Some(ConnectionEvent::Stale),
            Failure::BackendReset if nothing_sent => Some(ConnectionEvent::Unprocessed),
            _ => None,
        };
        let is_new_one_closed = event == Some(ConnectionEvent::Unprocessed) && !was_refused;
        Self {
            failure,
            nothing_sent,
            event,
            is_suspicious: event.is_none() || is_new_one_closed,
            detail: None,
        }
    }
}

/// Counts a failed attempt and lets the backend be probed. A reused connection that turned out closed is an event of
/// that connection only, and what this machine lacks is no failure of the backend at all.
fn record_failure(member: &Member, error: &AttemptError) {
    if error.failure.cause().is_none() || error.event == Some(ConnectionEvent::Unconnectable) {
        return;
    }
    member.backend.totals.failures.fetch_add(1, Ordering::Relaxed);
    if error.is_suspicious {
        member.health.request_probe();
    }
}

impl Attempt<'_> {
    /// Sends, reads and checks deadlines in one go; ready when the head of the final response is complete.
    fn poll(&mut self, exchange: &mut Exchange<'_>, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.poll_send(exchange, context)?;
        while let Poll::Ready(is_final) = self.poll_response(exchange, context)? {
            if is_final {
                return Poll::Ready(Ok(()));
            }
        }
        if exchange.client.connection.has_output()
            && let Poll::Ready(Err(_)) = exchange.client.connection.poll_flush(context)
        {
            return Poll::Ready(Err(Failure::ClientGone));
        }
        if exchange.has_client_left(context, Phase::Waiting) {
            return Poll::Ready(Err(exchange.client_gone()));
        }
        let deadline = self.deadline(exchange);
        let progress = match deadline.0 {
            Deadline::ClientBody | Deadline::Call => exchange.body.transfer.moved,
            _ => self.backend.connection.bytes_out,
        };
        exchange
            .deadlines
            .poll(context, &exchange.client.timer, deadline, progress)
            .map(|ended| {
                exchange.explain_wait(ended, deadline.1, self.pool);
                Err(match ended {
                    Deadline::ClientBody | Deadline::Call => Failure::BodyTimeout,
                    Deadline::Client => Failure::DeadlineExceeded,
                    _ => Failure::BackendTimeout,
                })
            })
    }

    fn poll_send(&mut self, exchange: &mut Exchange<'_>, context: &mut Context<'_>) -> Result<(), Failure> {
        if exchange.body.is_sent || self.sending_failed {
            return Ok(());
        }
        match exchange.poll_body(&mut self.backend, context) {
            Poll::Ready(Ok(())) => {
                exchange.body.is_sent = true;
                exchange
                    .departure
                    .request_sent(exchange.client.worker.wheel.now());
                self.backend
                    .connection
                    .release_buffers(&exchange.client.worker.buffers);
            }
            Poll::Ready(Err(None)) => self.sending_failed = true,
            Poll::Ready(Err(Some(failure))) => return Err(failure),
            Poll::Pending => {}
        }
        Ok(())
    }

    /// Reads a head. Returns whether it is the final one.
    fn poll_response(
        &mut self,
        exchange: &mut Exchange<'_>,
        context: &mut Context<'_>,
    ) -> Poll<Result<bool, Failure>> {
        let BackendConnection {
            connection,
            scan,
            head,
            head_end,
            ..
        } = &mut *self.backend;
        let asked = (exchange.head.method, &exchange.snapshot.limits.message);
        let buffers = &exchange.client.worker.buffers;
        *head_end = match ready!(message::poll_response(
            context,
            connection,
            (scan, head),
            asked,
            buffers
        )) {
            Ok(end) => end,
            Err(ResponseError::Malformed(reason)) => {
                return Poll::Ready(Err(Failure::MalformedResponse(reason)));
            }
            Err(ResponseError::Ended(error)) => {
                exchange.explain_reset(error.as_ref());
                return Poll::Ready(Err(Failure::BackendReset));
            }
            Err(ResponseError::BrokeOff(reason)) => {
                exchange.explain_broken_stream(reason);
                return Poll::Ready(Err(Failure::BackendReset));
            }
        };
        self.is_end_proved &= head.keep_alive;
        head.keep_alive = self.is_end_proved;
        let bytes = connection.input.unread();
        if head.status == 101 && exchange.head.upgrade.is_some() && websocket::is_switch(head, bytes) {
            let key = exchange.identity.websocket_key();
            let is_ours = websocket::needs_key(exchange.head);
            return Poll::Ready(match !is_ours || websocket::is_accepted(head, bytes, &key) {
                true => Ok(true),
                false => Err(Failure::WebSocketAccept),
            });
        }
        Poll::Ready(self.take_head(exchange))
    }

    /// Returns whether a complete head is the final one, and forwards it if it is not.
    fn take_head(&mut self, exchange: &mut Exchange<'_>) -> Result<bool, Failure> {
        match self.backend.head.status {
            101 => return Err(Failure::UnexpectedUpgrade),
            200.. => return Ok(true),
            _ => {}
        }
        self.interim += 1;
        if self.interim > INTERIM_BOUND {
            return Err(Failure::TooManyInterimResponses);
        }
        exchange.forward_interim(&mut self.backend);
        Ok(false)
    }

    /// What the attempt waits for, and how long it may.
    fn deadline(&self, exchange: &mut Exchange<'_>) -> (Deadline, Duration) {
        let timeouts = &self.pool.settings.timeouts;
        let body = &exchange.body;
        let awaits_continue =
            exchange.head.expects_continue && !body.is_continued && body.transfer.moved == 0;
        if !body.is_sent && !self.sending_failed {
            match body.transfer.waiting {
                Waiting::ForSink => return (Deadline::BackendTakes, timeouts.progress),
                // A call may pause between its messages, and it may be the backend's turn.
                Waiting::ForSource if exchange.is_grpc => return (Deadline::Call, timeouts.stream_idle),
                Waiting::ForSource if !awaits_continue => return (Deadline::ClientBody, timeouts.progress),
                // The client waits for 100 (Continue), so the backend has to send next.
                Waiting::ForSource => return (Deadline::BackendTakes, timeouts.progress),
            }
        }
        let now = exchange.client.worker.wheel.now();
        exchange.waiting_since.get_or_insert(now);
        let left = timeouts.request.saturating_sub(exchange.waited);
        (Deadline::FirstByte, timeouts.first_byte.min(left))
    }
}

impl Exchange<'_> {
    /// Sends more of the request. The error is `None` if the backend does not accept it, else what the client did wrong.
    pub(super) fn poll_body(
        &mut self,
        backend: &mut BackendConnection,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Option<Failure>>> {
        let client = &mut *self.client;
        let body = &mut self.body;
        body.transfer
            .poll(
                context,
                &mut client.connection,
                &mut backend.connection,
                &client.worker.buffers,
                Some(&mut body.replay),
            )
            .map_err(|error| self.blame_client(&error))
    }

    /// Whether the client left while nothing is read from it: its request is read, or the backend does not take more. Of a
    /// byte stream only what is read tells that.
    pub(super) fn has_client_left(&mut self, context: &mut Context<'_>, phase: Phase) -> bool {
        let is_told = self.body.transfer.is_read() || self.client.connection.reports_departure();
        is_told && self.departure.poll(self.client, context, phase).is_ready()
    }

    /// Forwards a 1xx response, unless the client speaks HTTP/1.0 or has received a 100 before (RFC 9110 §15.2).
    fn forward_interim(&mut self, backend: &mut BackendConnection) {
        let bytes = backend.connection.input.unread();
        let is_continue = backend.head.status == 100;
        let is_wanted = !is_continue || (self.head.expects_continue && !self.body.is_continued);
        self.body.is_continued |= is_continue;
        if is_wanted && self.head.version != Version::Http10 {
            self.body.is_hinted |= !is_continue;
            let context = ResponseContext {
                body: BodyLength::None,
                keep_alive: true,
                version: self.head.version,
                date: b"",
                is_switch: false,
            };
            let response = ForwardedResponse {
                head: &backend.head,
                bytes,
                context,
            };
            let buffers = &self.client.worker.buffers;
            self.client.connection.put_interim(&response, buffers);
        }
        backend.connection.input.consume(backend.head_end);
    }
}
