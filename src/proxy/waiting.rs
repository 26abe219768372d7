//! A request that waits until a backend of its pool may take it. It is woken by the events of the pool's queue, and picks from the
//! backends that are eligible then: health changes and reloads happen while it waits.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::deadlines::Deadline;
use super::exchange::Exchange;
use super::in_flight::Slot;
use super::route::PoolMatch;
use super::{Failure, detail, pick};
use crate::admission::{QueueSettings, Refusal, Turn};
use crate::backend::BackendId;
use crate::clock::{self, Instant, Sleep};
use crate::pool::{EligibleSet, QueuePlace};
use crate::telemetry::metrics::QueueDrop;

/// Time between two requests for a check of the backends while somebody waits for one of them to be up.
const CHECKED_EVERY: Duration = Duration::from_millis(250);

/// Maximum number of backends that are checked more often because somebody waits. Of more, one is up sooner.
const MOST_CHECKED: usize = 4;

/// A slot at a backend that was waited for, and where the pool was found.
pub(super) type Found<'a> = (PoolMatch<'a>, Slot<'a>);

/// Waits for a slot at a backend that has not `failed` before. With `failure` the request fails if it may not wait.
///
/// # Errors
/// Why it fails: it may not wait, or not longer, or its client has left.
pub(super) async fn wait<'a>(
    exchange: &mut Exchange<'a>,
    to: PoolMatch<'a>,
    failed: &[BackendId],
    failure: Failure,
) -> Result<Found<'a>, Failure> {
    let Some(settings) = to.pool.settings.queue else {
        return Err(failure);
    };
    let now = exchange.request.worker().wheel.now();
    exchange.departure.request_waits(now);
    exchange.deadlines.reset();
    let mut waiting = Waiting {
        to,
        failed,
        failure,
        settings,
        place: exchange.place.take(),
        sleep: clock::sleep(settings.timeout),
        check_at: None,
        has_joined: false,
    };
    let found = std::future::poll_fn(|context| waiting.poll(exchange, context)).await;
    exchange.deadlines.reset();
    if let Err(failure) = &found {
        let drop = match failure {
            Failure::QueueFull => QueueDrop::Full,
            Failure::QueueTimeout | Failure::DeadlineExceeded => QueueDrop::Timeout,
            _ if !waiting.has_joined => return found,
            failure if failure.is_clients() => QueueDrop::ClientLeft,
            _ => QueueDrop::Outage,
        };
        exchange.request.worker().counters.count_queue_drop(drop);
        return found;
    }
    exchange.place = waiting.place;
    found
}

/// A request while it waits.
struct Waiting<'w, 'a> {
    to: PoolMatch<'a>,
    failed: &'w [BackendId],
    failure: Failure,
    settings: QueueSettings,
    place: Option<Box<QueuePlace<'a>>>,
    sleep: Sleep,
    /// When a check of the backends is requested next, while none of them is eligible.
    check_at: Option<Instant>,
    has_joined: bool,
}

