//! The attempts of a request: tries one backend after the other until one responds. Each attempt ends in one `Outcome`, which is
//! handed to all who learn from it in one place: see `conclude`.

use std::time::Duration;

use super::attempt::{self, Carried, Ended};
use super::exchange::Exchange;
use super::giving_up::To;
use super::hedge::Hedge;
use super::in_flight::{InFlight, Slot};
use super::route::PoolMatch;
use super::tried::Tried;
use super::{Failure, backoff, learn, pick, sticky, waiting};
use crate::pool::{Another, BackendConnection, EligibleSet, Member};
use crate::retry::{self, Cause, ConnectionEvent, Outcome, Policy};

/// How often a request that was cut is sent again, after it has failed at all backends.
const MAX_RESENT: u32 = 1;

/// The attempts of one request.
pub(super) struct Attempts<'a> {
    to: PoolMatch<'a>,
    tried: Tried,
    carried: Carried<'a>,
    /// A response for which another attempt is made: the client gets it if no other attempt does better.
    held: Option<BackendResponse<'a>>,
    in_flight: Option<Slot<'a>>,
    /// Requests that were cut and sent again to backends that all had failed.
    resent: u32,
    /// For how long the next attempt has to wait.
    wait: Option<Duration>,
}

/// A final response, whose head has arrived.
pub(super) struct BackendResponse<'a> {
    /// The pool as it was when the backend was picked: a reload since then does not change what becomes of its response.
    pub(super) to: PoolMatch<'a>,
    pub(super) member: &'a Member,
    pub(super) connection: Box<BackendConnection>,
    /// Whether the backend had not got the whole request when another one was tried: it can get no more of it.
    pub(super) is_cut: bool,
}

impl<'a> Attempts<'a> {
    /// Those of a request that goes `to` this pool. The request counts as in flight at the backend of its last attempt until
    /// this is dropped.
    #[inline]
    pub(super) fn new(to: PoolMatch<'a>) -> Self {
        to.pool.budget.earn();
        Self {
            to,
            tried: Tried::default(),
            carried: Carried::default(),
            held: None,
            in_flight: None,
            resent: 0,
            wait: None,
        }
    }

