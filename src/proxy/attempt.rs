//! One attempt: get a connection to one backend, send it the request, and wait for the head of its response. The caller
//! decides whether another attempt follows.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::attempt_error::AttemptError;
use super::connect::{self, Connector, Need};
use super::deadlines::Deadline;
use super::departure::Phase;
use super::exchange::Exchange;
use super::giving_up::{self, To};
use super::headers::{ForwardedResponse, ResponseContext};
use super::hedge::{FirstAttempt, Hedge, Loser, Raced};
use super::request::Request;
use super::response_head::{self, INTERIM_BOUND};
use super::trace::Trace;
use super::{Failure, detail, grpc, outgoing, pinned, websocket};
use crate::clock::{self, Instant};
use crate::head::{BodyLength, Version};
use crate::message::{self, ResponseError, Waiting};
use crate::pool::{BackendConnection, Member, Pool};
use crate::retry::{AttemptEnd, ConnectionEvent, Outcome, ReservedToken};
use crate::telemetry::metrics::Timeout;

/// An attempt that has ended.
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    /// The connection by which the head of the final response came, or the failure.
    pub(super) result: Result<Box<BackendConnection>, Failure>,
}

/// What the attempts of a request leave to those after them.
#[derive(Debug, Default)]
pub(super) struct Carried<'a> {
    /// How long the request waited for responses in earlier attempts: what `timeouts.request` bounds.
    waited: Duration,
    /// Since when only the response of this attempt is missing.
    waiting_since: Option<Instant>,
    /// Whether the client has received 100 (Continue), which must not be sent twice.
    is_continued: bool,
    /// Whether the client got an interim response that belongs to the final one, such as early hints: the response of
    /// another backend would not match it.
    pub(super) is_hinted: bool,
    /// The token of the next attempt, taken when this one was given up.
    pub(super) reserved: Option<ReservedToken<'a>>,
}

impl Carried<'_> {
    /// Only the response is missing from now on, if not already. Returns what is left of `bound`.
    fn left(&mut self, bound: Duration, now: Instant) -> Duration {
        self.waiting_since.get_or_insert(now);
        bound.saturating_sub(self.waited)
    }

    /// The request waited before it was sent again, which is part of the time that it waits for its response.
    pub(super) fn has_waited(&mut self, time: Duration) {
        self.waited += time;
    }

    /// The attempt has ended, and another one follows.
    pub(super) fn next_attempt(&mut self, now: Instant) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += now.saturating_duration_since(since);
        }
    }
}

/// An attempt in progress.
struct Attempt<'a, 'p> {
    to: To<'a, 'p>,
    /// [`Worker::changes`](super::Worker::changes) when the eligible set was looked at last.
    changes: u64,
    backend: Box<BackendConnection>,
    carried: &'p mut Carried<'a>,
    /// Whether writing failed; the backend may have responded before it closed.
    sending_failed: bool,
    interim: usize,
    /// Whether each interim response so far ended where every recipient finds its end. What follows one that announced
    /// a body may be that body, and would pass for a response to somebody else's request.
    is_end_proved: bool,
}

