//! Hedging: a second attempt at another backend, which begins while the first one still waits for its response. The first good
//! response wins, and the other attempt is canceled: an HTTP/1 connection is closed, a stream of HTTP/2 reset.
//!
//! Only for requests without a body, so that both attempts can send the whole request whenever they want.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::attempt_error::AttemptError;
use super::connect::{Connector, Need};
use super::departure::Phase;
use super::exchange::Exchange;
use super::in_flight::{InFlight, Slot};
use super::response_head::{self, INTERIM_BOUND};
use super::route::PoolMatch;
use super::trace::{Propagated, SpanEnd};
use super::tried::Tried;
use super::{Failure, grpc, learn, outgoing, pick};
use crate::backend::Unanswered;
use crate::clock::{self, Instant, Sleep};
use crate::head::BodyLength;
use crate::message::{Limits, ResponseError};
use crate::pool::{BackendConnection, Member};
use crate::retry::{self, AttemptEnd, HedgeAfter, Outcome};

/// Its reason in the log, of the attempt that was canceled.
const REASON: &str = "hedge";

type Connecting<'a> = Pin<Box<dyn Future<Output = Result<Box<BackendConnection>, AttemptError>> + 'a>>;

/// The second attempt of a request, before and after it begins.
pub(super) struct Hedge<'a> {
    to: PoolMatch<'a>,
    limits: &'a Limits,
    /// The backend of the first attempt.
    first: &'a Member,
    /// When it begins, and after that when it fails.
    timer: Sleep,
    state: State<'a>,
    begun: Option<Begun<'a>>,
    /// How the first attempt has ended, if its response did not win at once.
    first_ended: Option<Result<(), Failure>>,
    /// When the first attempt ended, if this one still ran.
    pub(super) first_ended_at: Option<Instant>,
    /// When the first attempt began.
    began: Instant,
    has_won: bool,
    /// How the first attempt ended that lost, if it did not still run.
    pub(super) loser: Option<Loser>,
}

/// The end of a first attempt that lost.
pub(super) enum Loser {
    /// A response with this status.
    Response(u16),
    Error(AttemptError),
}

/// What is known of it since it began.
struct Begun<'a> {
    member: &'a Member,
    at: Instant,
    /// When it fails, however far it is.
    until: Instant,
    in_flight: Slot<'a>,
    /// Counts its connection while that is new and waits for its first response.
    unanswered: Option<Unanswered<'a>>,
    /// The context of its trace.
    trace: Option<Propagated>,
    /// How it ended, unless it still runs.
    outcome: Option<Outcome>,
}

enum State<'a> {
    /// It is not time yet.
    Early,
    Connecting(Connecting<'a>),
    Sent(Box<BackendConnection>, Sent),
    /// Its response wins.
    Won(Box<BackendConnection>),
    /// It has failed, or never begins.
    Over,
}

/// A request that was sent.
struct Sent {
    /// Bytes that its connection had sent before.
    before: u64,
    interim: usize,
    is_end_proved: bool,
}

/// The first attempt, as far as the second one needs to know it.
pub(super) trait FirstAttempt {
    /// Sends and reads; ready when the head of the final response is complete.
    fn poll(&mut self, exchange: &mut Exchange<'_>, context: &mut Context<'_>) -> Poll<Result<(), Failure>>;

    /// The status of its response.
    fn status(&self) -> u16;

    /// Whether the client has got a part of its response, so that no other one fits.
    fn is_committed(&self) -> bool;
}

/// Which attempt ended the race.
pub(super) enum Raced {
    /// The first one, like this.
    First(Result<(), Failure>),
    /// The second one, with the head of this response; and how the first one had ended, unless it still ran.
    Second(Box<BackendConnection>, Option<Result<(), Failure>>),
}

