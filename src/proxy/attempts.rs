//! The attempts of a request: tries one backend after the other until one responds. Each attempt ends in one `Outcome`, which is
//! handed to all who learn from it in one place: see `conclude`.

use super::attempt::{self, Carried, Ended};
use super::exchange::Exchange;
use super::in_flight::InFlight;
use super::route::PoolMatch;
use super::tried::Tried;
use super::{Failure, pick, sticky};
use crate::pool::{Another, BackendConnection, EligibleSet, Member, Pool};
use crate::retry::{self, Cause, ConnectionEvent, Outcome, Policy};

/// The attempts of one request.
pub(super) struct Attempts<'a> {
    pool: &'a Pool,
    eligible: &'a EligibleSet,
    tried: Tried,
    carried: Carried,
    /// A response for which another attempt is made: the client gets it if no other attempt does better.
    held: Option<BackendResponse<'a>>,
    in_flight: Option<InFlight<&'a Member>>,
}

/// A final response, whose head has arrived.
pub(super) struct BackendResponse<'a> {
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
            pool: to.pool,
            eligible: to.eligible,
            tried: Tried::default(),
            carried: Carried::default(),
            held: None,
            in_flight: None,
        }
    }

    /// Tries one backend after the other, beginning with `first`.
    ///
    /// # Errors
    /// The failure of the last attempt, if none got a response.
    pub(super) async fn run(
        &mut self,
        exchange: &mut Exchange<'a>,
        first: &'a Member,
    ) -> Result<BackendResponse<'a>, Failure> {
        let mut member = first;
        loop {
            // One counter after the other, so that a backend never counts one request twice.
            self.in_flight = None;
            let worker = exchange.request.worker();
            let in_flight = InFlight::new(member, worker.index, self.pool.shares_in_flight);
            self.in_flight = Some(in_flight.waiting(worker.wheel.now()));
            let is_fresh = self.tried.needs_new_connection();
            let Ended { outcome, result } =
                attempt::run(exchange, (self.pool, member), &mut self.carried, is_fresh).await;
            let next = self.conclude(exchange, member, &outcome, result.as_ref().err().copied());
            match (result, next) {
                (Ok(connection), None) => {
                    return Ok(BackendResponse {
                        member,
                        connection,
                        is_cut: false,
                    });
                }
                (Ok(mut connection), Some(next)) => {
                    connection.connection.stand_back();
                    self.held = Some(BackendResponse {
                        member,
                        connection,
                        is_cut: !exchange.body.is_sent,
                    });
                    member = next;
                }
                (Err(_), Some(next)) => member = next,
                (Err(failure), None) if failure.is_clients() => return Err(failure),
                // The response of a backend says more than that others could not be reached.
                (Err(failure), None) => return self.held_response(exchange).ok_or(failure),
            }
        }
    }

    /// Hands the outcome of an attempt to all who learn from it: the log, the counters and the health of the backend, and the
    /// decision on another attempt. Returns the backend of the next attempt, if one follows.
    #[inline]
    fn conclude(
        &mut self,
        exchange: &mut Exchange<'a>,
        member: &'a Member,
        outcome: &Outcome,
        failure: Option<Failure>,
    ) -> Option<&'a Member> {
        exchange.record.attempt_ended(outcome);
        let worker = exchange.request.worker();
        member.observe(outcome, worker.index, worker.wheel.now());
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.end_wait();
        }
        self.tried.add(outcome);
        let Some(cause) = outcome.cause() else {
            self.pool.budget.give_back(self.tried.tokens);
            return None;
        };
        let next = self.next(exchange, member, cause, outcome)?;
        let reason = match (outcome.event, failure) {
            (Some(ConnectionEvent::Unconnectable), Some(failure)) => failure.code(),
            _ => cause.name(),
        };
        exchange.record.retried(member, reason);
        self.carried.next_attempt(exchange.request.worker().wheel.now());
        exchange.request.worker().counters.retries.increment();
        Some(next)
    }

    /// Decides whether another attempt follows, and at which backend.
    fn next(
        &mut self,
        exchange: &Exchange<'_>,
        last: &'a Member,
        cause: Cause,
        outcome: &Outcome,
    ) -> Option<&'a Member> {
        let failure = self.failure(exchange, cause, outcome);
        if !self.pool.settings.retry.may_retry(&failure) {
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
        };
        let context = pick::context(exchange, self.pool, tried.this_round());
        let next = self.sticky(exchange);
        let next = next.or_else(|| self.eligible.pick_another(context, another))?;
        if Policy::needs_token(&failure) {
            if !self.pool.budget.take(crate::clock::now()) {
                exchange
                    .request
                    .worker()
                    .counters
                    .retry_budget_exhausted
                    .increment();
                return None;
            }
            self.tried.tokens += 1;
        }
        Some(next)
    }

    /// The backend that the client stays with, if the request may go there. It is asked once more when its connection has ended,
    /// which says nothing of the backend: the client would lose what the backend knows of it.
    fn sticky(&self, exchange: &Exchange<'_>) -> Option<&'a Member> {
        let to = PoolMatch {
            pool: self.pool,
            eligible: self.eligible,
        };
        let tried = match self.tried.attempts() {
            1 => self.tried.failed(),
            _ => self.tried.this_round(),
        };
        sticky::member(exchange, to, || pick::context(exchange, self.pool, tried))
    }

    /// The attempt that has failed, as the retry policy sees it.
    fn failure(&self, exchange: &Exchange<'_>, cause: Cause, outcome: &Outcome) -> retry::Failure {
        retry::Failure {
            cause,
            is_idempotent: exchange.request.head.method.is_idempotent(),
            was_sent: !outcome.nothing_sent,
            event: outcome.event,
            is_replayable: exchange.body.replay.is_whole(),
            has_response_begun: self.carried.is_hinted,
            attempts: self.tried.attempts(),
            stale: self.tried.stale(),
            unprocessed: self.tried.unprocessed(),
            backends: self.eligible.roster().members().len() as u32,
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
