//! The request path. Read [`serve_request`] first: it is the whole life of one request. It knows no listener, no admin
//! API and no config file; it works on one immutable snapshot.

mod attempt;
mod client;
mod connect;
mod deadlines;
mod departure;
mod detail;
mod error;
mod forwarded;
mod grpc;
mod headers;
mod listener_policy;
mod local_response;
mod max_forwards;
mod pinned;
mod record;
mod response;
mod settings;
mod snapshot;
mod tried;
mod tunnel;
mod via;
mod websocket;
mod worker;

use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use evenkeel_balance::request::Request;

pub use client::{Certificate, Client, Peer};
pub use departure::HalfClose;
pub use error::Failure;
pub use forwarded::{Identity, TrustedProxies};
pub use headers::write_request;
pub use listener_policy::ListenerPolicy;
pub use local_response::{log_half_head, refuse};
pub use pinned::Pinned;
pub use settings::{ClientTimeouts, Limits};
pub use snapshot::{Snapshot, SnapshotCell, SnapshotHandle};
pub use worker::{Incoming, Worker};

use crate::backend::BackendId;
use crate::head::RequestHead;
use crate::http1::{Encoder, Kind, Malformed};
use crate::message::{Replay, Transfer};
use crate::pool::{Another, BackendConnection, EligibleSet, Member, Pool};
use crate::retry::{self, Cause, ConnectionEvent, Policy};
use crate::strategy::PickContext;
use attempt::{AttemptError, InFlight};
use deadlines::Deadlines;
use departure::Departure;
use listener_policy::Decision;
use max_forwards::MaxForwards;
use record::Record;
use tried::Tried;

/// What happens to the client's connection after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionDisposition {
    /// The next request may come.
    KeepAlive,
    /// No more requests, as the client itself announced: nothing more is received or sent.
    End,
    /// No more requests; what the client still sends is read for a moment, so that the response arrives.
    Close,
    /// The connection is reset, since that is the only sign of an incomplete response.
    Reset,
}

/// A response that was forwarded, perhaps not to its end.
struct Forwarded {
    after: ConnectionDisposition,
    failure: Option<Failure>,
}

/// One request, over all its attempts.
struct Exchange<'a> {
    client: &'a mut Client,
    head: &'a RequestHead,
    snapshot: &'a Snapshot,
    identity: Identity,
    body: RequestBody,
    /// Whether it is a call of gRPC.
    is_grpc: bool,
    deadlines: Deadlines,
    record: Record<'a>,
    /// How long it has waited for responses in earlier attempts: what `timeouts.request` bounds.
    waited: Duration,
    /// Since when only the response of this attempt is missing.
    waiting_since: Option<Instant>,
    in_flight: Option<InFlight<'a>>,
    departure: Departure,
    /// Whether its line was written.
    is_logged: bool,
}

/// The request's body, which may be sent to several backends one after the other.
struct RequestBody {
    transfer: Transfer,
    replay: Replay,
    /// Whether the backend of this attempt has got all of it.
    is_sent: bool,
    /// Whether the backend of this attempt can get no more of it, since later parts went to another backend.
    is_cut: bool,
    /// Whether the client has received 100 (Continue), which must not be sent twice.
    is_continued: bool,
    /// Whether the client got an interim response that belongs to the final one, such as early hints: the response of
    /// another backend would not match it.
    is_hinted: bool,
}

/// A response for which another attempt is made: the client gets it if no other attempt does better.
struct HeldResponse<'a> {
    connection: Box<BackendConnection>,
    member: &'a Member,
    /// Whether the backend had got the whole request when it refused.
    was_sent: bool,
}

/// Why an attempt is a candidate for another one.
#[derive(Clone, Copy)]
struct RetryableFailure {
    cause: Cause,
    /// The reason in the log.
    reason: &'static str,
    was_sent: bool,
    event: Option<ConnectionEvent>,
}