/// Sends the request to one backend and waits for the head of its final response.
pub(super) async fn run<'a>(
    exchange: &mut Exchange<'a>,
    to: To<'a, '_>,
    carried: &mut Carried<'a>,
    is_fresh: bool,
    mut hedge: Option<&mut Hedge<'a>>,
) -> Ended {
    let To { pool, member, .. } = to;
    let began = exchange.request.worker().wheel.now();
    let bound = pool.settings.retry.per_try_timeout;
    exchange.deadlines.begin_attempt(bound, began);
    exchange.begin_attempt(member);
    let reused = match is_fresh {
        true => None,
        false => reused(exchange, pool, member),
    };
    let connected = match reused {
        Some(reused) => Ok(reused),
        // In a box, because every request has room for this one, and few connect.
        None => Box::pin(new_connection(exchange, (pool, member), is_fresh)).await,
    };
    let mut outcome = Outcome::of(member.backend.id);
    let result = match connected {
        Ok(backend) => {
            outcome.was_reused = backend.is_reused;
            if !backend.is_reused {
                outcome.connect_time = Some(clock::now().saturating_duration_since(began));
            }
            tell_queue(exchange, pool, backend.is_reused);
            send(exchange, to, carried, backend, hedge.as_deref_mut()).await
        }
        Err(mut error) => {
            exchange.record.detail = error.detail.take();
            Err(error)
        }
    };
    let ended_at = hedge.as_ref().and_then(|hedge| hedge.first_ended_at);
    let (now, result) = match result {
        // The hedge has won.
        Ok(other) if other.backend != member.backend.id => {
            match hedge.and_then(|hedge| hedge.loser.take()) {
                Some(Loser::Response(status)) => outcome.end = AttemptEnd::Response(status),
                Some(Loser::Error(error)) => error.write(&mut outcome),
                None => {}
            }
            (clock::now(), Ok(other))
        }
        Ok(backend) => {
            outcome.end = AttemptEnd::Response(backend.head.status);
            outcome.is_grpc_unavailable = exchange.request.is_grpc && grpc::is_unavailable(&backend);
            (clock::now(), Ok(backend))
        }
        Err(error) => {
            error.write(&mut outcome);
            (exchange.request.worker().wheel.now(), Err(error.failure))
        }
    };
    // The time until the hedge ended is not its own.
    outcome.total_time = ended_at.unwrap_or(now).saturating_duration_since(began);
    exchange.end_attempt(&outcome, result.as_ref().err().copied(), ended_at);
    Ended { outcome, result }
}

/// A new connection, or an idle one that has come back since, within the time of the attempt.
#[cold]
async fn new_connection(
    exchange: &Exchange<'_>,
    (pool, member): (&Pool, &Member),
    is_fresh: bool,
) -> Result<Box<BackendConnection>, AttemptError> {
    let connector = Connector::new(Need::of(&exchange.request, pool), pool, member);
    match pool.settings.retry.per_try_timeout {
        None => connector.connect(is_fresh).await,
        Some(bound) => connector.connect_within(bound, is_fresh).await,
    }
}

/// A connection that has carried a request before: the one that the client's is pinned to, or an idle one.
#[inline]
fn reused(exchange: &mut Exchange<'_>, pool: &Pool, member: &Member) -> Option<Box<BackendConnection>> {
    let pinned = pinned::take(&mut exchange.request, pool, member);
    pinned.or_else(|| {
        let is_repeatable = pool.settings.retry.survives_reset(exchange.request.head);
        connect::idle(exchange.request.worker(), (pool, member), is_repeatable)
    })
}

/// Tells those who wait whether the request has a new connection: then its backend takes requests.
#[inline]
fn tell_queue(exchange: &mut Exchange<'_>, pool: &Pool, is_reused: bool) {
    if !is_reused {
        pool.queue.succeeded(&mut exchange.place, pool.settings.queue);
    } else if let Some(place) = &exchange.place {
        place.step_aside();
    }
}