    /// Waits for the backend of the first attempt, where none may take the request now.
    ///
    /// # Errors
    /// `failure` if it may not wait, or why the wait has ended.
    #[cold]
    pub(super) async fn wait_first(
        &mut self,
        exchange: &mut Exchange<'a>,
        failure: Failure,
    ) -> Result<Slot<'a>, Failure> {
        let waited = waiting::wait(exchange, self.to, &[], failure).await;
        if let Err(Failure::NoBackend) = waited {
            // Not when it is logged: its pool may have an eligible backend by then.
            exchange.record.detail = Some(self.to.eligible.explain_outage());
        }
        let (to, slot) = waited?;
        self.to = to;
        Ok(slot)
    }

    /// Tries one backend after the other, beginning with `first`.
    ///
    /// # Errors
    /// The failure of the last attempt, if none got a response.
    pub(super) async fn run(
        &mut self,
        exchange: &mut Exchange<'a>,
        first: Slot<'a>,
    ) -> Result<BackendResponse<'a>, Failure> {
        let mut slot = first;
        loop {
            let (to, member) = (self.to, slot.member);
            // One slot after the other, so that a backend never counts one request twice.
            self.in_flight = None;
            if let Some(wait) = self.wait.take() {
                Box::pin(backoff::wait(exchange, wait)).await?;
                self.carried.has_waited(wait);
            }
            self.in_flight = Some(slot.waiting(exchange.request.worker().wheel.now()));
            let is_fresh = self.tried.needs_new_connection();
            let mut hedge = self.hedge(exchange, member);
            let asked = To {
                pool: to.pool,
                picked_from: &to,
                member,
                tried: &self.tried,
            };
            let beside = hedge.as_deref_mut();
            let Ended { outcome, result } =
                attempt::run(exchange, asked, &mut self.carried, is_fresh, beside).await;
            if let Some(hedge) = hedge
                && let Some(winner) = hedge.settle(exchange, &outcome, &mut self.tried)
            {
                self.in_flight = Some(winner.in_flight);
                self.give_back_tokens();
                return result.map(|connection| BackendResponse {
                    to: winner.to,
                    member: winner.member,
                    connection,
                    is_cut: false,
                });
            }
            let next = self.conclude(exchange, member, &outcome, &result);
            let response = |connection, is_cut| BackendResponse {
                to,
                member,
                connection,
                is_cut,
            };
            match (result, next) {
                (Ok(connection), None) => return Ok(response(connection, false)),
                (Ok(mut connection), Some(next)) => {
                    connection.connection.stand_back();
                    self.held = Some(response(connection, !exchange.body.is_sent));
                    slot = next;
                }
                (Err(_), Some(next)) => slot = next,
                (Err(failure), None) if failure.is_clients() => {
                    exchange.place = None;
                    return Err(failure);
                }
                (Err(failure), None) => match self.held_response(exchange) {
                    // The response of a backend says more than that others could not be reached.
                    Some(held) => return Ok(held),
                    None => slot = Box::pin(self.wait_again(exchange, &outcome, failure)).await?,
                },
            }
        }
    }

    /// Waits until a backend may be tried again, where all have failed in a way that a restart explains.
    ///
    /// # Errors
    /// `failure` if it may not wait, or why the wait has ended.
    #[cold]
    async fn wait_again(
        &mut self,
        exchange: &mut Exchange<'a>,
        outcome: &Outcome,
        failure: Failure,
    ) -> Result<Slot<'a>, Failure> {
        self.to = self.current(exchange);
        let (cause, member) = match (outcome.cause(), exchange.record.last_member()) {
            (Some(cause), Some(member)) if self.may_wait(exchange, cause, outcome) => (cause, member),
            _ => {
                // Others may try while this client takes its response.
                exchange.place = None;
                return Err(failure);
            }
        };
        let has_all_failed = self.to.eligible.is_within(self.tried.failed());
        if has_all_failed && cause == Cause::ConnectFailure {
            self.to.pool.queue.refused();
        }
        let detail = exchange.record.detail.take();
        self.carried.next_attempt(exchange.request.worker().wheel.now());
        self.in_flight = None;
        let waited = waiting::wait(exchange, self.to, self.tried.failed(), failure).await;
        // What kept the backend from being reached also says why the wait was in vain.
        exchange.record.detail = exchange.record.detail.take().or(detail);
        let (to, slot) = waited?;
        exchange.record.retried_after_wait(member, cause.name());
        exchange.request.worker().counters.count_retry(cause.name());
        if has_all_failed {
            self.tried.begin_again();
        }
        self.to = to;
        Ok(slot)
    }

    /// Whether the request may wait for a backend after this attempt: no other may be picked, or others wait already because
    /// backends refuse connections, and it can be sent again. One that was cut is sent again once, for a token, since it may be what
    /// the backend has failed of.
    fn may_wait(&mut self, exchange: &mut Exchange<'a>, cause: Cause, outcome: &Outcome) -> bool {
        let pool = self.to.pool;
        let failure = self.failure(exchange, self.to.eligible, outcome, cause);
        if pool.settings.queue.is_none() || !pool.settings.retry.may_wait(&failure) {
            return false;
        }
        let context = pick::context(exchange, pool, self.tried.failed());
        let are_refused = cause == Cause::ConnectFailure && pool.queue.is_occupied();
        if self.to.eligible.pick(context).is_some() && !are_refused {
            return false;
        }
        if failure.was_sent {
            self.resent += 1;
            if self.resent > MAX_RESENT || !pool.budget.take(crate::clock::now()) {
                return false;
            }
            self.tried.tokens += 1;
        }
        true
    }

    /// What may run beside the attempt that begins: only the first attempt has a hedge, also the first after a wait for a backend.
    #[inline]
    fn hedge(&self, exchange: &Exchange<'a>, member: &'a Member) -> Option<Box<Hedge<'a>>> {
        if self.to.pool.settings.retry.hedge.is_none() || self.tried.attempts() > 0 {
            return None;
        }
        Hedge::new(exchange, self.to, member)
    }

    /// Hands the outcome of an attempt to all who learn from it: the log, the counters and the health of the backend, and the
    /// decision on another attempt. Returns the backend of the next attempt, if one follows.
    #[inline]
    fn conclude(
        &mut self,
        exchange: &mut Exchange<'a>,
        member: &'a Member,
        outcome: &Outcome,
        result: &Result<Box<BackendConnection>, Failure>,
    ) -> Option<Slot<'a>> {
        exchange.record.attempt_ended(outcome);
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.end_wait();
        }
        let pool = self.to.pool;
        learn::from(exchange, (pool, member), outcome);
        if outcome.cause().is_none() {
            // No attempt follows, so nobody asks what was tried.
            self.give_back_tokens();
            return None;
        }
        self.tried.add(outcome);
        let next = self.another(exchange, member, outcome, result);
        // Goes back to the budget if the attempt does not follow.
        self.carried.reserved = None;
        next
    }

    /// The request has got its response: gives back the tokens of its retries, and one for an attempt that does not follow.
    #[inline]
    fn give_back_tokens(&mut self) {
        self.to
            .pool
            .budget
            .give_back(std::mem::take(&mut self.tried.tokens));
        self.carried.reserved = None;
    }

    /// The backend of the attempt that follows one which has failed for a cause, if one follows.
    #[cold]
    fn another(
        &mut self,
        exchange: &mut Exchange<'a>,
        member: &'a Member,
        outcome: &Outcome,
        result: &Result<Box<BackendConnection>, Failure>,
    ) -> Option<Slot<'a>> {
        let cause = outcome.cause()?;
        let pool = self.to.pool;
        if let (Cause::Status(503), Ok(response)) = (cause, result)
            && pool.settings.retry.respect_retry_after
            && let Some(time) = backoff::retry_after(response)
        {
            pool.hold_off(member, time, exchange.request.worker().wheel.now());
        }
        let to = self.current(exchange);
        let next = self.next(exchange, to, member, outcome)?;
        self.to = to;
        let reason = match (outcome.event, result) {
            (Some(ConnectionEvent::Unconnectable), Err(failure))
            | (_, Err(failure @ Failure::BackendMarkedDown)) => failure.code(),
            _ => cause.name(),
        };
        exchange.record.retried(member, reason);
        exchange.request.worker().counters.count_retry(reason);
        self.carried.next_attempt(exchange.request.worker().wheel.now());
        Some(next)
    }

    /// The pool as it is now: its backends and the config may have changed since the last pick.
    fn current(&self, exchange: &Exchange<'_>) -> PoolMatch<'a> {
        self.to.current(&exchange.request.worker().local())
    }

    /// Decides whether another attempt follows, and at which backend of the pool as it is now.
    fn next(
        &mut self,
        exchange: &Exchange<'_>,
        to: PoolMatch<'a>,
        last: &'a Member,
        outcome: &Outcome,
    ) -> Option<Slot<'a>> {
        let cause = outcome.cause()?;
        let pool = to.pool;
        let failure = self.failure(exchange, to.eligible, outcome, cause);
        if !pool.settings.retry.may_retry(&failure) {
            return None;
        }
        let tried = &self.tried;
        // The last one counts as in flight at its backend until the next attempt begins.
        let may_again = !tried.failed().contains(&last.backend.id);
        let another = Another {
            failed: tried.failed(),
            last: may_again.then_some(last),
            // The end of a connection does not say that a backend cannot, as a refusal does.
            is_backup_last: matches!(
                outcome.event,
                Some(ConnectionEvent::Stale | ConnectionEvent::Closing)
            ),
            is_reserve_useful: matches!(cause, Cause::ConnectFailure | Cause::Reset),
        };
        let avoided = tried.avoided(to.eligible);
        let context = pick::context(exchange, pool, &avoided);
        let policy = &pool.settings.retry;
        let mut stays_with = self.sticky(exchange, to);
        let mut next = || {
            // Once: its last slot may have gone to another worker.
            let other = stays_with
                .take()
                .or_else(|| to.eligible.pick_another(context, another));
            // All have failed, and the config may ask for more attempts than there are backends.
            let asks_again = matches!(policy.attempts, retry::Attempts::AtMost(_));
            other.or_else(|| asks_again.then(|| pick_again(exchange, to, last)).flatten())
        };
        let worker = exchange.request.worker().index;
        // Another worker may have taken the last slot of the one that was picked.
        let mut slot = None;
        for _ in 0..pick::LOST_SLOTS {
            let member = next()?;
            let same = self.in_flight.take_if(|slot| std::ptr::eq(slot.member, member));
            slot = same.or_else(|| InFlight::begin(member, worker, pool));
            if slot.is_some() {
                break;
            }
        }
        let slot = slot?;
        if Policy::needs_token(&failure) {
            let has_token = match self.carried.reserved.take() {
                Some(reserved) => reserved.spend(),
                None => pool.budget.take(crate::clock::now()),
            };
            if !has_token {
                exchange
                    .request
                    .worker()
                    .counters
                    .retry_budget_exhausted
                    .increment();
                // The response that stands still comes from the backend whose slot was to be used again.
                self.in_flight.get_or_insert(slot);
                return None;
            }
            self.tried.tokens += 1;
        }
        let waits = self.tried.wait_before(slot.member.backend.id, outcome);
        let random = || exchange.request.worker().random();
        self.wait = waits.map(|waits| policy.backoff.wait(waits, random()));
        if self.in_flight.is_none() {
            slot.again();
        }
        Some(slot)
    }

    /// The backend that the client stays with, if the request may go there. It is asked once more when its connection has ended,
    /// which says nothing of the backend: the client would lose what the backend knows of it.
    fn sticky(&self, exchange: &Exchange<'_>, to: PoolMatch<'a>) -> Option<&'a Member> {
        let PoolMatch { pool, eligible, .. } = to;
        let tried = match self.tried.attempts() {
            1 => self.tried.failed(),
            _ => self.tried.this_round(),
        };
        sticky::member(exchange, (pool, eligible), || {
            pick::context(exchange, pool, tried)
        })
    }

    /// The attempt that has failed, as the retry policy sees it.
    fn failure(
        &self,
        exchange: &Exchange<'_>,
        eligible: &EligibleSet,
        outcome: &Outcome,
        cause: Cause,
    ) -> retry::Failure {
        retry::Failure {
            is_idempotent: retry::is_repeatable(exchange.request.head),
            was_sent: !outcome.nothing_sent,
            event: outcome.event,
            is_replayable: exchange.body.replay.is_whole(),
            has_response_begun: self.carried.is_hinted,
            ..self.tried.failure(cause, eligible)
        }
    }

    /// The response that was held, if there is one. Its connection is as it was then, whatever the last attempt has sent
    /// elsewhere.
    fn held_response(&mut self, exchange: &mut Exchange<'_>) -> Option<BackendResponse<'a>> {
        let held = self.held.take()?;
        exchange.body.is_sent = !held.is_cut;
        Some(held)
    }
}

/// Picks a backend although it has failed, another one than the last if there is one.
fn pick_again<'a>(exchange: &Exchange<'_>, to: PoolMatch<'a>, last: &'a Member) -> Option<&'a Member> {
    let another = Another {
        failed: &[],
        last: Some(last),
        is_backup_last: false,
        is_reserve_useful: false,
    };
    let tried = [last.backend.id];
    to.eligible
        .pick_another(pick::context(exchange, to.pool, &tried), another)
}