/// Serves one request whose head is complete: finds the pool, tries one backend after the other until one responds, forwards
/// the response, and logs one line whatever happens.
pub async fn serve_request(
    client: &mut Client,
    incoming: &Incoming,
    started: Instant,
) -> ConnectionDisposition {
    let worker = Rc::clone(&client.worker);
    let local = worker.local();
    let head = &incoming.head;
    let snapshot = &*local.snapshot;
    worker.counters.requests_in_flight.up();
    let mut exchange = Exchange::new(client, head, snapshot, started);
    let found = snapshot.route(&exchange.for_routes(started));
    let decision = exchange.client.peer.policy.decision(head, &exchange.identity);
    let max_forwards = MaxForwards::of(head);
    let after = match decision {
        Decision::Serve if max_forwards == MaxForwards::Reached => exchange.respond_as_last().await,
        Decision::Serve => {
            let result = match found.and_then(|(route, pool)| Some((route, local.pool(pool)?))) {
                _ if via::is_loop(head) => Err(Failure::LoopDetected),
                _ if response::is_larger(head.body, snapshot.limits.body) => Err(Failure::BodyTooLarge),
                _ if max_forwards == MaxForwards::Invalid => {
                    Err(Failure::Malformed(Malformed::BadMaxForwards))
                }
                Some((route, (pool, eligible))) => {
                    exchange.record.leads_to(route, pool);
                    exchange.body.replay.keep(pool.settings.retry.replay_limit);
                    exchange.run(pool, eligible).await
                }
                None => Err(Failure::NoRoute),
            };
            match result {
                Ok(forwarded) => exchange.finish(forwarded),
                Err(failure) => exchange.local_response(failure).await,
            }
        }
        Decision::Redirect(port) => exchange.redirect(port).await,
        Decision::Refuse(failure) => exchange.local_response(failure).await,
    };
    exchange.log();
    after
}

impl Drop for Exchange<'_> {
    /// An exchange that is dropped early was cut by a stop, and is logged all the same.
    fn drop(&mut self) {
        if !self.is_logged && !std::thread::panicking() {
            self.cut();
        }
        self.client.worker.counters.requests_in_flight.down();
    }
}

impl<'a> Exchange<'a> {
    fn new(client: &'a mut Client, head: &'a RequestHead, snapshot: &'a Snapshot, started: Instant) -> Self {
        let limits = &snapshot.limits;
        let random = [client.worker.random(), client.worker.random()];
        let is_grpc = grpc::is_call(head);
        let timeout = if is_grpc { grpc::timeout(head) } else { None };
        let deadline = timeout.and_then(|timeout| started.checked_add(timeout));
        let transfer = Transfer::new(
            (head.version, head.body),
            Kind::Request,
            Encoder::for_body(head.body),
            &limits.message,
            limits.body,
        );
        Self {
            identity: Identity::new(&client.peer, &snapshot.trusted_proxies, head, random),
            body: RequestBody {
                transfer,
                replay: Replay::default(),
                is_sent: false,
                is_cut: false,
                is_continued: false,
                is_hinted: false,
            },
            is_grpc,
            deadlines: Deadlines::new(limits.min_body_rate, deadline),
            record: Record::new(started, head.bytes.len(), client.connection.bytes_out),
            waited: Duration::ZERO,
            waiting_since: None,
            in_flight: None,
            departure: Departure::default(),
            is_logged: false,
            client,
            head,
            snapshot,
        }
    }