async fn send<'a>(
    exchange: &mut Exchange<'_>,
    to: To<'a, '_>,
    carried: &mut Carried<'a>,
    mut backend: Box<BackendConnection>,
    hedge: Option<&mut Hedge<'_>>,
) -> Result<Box<BackendConnection>, AttemptError> {
    let To { pool, member, .. } = to;
    let before = backend.connection.bytes_out;
    let request = &exchange.request;
    if request.head.upgrade.is_some() && !backend.connection.can_upgrade() {
        return Err(AttemptError::unsent(Failure::UnexpectedUpgrade));
    }
    let trace = exchange.trace.as_deref().and_then(Trace::of_last_attempt);
    outgoing::put_head(exchange, (pool, member), &mut backend, trace);
    let request = &exchange.request;
    exchange
        .body
        .restart(request.head, &mut backend.connection, request.client);
    exchange.deadlines.reset();
    let is_new = !backend.is_reused;
    let mut attempt = Attempt {
        to,
        changes: exchange.request.worker().changes(),
        backend,
        carried,
        sending_failed: false,
        interim: 0,
        is_end_proved: true,
    };
    let waiting = is_new.then(|| member.backend.wait_on_new());
    let result = match hedge {
        None => std::future::poll_fn(|context| attempt.poll(exchange, context)).await,
        Some(hedge) => match Box::pin(hedge.race(&mut attempt, exchange)).await {
            Raced::First(result) => result,
            Raced::Second(response, ended) => {
                hedge.loser = ended.map(|ended| match ended {
                    Ok(()) => Loser::Response(attempt.backend.head.status),
                    Err(failure) => Loser::Error(AttemptError::over(&mut attempt.backend, failure, before)),
                });
                return Ok(response);
            }
        },
    };
    drop(waiting);
    let mut backend = attempt.backend;
    match result {
        Ok(()) => Ok(backend),
        Err(failure) => {
            if let Failure::MalformedResponse(reason) = failure {
                detail::explain_malformed(
                    reason,
                    &mut backend.connection,
                    &exchange.request,
                    &mut exchange.record,
                );
            }
            if matches!(failure, Failure::BackendTimeout | Failure::BackendMarkedDown) {
                backend.connection.suspect();
            }
            let error = AttemptError::over(&mut backend, failure, before);
            if error.event == Some(ConnectionEvent::Stale) && backend.connection.is_sequential() {
                let now = exchange.request.worker().wheel.now();
                member.backend.reuse.closed_after(backend.idle_for, now);
            }
            Err(error)
        }
    }
}