/// A hedge whose response goes to the client.
pub(super) struct Winner<'a> {
    /// The pool as it was when its backend was picked.
    pub(super) to: PoolMatch<'a>,
    pub(super) member: &'a Member,
    pub(super) in_flight: Slot<'a>,
}

impl<'a> Hedge<'a> {
    /// A hedge for a request whose first attempt begins now; `None` if the pool has none, if the request must not have one, or if
    /// too little is known of how long the backend takes.
    pub(super) fn new(exchange: &Exchange<'a>, to: PoolMatch<'a>, first: &'a Member) -> Option<Box<Self>> {
        let policy = &to.pool.settings.retry;
        let request = &exchange.request;
        let is_allowed = request.head.body == BodyLength::None
            && request.head.upgrade.is_none()
            && request.client.pinned.is_none()
            // Its client stays with one backend.
            && to.pool.sticky.is_none()
            && policy.attempts != retry::Attempts::AtMost(1)
            && retry::is_repeatable(request.head);
        if !is_allowed {
            return None;
        }
        let after = match policy.hedge?.after {
            HedgeAfter::Time(time) => time,
            HedgeAfter::Quantile(percent) => first.hedge_delay(percent, request.worker().wheel.now())?,
        };
        Some(Box::new(Self {
            to,
            limits: &request.snapshot.limits.message,
            first,
            timer: clock::sleep(after),
            state: State::Early,
            begun: None,
            first_ended: None,
            first_ended_at: None,
            began: clock::now(),
            has_won: false,
            loser: None,
        }))
    }

    /// Runs both attempts until one wins or both have failed.
    pub(super) async fn race(&mut self, first: &mut dyn FirstAttempt, exchange: &mut Exchange<'_>) -> Raced {
        poll_fn(|context| self.poll_both(first, exchange, context)).await
    }

