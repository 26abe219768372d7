//! Sends copies of requests to another pool. Nobody waits for them: a copy neither delays its original nor fails it, and what is
//! too much is dropped.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::action::{MARK, Mirror, shadow_host};
use evenkeel_balance::request::Request as View;

use super::connect::Need;
use super::exchange::Exchange;
use super::headers::ForwardedRequest;
use super::in_flight::InFlight;
use super::own_request::{Body, NoResponse, OwnHeader, OwnRequest, OwnResponse, Route};
use super::trace::Trace;
use super::{Plan, SnapshotHandle, Worker, edited, outgoing, pick};
use crate::clock;
use crate::head::{BodyLength, RequestHead};
use crate::message::{HeadWriter, Limits, OutgoingHead as _, OwnName, Target};
use crate::net::{ProxyHeader, ProxyVersion};
use crate::pool::{Member, Pool};
use crate::retry::{AttemptEnd, Cause, Outcome};

/// Maximum number of copies that one worker has in flight; more are dropped.
const IN_FLIGHT_BOUND: usize = 128;
/// The body of a response is read up to this size, so that the connection can be used again; beyond it, the connection is closed.
const RESPONSE_BOUND: usize = 1 << 20;

/// A copy on its way.
struct Copy {
    worker: Rc<Worker>,
    limits: Limits,
    pool: Arc<Pool>,
    member: Arc<Member>,
    introduction: Option<(ProxyVersion, ProxyHeader)>,
    request: OwnRequest,
}

/// Decides whether a request is copied, and sends the copy if the request has no body. A body is copied when the original was
/// sent.
#[inline]
pub(super) fn begin(exchange: &mut Exchange<'_>, plan: &Plan, local: &SnapshotHandle) {
    if let Some((mirror, pool)) = &plan.mirror {
        decide(exchange, (mirror, *pool), local);
    }
}

#[inline(never)]
fn decide(exchange: &mut Exchange<'_>, (mirror, pool): (&Mirror, usize), local: &SnapshotHandle) {
    let view = View {
        random: exchange.request.worker().random(),
        ..exchange.request.view(clock::wall())
    };
    if !mirror.is_chosen(&view) {
        return;
    }
    match exchange.request.head.body {
        BodyLength::None => copy(exchange, pool, None, local),
        _ => {
            if let Some(changes) = &mut exchange.changes {
                changes.mirror = Some(pool);
            }
        }
    }
}

/// Sends the copy of a request with a body, once the attempts at sending the original are over.
#[inline]
pub(super) fn finish(exchange: &mut Exchange<'_>, local: &SnapshotHandle) {
    let waiting = exchange.changes.as_mut();
    let Some(pool) = waiting.and_then(|changes| changes.mirror.take()) else {
        return;
    };
    let body = &exchange.body;
    if body.transfer.is_read() && body.replay.is_whole() {
        copy(exchange, pool, Some(body.replay.bytes()), local);
    } else {
        exchange.request.worker().counters.copies_dropped.increment();
    }
}

fn copy(exchange: &Exchange<'_>, pool: usize, body: Option<Vec<u8>>, local: &SnapshotHandle) {
    let worker = &exchange.request.client.worker;
    let picked = local
        .pool(pool)
        .filter(|_| worker.copies.running() < IN_FLIGHT_BOUND);
    let picked = picked.and_then(|(pool, eligible)| {
        let member = eligible.pick(pick::context(exchange, pool, &[]))?;
        let member = eligible.roster().member(member.backend.id)?;
        Some((pool, member))
    });
    let Some((pool, member)) = picked else {
        worker.counters.copies_dropped.increment();
        return;
    };
    let need = Need::of(&exchange.request, pool);
    let copy = Copy {
        worker: Rc::clone(worker),
        limits: *need.limits,
        introduction: need.introduction,
        pool: Arc::clone(pool),
        member: Arc::clone(member),
        request: request(exchange, (pool, member), body),
    };
    worker.counters.copies_sent.increment();
    worker.copies.spawn(copy.send());
}