impl Attempt<'_, '_> {
    /// Sends, reads and checks deadlines in one go; ready when the head of the final response is complete.
    fn poll(&mut self, exchange: &mut Exchange<'_>, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.poll_send(exchange, context)?;
        while let Poll::Ready(is_final) = self.poll_response(exchange, context)? {
            if is_final {
                return Poll::Ready(Ok(()));
            }
        }
        if exchange.request.client.connection.has_output()
            && let Poll::Ready(Err(_)) = exchange.request.client.connection.poll_flush(context)
        {
            return Poll::Ready(Err(Failure::ClientGone));
        }
        if exchange.has_client_left(context, Phase::Waiting) {
            return Poll::Ready(Err(exchange.client_gone()));
        }
        let changes = exchange.request.worker().changes();
        if changes != self.changes {
            self.changes = changes;
            self.carried.reserved = giving_up::next_token(exchange, self.to, self.carried.is_hinted);
            if self.carried.reserved.is_some() {
                return Poll::Ready(Err(Failure::BackendMarkedDown));
            }
        }
        let deadline = self.deadline(exchange);
        let progress = match deadline.0 {
            Deadline::ClientBody | Deadline::Call => exchange.body.transfer.moved,
            _ => self.backend.connection.sent(),
        };
        exchange
            .deadlines
            .poll(context, &exchange.request.client.timer, deadline, progress)
            .map(|ended| {
                let bound = match ended {
                    Deadline::Attempt => self.to.pool.settings.retry.per_try_timeout.unwrap_or_default(),
                    _ => deadline.1,
                };
                let timeouts = &self.to.pool.settings.timeouts;
                exchange.record.detail = detail::of_wait(&exchange.request, (ended, bound), timeouts);
                exchange.record.expired = expired(ended, bound < timeouts.first_byte);
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
                    .request_sent(exchange.request.worker().wheel.now());
                self.backend
                    .connection
                    .release_buffers(&exchange.request.worker().buffers);
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
        let request = &exchange.request;
        let asked = (request.head.method, &request.snapshot.limits.message);
        let buffers = &request.worker().buffers;
        match ready!(response_head::poll(context, &mut self.backend, asked, buffers)) {
            Ok(()) => {}
            Err(ResponseError::Malformed(reason)) => {
                return Poll::Ready(Err(Failure::MalformedResponse(reason)));
            }
            Err(ResponseError::Ended(error)) => {
                exchange.record.detail = Some(detail::of_reset(error.as_ref()));
                return Poll::Ready(Err(Failure::BackendReset));
            }
            Err(ResponseError::BrokeOff(reason)) => {
                exchange.record.detail = reason.map(message::explain_break);
                return Poll::Ready(Err(Failure::BackendReset));
            }
        }
        let BackendConnection { connection, head, .. } = &mut *self.backend;
        self.is_end_proved &= head.keep_alive;
        head.keep_alive = self.is_end_proved;
        let bytes = connection.input.unread();
        if head.status == 101 && exchange.request.head.upgrade.is_some() && websocket::is_switch(head, bytes)
        {
            let key = exchange.request.identity.websocket_key();
            let is_ours = websocket::needs_key(exchange.request.head);
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
        forward_interim(&mut exchange.request, &mut self.backend, self.carried);
        Ok(false)
    }

    /// What the attempt waits for, and how long it may.
    fn deadline(&mut self, exchange: &Exchange<'_>) -> (Deadline, Duration) {
        let timeouts = &self.to.pool.settings.timeouts;
        let body = &exchange.body;
        let awaits_continue =
            exchange.request.head.expects_continue && !self.carried.is_continued && body.transfer.moved == 0;
        if !body.is_sent && !self.sending_failed {
            match body.transfer.waiting {
                Waiting::ForSink => return (Deadline::BackendTakes, timeouts.progress),
                // A call may pause between its messages, and it may be the backend's turn.
                Waiting::ForSource if exchange.request.is_grpc => {
                    return (Deadline::Call, timeouts.stream_idle);
                }
                Waiting::ForSource if !awaits_continue => return (Deadline::ClientBody, timeouts.progress),
                // The client waits for 100 (Continue), so the backend has to send next.
                Waiting::ForSource => return (Deadline::BackendTakes, timeouts.progress),
            }
        }
        let now = exchange.request.worker().wheel.now();
        let left = self.carried.left(timeouts.request, now);
        (Deadline::FirstByte, timeouts.first_byte.min(left))
    }
}

impl FirstAttempt for Attempt<'_, '_> {
    fn poll(&mut self, exchange: &mut Exchange<'_>, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.poll(exchange, context)
    }

    fn status(&self) -> u16 {
        self.backend.head.status
    }

    fn is_committed(&self) -> bool {
        self.carried.is_hinted
    }
}

/// The timeout that has expired, if it is another one than that of the failure. `is_shortened`: the time that was left for the whole
/// request was shorter.
fn expired(ended: Deadline, is_shortened: bool) -> Option<Timeout> {
    match ended {
        Deadline::FirstByte if is_shortened => Some(Timeout::Request),
        Deadline::BackendTakes => Some(Timeout::Progress),
        _ => None,
    }
}

/// Forwards a 1xx response, unless the client speaks HTTP/1.0 or has received a 100 before (RFC 9110 §15.2).
fn forward_interim(request: &mut Request<'_>, backend: &mut BackendConnection, carried: &mut Carried<'_>) {
    let bytes = backend.connection.input.unread();
    let is_continue = backend.head.status == 100;
    let is_wanted = !is_continue || (request.head.expects_continue && !carried.is_continued);
    carried.is_continued |= is_continue;
    if is_wanted && request.head.version != Version::Http10 {
        carried.is_hinted |= !is_continue;
        let context = ResponseContext {
            body: BodyLength::None,
            keep_alive: true,
            version: request.head.version,
            date: b"",
            is_switch: false,
        };
        let response = ForwardedResponse {
            changes: None,
            head: &backend.head,
            bytes,
            context,
        };
        let buffers = &request.client.worker.buffers;
        request.client.connection.put_interim(&response, buffers);
    }
    backend.connection.input.consume(backend.head_end);
}