    /// Tells all who learn from attempts how this one ended, once the first has ended with `outcome`. Gives it back if it won.
    pub(super) fn settle(
        self,
        exchange: &mut Exchange<'a>,
        outcome: &Outcome,
        tried: &mut Tried,
    ) -> Option<Winner<'a>> {
        let mut begun = self.begun?;
        begun.in_flight.end_wait();
        begun.end_span(exchange);
        let Some(second) = begun.outcome else {
            exchange.record.ran_beside(begun.member, REASON);
            return None;
        };
        learn::from(exchange, (self.to.pool, begun.member), &second);
        if let Some(cause) = second.cause() {
            tried.add(&second);
            exchange.record.ran_beside(begun.member, cause.name());
            return None;
        }
        if !self.has_won {
            exchange.record.ran_beside(begun.member, REASON);
            return None;
        }
        learn::from(exchange, (self.to.pool, self.first), outcome);
        let record = &mut exchange.record;
        record.attempt_ended(&second);
        let reason = outcome.cause().map_or(REASON, retry::Cause::name);
        record.ran_beside(self.first, reason);
        Some(Winner {
            to: self.to,
            member: begun.member,
            in_flight: begun.in_flight,
        })
    }

    fn poll_both(
        &mut self,
        first: &mut dyn FirstAttempt,
        exchange: &mut Exchange<'_>,
        context: &mut Context<'_>,
    ) -> Poll<Raced> {
        if self.first_ended.is_none() {
            match first.poll(exchange, context) {
                Poll::Pending if first.is_committed() => self.state = State::Over,
                Poll::Pending => {}
                Poll::Ready(result) => {
                    let is_final = match &result {
                        Ok(()) => first.status() < 500,
                        Err(failure) => failure.is_clients(),
                    };
                    if is_final || first.is_committed() || !self.is_running() {
                        return Poll::Ready(Raced::First(result));
                    }
                    self.first_ended = Some(result);
                    self.first_ended_at = Some(clock::now());
                }
            }
        }
        if self.first_ended.is_some() && exchange.has_client_left(context, Phase::Waiting) {
            return Poll::Ready(Raced::First(Err(exchange.client_gone())));
        }
        ready!(self.poll(exchange, context));
        match (
            std::mem::replace(&mut self.state, State::Over),
            self.first_ended.take(),
        ) {
            (State::Won(backend), ended) => {
                // Its whole request was sent, whatever the first backend has got of it.
                exchange.body.is_sent = true;
                Poll::Ready(Raced::Second(backend, ended))
            }
            (_, Some(result)) => Poll::Ready(Raced::First(result)),
            (_, None) => Poll::Pending,
        }
    }

    fn is_running(&self) -> bool {
        matches!(self.state, State::Connecting(_) | State::Sent(..))
    }

    /// Ready when it has ended.
    fn poll(&mut self, exchange: &mut Exchange<'_>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if matches!(self.state, State::Won(_) | State::Over) {
                return Poll::Ready(());
            }
            let is_time = Pin::new(&mut self.timer).poll(context).is_ready();
            match &mut self.state {
                State::Early if is_time => self.state = self.begin(exchange),
                State::Early => return Poll::Pending,
                State::Sent(backend, sent) if is_time => {
                    backend.connection.suspect();
                    let error = AttemptError::over(backend, Failure::BackendTimeout, sent.before);
                    self.end(error);
                }
                _ if is_time => self.end(AttemptError::unsent(Failure::BackendTimeout)),
                State::Connecting(connecting) => match ready!(connecting.as_mut().poll(context)) {
                    Ok(backend) => self.send(exchange, backend),
                    Err(error) => self.end(error),
                },
                State::Sent(backend, sent) => match ready!(poll_head(exchange, context, backend, sent)) {
                    Ok(()) => self.respond(exchange),
                    Err(failure) => {
                        let error = AttemptError::over(backend, failure, sent.before);
                        self.end(error);
                    }
                },
                State::Won(_) | State::Over => return Poll::Ready(()),
            }
        }
    }

    /// Picks another of the backends that are eligible now and connects, if the retry budget allows it.
    fn begin(&mut self, exchange: &mut Exchange<'_>) -> State<'a> {
        let worker = Rc::clone(&exchange.request.client.worker);
        self.to = self.to.current(&worker.local());
        let PoolMatch { pool, eligible, .. } = self.to;
        // A copy must not take the slot that a request waits for.
        if pool.queue.is_occupied() {
            return State::Over;
        }
        let tried = [self.first.backend.id];
        let Some(member) = eligible.pick(pick::context(exchange, pool, &tried)) else {
            return State::Over;
        };
        let Some(in_flight) = InFlight::begin(member, worker.index, pool) else {
            return State::Over;
        };
        let at = clock::now();
        if !pool.budget.take(at) {
            worker.counters.retry_budget_exhausted.increment();
            return State::Over;
        }
        worker.counters.hedges.increment();
        let timeouts = &pool.settings.timeouts;
        let usual = timeouts.connect + timeouts.first_byte;
        let bound = pool.settings.retry.per_try_timeout;
        let left = timeouts
            .request
            .saturating_sub(at.saturating_duration_since(self.began));
        let until = at + bound.unwrap_or(usual).min(usual).min(left);
        self.timer.reset(until);
        self.begun = Some(Begun {
            member,
            at,
            until,
            in_flight: in_flight.waiting(worker.wheel.now()),
            unanswered: None,
            trace: exchange.trace.as_deref().map(|trace| trace.next(worker.random())),
            outcome: None,
        });
        let introduction = Need::of(&exchange.request, pool).introduction;
        let limits = self.limits;
        State::Connecting(Box::pin(async move {
            let need = Need {
                worker: &worker,
                limits,
                is_repeatable: true,
                upgrades: false,
                introduction,
            };
            Connector::new(need, pool, member).connect(false).await
        }))
    }

    fn send(&mut self, exchange: &Exchange<'_>, mut backend: Box<BackendConnection>) {
        let Some(begun) = &mut self.begun else { return };
        // As in the first attempt, the time for the response begins once the request is sent.
        let until = clock::now() + self.to.pool.settings.timeouts.first_byte;
        self.timer.reset(until.min(begun.until));
        begun.unanswered = (!backend.is_reused).then(|| begun.member.backend.wait_on_new());
        let before = backend.connection.bytes_out;
        outgoing::put_head(exchange, (self.to.pool, begun.member), &mut backend, begun.trace);
        backend.connection.finish(b"");
        let sent = Sent {
            before,
            interim: 0,
            is_end_proved: true,
        };
        self.state = State::Sent(backend, sent);
    }

    /// The head of its final response is complete.
    fn respond(&mut self, exchange: &Exchange<'_>) {
        let State::Sent(backend, _) = std::mem::replace(&mut self.state, State::Over) else {
            return;
        };
        let status = backend.head.status;
        let is_unavailable = exchange.request.is_grpc && grpc::is_unavailable(&backend);
        self.set_outcome(AttemptEnd::Response(status), |outcome| {
            outcome.was_reused = backend.is_reused;
            outcome.is_grpc_unavailable = is_unavailable;
        });
        if status < 500 && !is_unavailable {
            self.has_won = true;
            self.state = State::Won(backend);
        }
    }

    /// It has failed.
    fn end(&mut self, error: AttemptError) {
        self.state = State::Over;
        self.set_outcome(AttemptEnd::Failure(None), |outcome| error.write(outcome));
    }

    fn set_outcome(&mut self, end: AttemptEnd, change: impl FnOnce(&mut Outcome)) {
        if let Some(begun) = &mut self.begun {
            let mut outcome = Outcome {
                end,
                total_time: clock::now().saturating_duration_since(begun.at),
                ..Outcome::of(begun.member.backend.id)
            };
            change(&mut outcome);
            begun.unanswered = None;
            begun.outcome = Some(outcome);
        }
    }
}