impl<'a> Waiting<'_, 'a> {
    fn poll(
        &mut self,
        exchange: &mut Exchange<'a>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Found<'a>, Failure>> {
        if !self.has_joined {
            self.join(context)?;
        }
        if let Poll::Ready(found) = self.poll_turn(exchange, context) {
            return Poll::Ready(found);
        }
        if exchange.request.client.connection.has_output()
            && let Poll::Ready(Err(_)) = exchange.request.client.connection.poll_flush(context)
        {
            return Poll::Ready(Err(Failure::ClientGone));
        }
        if exchange.has_waiting_client_left(context) {
            return Poll::Ready(Err(exchange.client_gone()));
        }
        // The wait itself ends by the queue, exactly.
        let bound = self.settings.timeout + Duration::from_secs(1);
        let deadline = (Deadline::Slot, bound);
        let timer = &exchange.request.client.timer;
        exchange.deadlines.poll(context, timer, deadline, 0).map(|ended| {
            let timeouts = &self.to.pool.settings.timeouts;
            exchange.record.detail = detail::of_wait(&exchange.request, (ended, bound), timeouts);
            Err(match ended {
                Deadline::Client => Failure::DeadlineExceeded,
                _ => Failure::QueueTimeout,
            })
        })
    }

    /// Takes a place, or waits again at the one it has.
    fn join(&mut self, context: &Context<'_>) -> Result<(), Failure> {
        let queue = &self.to.pool.queue;
        if let Some(place) = self.place.as_ref().filter(|place| place.is_in(queue)) {
            place.put_back(context.waker());
        } else {
            let joined = queue.join(self.settings, context.waker());
            let place = joined.map_err(|refusal| self.refused(refusal))?;
            self.place = Some(Box::new(place));
        }
        self.has_joined = true;
        Ok(())
    }

    fn poll_turn(
        &mut self,
        exchange: &mut Exchange<'a>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Found<'a>, Failure>> {
        loop {
            let now = clock::now();
            let turn = self.place.as_ref().map(|place| place.turn(context.waker(), now));
            match turn.unwrap_or(Turn::Expired) {
                Turn::Now => {
                    if let Some(found) = self.pick(exchange, now) {
                        let waited = self.place.as_ref().map(|place| place.picked(now));
                        let counters = &exchange.request.worker().counters;
                        counters.queue_wait.record(waited.unwrap_or_default());
                        return Poll::Ready(Ok(found));
                    }
                }
                Turn::Later(until) => {
                    let until = self.request_check(exchange, until, now);
                    self.sleep.reset(until);
                    if Pin::new(&mut self.sleep).poll(context).is_pending() {
                        return Poll::Pending;
                    }
                }
                Turn::Expired => {
                    exchange.record.detail = Some(self.explain_timeout());
                    return Poll::Ready(Err(Failure::QueueTimeout));
                }
                Turn::Refused(refusal) => return Poll::Ready(Err(self.refused(refusal))),
            }
        }
    }

    /// Picks from the backends that are eligible now.
    fn pick(&mut self, exchange: &mut Exchange<'a>, now: Instant) -> Option<Found<'a>> {
        let handle = exchange.request.worker().local();
        let (pool, eligible) = self.to.pool_in(&handle)?;
        // Once all have failed, whoever is back may be asked again.
        let tried = match eligible.is_within(self.failed) {
            true => &[],
            false => self.failed,
        };
        let Some(slot) = pick::slot(exchange, (pool, eligible), tried) else {
            self.check_at = eligible.is_empty().then_some(now);
            // This set may end before the request does, and the next may have its address.
            exchange.named.set(None);
            return None;
        };
        let to = self.to.moved_to(&handle)?;
        let member = to.eligible.roster().member(slot.member.backend.id)?;
        Some((to, slot.moved_to(member, to.pool)))
    }

    /// Lets backends that are down be checked soon, and returns when to look again.
    fn request_check(&mut self, exchange: &Exchange<'_>, until: Instant, now: Instant) -> Instant {
        let Some(check_at) = self.check_at else {
            return until;
        };
        if now < check_at {
            return until.min(check_at);
        }
        let handle = exchange.request.worker().local();
        if let Some((_, eligible)) = self.to.pool_in(&handle) {
            request_checks(eligible);
        }
        let next = now + CHECKED_EVERY;
        self.check_at = Some(next);
        until.min(next)
    }

    /// Says what has ended the wait.
    #[cold]
    fn explain_timeout(&self) -> String {
        let allowed = self.place.as_ref().map(|place| place.allowed());
        match allowed.filter(|allowed| *allowed < self.settings.timeout) {
            Some(allowed) => format!("the pool is overloaded, so the request might wait for {allowed:?}"),
            None => detail::ran_out("queue.timeout", self.settings.timeout),
        }
    }

    fn refused(&self, refusal: Refusal) -> Failure {
        match refusal {
            Refusal::Full => Failure::QueueFull,
            // The request has failed before it came here, or there is no backend to try.
            Refusal::Outage | Refusal::Closed => self.failure,
        }
    }
}

fn request_checks(eligible: &EligibleSet) {
    let members = eligible.roster().members();
    if members.len() <= MOST_CHECKED {
        for member in members {
            member.health.request_probe();
        }
    }
}