    /// The request as routes see it. No condition that the config can express reads the listener, the wall clock or the random
    /// bits.
    fn for_routes(&self, started: Instant) -> Request<'a> {
        let peer = &self.client.peer;
        let ip = || peer.ip_address().map(|address| address.ip());
        Request {
            head: self.head,
            client_ip: self.identity.named.or_else(ip),
            is_secure: peer.is_secure,
            listener: 0,
            now: started,
            wall: SystemTime::UNIX_EPOCH,
            random: 0,
        }
    }

    /// Tries one backend after the other.
    async fn run(&mut self, pool: &'a Pool, eligible: &'a EligibleSet) -> Result<Forwarded, Failure> {
        let mut tried = Tried::default();
        let mut held: Option<HeldResponse<'a>> = None;
        let mut failure = match eligible.is_empty() {
            true => Failure::NoBackend,
            // If no backend is tried, all of them have reached their limit of requests.
            false => Failure::BackendsFull,
        };
        let mut next = self
            .pinned_member(pool)
            .or_else(|| eligible.pick(self.request(pool, &[])));
        pool.budget.earn();
        while let Some(member) = next {
            let outcome = self.attempt(pool, member, tried.needs_new_connection()).await;
            let failure_kind = RetryableFailure::of(&outcome);
            tried.add(
                member.backend.id,
                failure_kind.and_then(|failure_kind| failure_kind.event),
            );
            next = failure_kind.and_then(|failure_kind| {
                self.next_attempt(pool, eligible, &mut tried, (failure_kind, member))
            });
            if let (Some(failure_kind), Some(_)) = (failure_kind, &next) {
                self.record.retried(member, failure_kind.reason);
                self.add_waited();
                self.client.worker.counters.retries.increment();
            }
            if failure_kind.is_none() {
                pool.budget.give_back(tried.tokens);
            }
            match outcome {
                Ok(mut connection) if next.is_some() => {
                    connection.connection.stand_back();
                    held = Some(HeldResponse {
                        connection,
                        member,
                        was_sent: self.body.is_sent,
                    });
                }
                Ok(connection) => return self.forward(pool, member, connection).await,
                Err(error) if error.failure.is_clients() => return Err(error.failure),
                Err(error) => failure = error.failure,
            }
        }
        // The response of a backend says more than that others could not be reached.
        match held {
            Some(held) => {
                // Its connection is as it was then, whatever the last attempt has sent elsewhere.
                self.body.is_sent = held.was_sent;
                self.body.is_cut = !held.was_sent;
                self.forward(pool, held.member, held.connection).await
            }
            None => Err(failure),
        }
    }

    /// Records how long the attempt that has ended waited for its response.
    fn add_waited(&mut self) {
        if let Some(since) = self.waiting_since.take() {
            let now = self.client.worker.wheel.now();
            self.waited += now.saturating_duration_since(since);
        }
    }

    /// Decides whether another attempt follows, and at which backend.
    fn next_attempt(
        &self,
        pool: &Pool,
        eligible: &'a EligibleSet,
        tried: &mut Tried,
        (failure_kind, member): (RetryableFailure, &'a Member),
    ) -> Option<&'a Member> {
        let failure = retry::Failure {
            cause: failure_kind.cause,
            is_idempotent: self.head.method.is_idempotent(),
            was_sent: failure_kind.was_sent,
            event: failure_kind.event,
            is_replayable: self.body.replay.is_whole(),
            has_response_begun: self.body.is_hinted,
            attempts: tried.attempts(),
            stale: tried.stale(),
            unprocessed: tried.unprocessed(),
            backends: pool.members.len() as u32,
        };
        if !pool.settings.retry.may_retry(&failure) {
            return None;
        }
        // The last one counts as in flight at its backend until the next attempt begins.
        let may_again = !tried.failed().contains(&member.backend.id);
        let another = Another {
            failed: tried.failed(),
            last: may_again.then_some(member),
            // The end of a connection does not say that a backend cannot, as a refusal does.
            is_backup_last: matches!(
                failure_kind.event,
                Some(ConnectionEvent::Stale | ConnectionEvent::Closing)
            ),
        };
        let next = eligible.pick_another(self.request(pool, tried.this_round()), another)?;
        if Policy::needs_token(&failure) {
            if !pool.budget.take(crate::clock::now()) {
                self.client.worker.counters.retry_budget_exhausted.increment();
                return None;
            }
            tried.tokens += 1;
        }
        Some(next)
    }

    fn request<'t>(&self, pool: &Pool, tried: &'t [BackendId]) -> PickContext<'t> {
        PickContext {
            tried,
            in_flight_limit: pool.settings.in_flight_per_backend,
            key: 0,
            random: self.client.worker.random(),
            now: self.client.worker.wheel.now(),
        }
    }
}

impl RetryableFailure {
    /// What went wrong, if it is something that another backend may do better.
    fn of(outcome: &Result<Box<BackendConnection>, AttemptError>) -> Option<Self> {
        match outcome {
            Ok(connection) => match connection.head.status {
                status @ 502..=504 => {
                    let cause = Cause::Status(status);
                    Some(Self {
                        cause,
                        reason: cause.name(),
                        was_sent: true,
                        event: None,
                    })
                }
                _ => None,
            },
            Err(error) => error.failure.cause().map(|cause| Self {
                cause,
                reason: match error.event {
                    Some(ConnectionEvent::Unconnectable) => error.failure.code(),
                    _ => cause.name(),
                },
                was_sent: !error.nothing_sent,
                event: error.event,
            }),
        }
    }
}