/// The copy of a request for this backend: as the original goes on, with another host and a mark.
fn request(exchange: &Exchange<'_>, (pool, member): (&Pool, &Member), body: Option<Vec<u8>>) -> OwnRequest {
    let head = exchange.request.head;
    let address = &member.backend.address;
    let changes = edited::of_request(exchange, address);
    let forwarded = ForwardedRequest {
        head,
        identity: &exchange.request.identity,
        peer: &exchange.request.client.peer,
        backend: address,
        changes: changes.as_ref(),
        forwarding: outgoing::forwarding(pool, &exchange.request),
        trace: exchange.trace.as_deref().map(Trace::of_copy),
    };
    let mut written = Written {
        head,
        request: OwnRequest::default(),
        value: Vec::new(),
        name: b"",
    };
    forwarded.write(&mut written);
    let mut request = written.request;
    let mut authority = Vec::with_capacity(request.authority.len() + 8);
    shadow_host(&request.authority, &mut authority);
    request.authority = authority.into();
    let mark = MARK.0.as_bytes();
    request
        .headers
        .retain(|header| !header.name.eq_ignore_ascii_case(mark));
    request.headers.push(OwnHeader {
        name: mark.into(),
        value: MARK.1.as_bytes().into(),
        is_secret: false,
    });
    request.body = body;
    request
}

impl Copy {
    async fn send(self) {
        let Self {
            worker, pool, member, ..
        } = &self;
        let began = clock::now();
        let Some(_in_flight) = InFlight::begin(Arc::clone(member), worker.index, pool) else {
            worker.counters.copies_dropped.increment();
            return;
        };
        let route = Route {
            worker,
            limits: &self.limits,
            pool,
            member,
            introduction: self.introduction,
        };
        let sending = route.send(&self.request, Body::Discard(RESPONSE_BOUND));
        let sent = clock::timeout(pool.settings.timeouts.request, sending).await;
        let took = clock::now().saturating_duration_since(began);
        let outcome = outcome(member, sent.ok(), took);
        member.observe(&outcome, worker.index, worker.wheel.now());
        member.weigh(&outcome, worker.index);
    }
}

/// How a copy ended; without a result, it timed out.
fn outcome(member: &Member, sent: Option<Result<OwnResponse, NoResponse>>, took: Duration) -> Outcome {
    Outcome {
        backend: member.backend.id,
        end: match sent {
            Some(Ok(response)) => AttemptEnd::Response(response.status),
            Some(Err(error)) => AttemptEnd::Failure(error.cause),
            None => AttemptEnd::Failure(Some(Cause::Timeout)),
        },
        event: None,
        nothing_sent: false,
        was_refused: false,
        is_grpc_unavailable: false,
        was_reused: false,
        connect_time: None,
        total_time: took,
    }
}

/// Takes down the head of a request as it is written for a backend.
struct Written<'a> {
    head: &'a RequestHead,
    request: OwnRequest,
    name: &'static [u8],
    value: Vec<u8>,
}

impl HeadWriter for Written<'_> {
    const HAS_UPGRADE: bool = false;
    const ALLOWS_EMPTY_HOST: bool = false;

    fn request(&mut self, target: &Target<'_>) {
        self.request = OwnRequest {
            method: target.method.into(),
            authority: target.authority.into(),
            path: target.path.into(),
            query: target.query.map(Box::from),
            headers: Vec::with_capacity(self.head.fields.len() + 8),
            body: None,
        };
    }

    fn status(&mut self, _status: u16, _reason: &[u8]) {}

    fn field(&mut self, name: &[u8], value: &[u8], is_never_indexed: bool) {
        self.request.headers.push(OwnHeader {
            name: name.into(),
            value: value.into(),
            is_secret: is_never_indexed,
        });
    }

    fn begin(&mut self, name: OwnName) {
        self.name = name.name;
        self.value.clear();
    }

    fn part(&mut self, part: &[u8]) {
        self.value.extend_from_slice(part);
    }

    fn end(&mut self) {
        // They concern the exchange with the client: a copy has no trailers, and its body is there already.
        if self.name != b"TE" && self.name != b"Expect" {
            let value = std::mem::take(&mut self.value);
            let name = self.name;
            self.field(name, &value, false);
        }
    }

    fn framing(&mut self, _body: BodyLength) {}

    fn connection(&mut self, _option: &'static [u8]) {}

    fn finish(&mut self) {}
}