impl<'a> Begun<'a> {
    /// Adds its span to the trace.
    #[inline]
    fn end_span(&self, exchange: &mut Exchange<'a>) {
        if let (Some(trace), Some(own)) = (&mut exchange.trace, self.trace) {
            let ended = self.outcome.as_ref();
            let end = ended.map_or_else(
                || SpanEnd::Canceled(clock::now().saturating_duration_since(self.at)),
                |outcome| SpanEnd::of(outcome, None, outcome.total_time),
            );
            trace.add_hedge(own.context, self.member, (self.at, end));
        }
    }
}

/// Sends the request and reads heads up to that of the final response.
fn poll_head(
    exchange: &Exchange<'_>,
    context: &mut Context<'_>,
    backend: &mut BackendConnection,
    sent: &mut Sent,
) -> Poll<Result<(), Failure>> {
    let request = &exchange.request;
    let buffers = &request.client.worker.buffers;
    // If it fails, the backend may have responded before it closed.
    let _ = backend.connection.poll_flush(context);
    loop {
        let asked = (request.head.method, &request.snapshot.limits.message);
        let read = ready!(response_head::poll(context, backend, asked, buffers));
        read.map_err(|error| match error {
            ResponseError::Malformed(reason) => Failure::MalformedResponse(reason),
            ResponseError::Ended(_) | ResponseError::BrokeOff(_) => Failure::BackendReset,
        })?;
        let head = &mut backend.head;
        sent.is_end_proved &= head.keep_alive;
        head.keep_alive = sent.is_end_proved;
        match head.status {
            101 => return Poll::Ready(Err(Failure::UnexpectedUpgrade)),
            200.. => return Poll::Ready(Ok(())),
            _ => {}
        }
        sent.interim += 1;
        if sent.interim > INTERIM_BOUND {
            return Poll::Ready(Err(Failure::TooManyInterimResponses));
        }
        let end = backend.head_end;
        backend.connection.input.consume(end);
    }
}
