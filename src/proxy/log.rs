//! What a request leaves behind: its line in the access log and its counts. The last phase of every request, also of one that
//! is cut by a stop.

use std::time::Duration;

use super::changes::Changes;
use super::exchange::Exchange;
use super::record::{Record, Retried};
use super::spans::{self, Ended};
use super::{Failure, Peer, Worker, detail};
use crate::clock::{self, Instant};
use crate::message::ReadSoFar;
use crate::telemetry::Label;
use crate::telemetry::access_log::{Client, Entry, Extra, Retry};
use crate::telemetry::metrics::{DurationSample, Timeout};

impl Drop for Exchange<'_> {
    /// An exchange that is dropped early was cut by a stop, and is logged all the same.
    fn drop(&mut self) {
        if !self.record.is_logged && !std::thread::panicking() {
            cut(self);
        }
        let worker = self.request.worker();
        worker.counters.requests_in_flight.down();
        if let Some(notes) = self.changes.as_mut().and_then(|changes| changes.notes.take()) {
            worker.give_back_notes(notes);
        }
    }
}

/// Ends in the middle, because the process or its listener does. A response that has begun must not look whole.
fn cut(exchange: &mut Exchange<'_>) {
    let has_begun = !matches!(exchange.record.ending.status, 0 | 101);
    stopped(&mut exchange.record);
    if has_begun {
        exchange.request.client.connection.reset();
    }
    write(exchange);
}

/// Records how a request has failed. A stream whose connection is aborted by a stop sees its client gone.
pub(super) fn failed(exchange: &mut Exchange<'_>, failure: Failure) {
    let listener = exchange.request.client.peer.listener;
    if failure == Failure::ClientGone && exchange.request.worker().is_cut(listener) {
        stopped(&mut exchange.record);
    } else {
        exchange.record.failed(failure);
    }
}

fn stopped(record: &mut Record<'_>) {
    record.failed(Failure::Stopped);
    if record.ending.status == 0 {
        record.ending.status = Failure::Stopped.status();
    }
}

/// Writes the line and counts.
pub(super) fn write(exchange: &mut Exchange<'_>) {
    exchange.record.is_logged = true;
    let Exchange {
        request,
        body,
        record,
        changes,
        ..
    } = &*exchange;
    let Record {
        beginning,
        attempts,
        ending,
        ..
    } = record;
    let worker = request.worker();
    let now = clock::now();
    worker.wheel.observe(now);
    let latency = now.saturating_duration_since(beginning.started);
    let bytes_received = beginning.head_bytes + body.transfer.moved + record.tunnelled;
    let bytes_sent = request.client.connection.bytes_out - beginning.bytes_out;
    count_routed(worker, record, latency);
    worker.counters.bytes_received.add(bytes_received);
    worker.counters.bytes_sent.add(bytes_sent);
    let retries: Vec<Retry<'_>> = attempts.retried.iter().map(retry).collect();
    let plain = match (ending.failure, &record.detail) {
        (Some(failure), None) => detail::of_failure(failure, request, record.pool),
        _ => None,
    };
    let wall = clock::wall();
    let trace_id = spans::finish(exchange, Ended { now, wall, latency });
    let head = request.head;
    let entry = Entry {
        time: wall,
        client: match request.identity.named {
            Some(address) => Client::Forwarded(address),
            None => Client::Direct(&request.client.peer.label),
        },
        method: Some(head.text(head.method_text)),
        path: Some(head.text(head.path)),
        query: head.query.map(|query| head.text(query)),
        backend: record.backend(),
        status: ending.status,
        latency,
        host: Some(head.text(head.authority)),
        protocol: Some(head.version.as_str()),
        route: record.route.map(|route| &route.label),
        pool: record.pool.map(|pool| &pool.label),
        request_id: Some(request.identity.request_id(head)),
        trace_id,
        attempts: attempts.count,
        bytes_received,
        bytes_sent,
        backend_time: attempts.response_time,
        retries: &retries,
        grpc_status: ending.grpc_status,
        client_cert: subject(&request.client.peer),
        user: changes.as_ref().and_then(Changes::user),
        policy: record.policy.as_deref(),
        error: ending.failure.map(Failure::code).or(ending.code),
        detail: match ending.failure.is_some() || ending.code.is_some() {
            true => record.detail.as_deref().or(plain.as_deref()),
            false => None,
        },
        extra: Extra {
            tls: request.client.peer.tls.as_deref(),
            request: Some(head),
            response: record.response_head.as_deref(),
        },
    };
    worker.log.borrow_mut().push(&entry);
}

fn retry<'a>(retried: &'a Retried<'_>) -> Retry<'a> {
    Retry {
        backend: &retried.member.label,
        reason: retried.reason,
        detail: retried.detail.as_deref(),
    }
}

fn subject(peer: &Peer) -> Option<&Label> {
    peer.certificate.as_ref().map(|certificate| &certificate.subject)
}

/// Counts a request that has ended, also for its route and pool.
#[inline]
fn count_routed(worker: &Worker, record: &Record<'_>, latency: Duration) {
    let status = record.ending.status;
    let duration = count(worker, status, latency, record.timeout());
    if let Some(route) = record.route {
        route.traffic.count(worker.index, status, duration);
    }
    if let Some(pool) = record.pool {
        pool.traffic.count(worker.index, status, duration);
    }
}

/// Counts a request that has ended.
#[inline]
fn count(worker: &Worker, status: u16, latency: Duration, timeout: Option<Timeout>) -> DurationSample {
    let duration = DurationSample::new(latency);
    worker.counters.count_request(status, duration);
    if let Some(timeout) = timeout {
        worker.counters.count_timeout(timeout);
    }
    duration
}

/// A request without a usable head, and what became of it.
pub(super) struct Refused {
    pub(super) failure: Failure,
    pub(super) status: u16,
    pub(super) grpc_status: Option<u32>,
    pub(super) started: Instant,
    /// Bytes of its head.
    pub(super) received: usize,
    /// Bytes of our response.
    pub(super) sent: u64,
    /// The head of our response, if the access log needs it.
    pub(super) response_head: Option<Box<[u8]>>,
}

impl Refused {
    /// One to which nothing was sent.
    pub(super) fn new(failure: Failure, (started, received): (Instant, usize)) -> Self {
        Self {
            failure,
            status: failure.status(),
            grpc_status: None,
            started,
            received,
            sent: 0,
            response_head: None,
        }
    }
}

/// Writes the line of a request without a usable head, and counts it. `read` is what could be read of it.
pub(super) fn log_refused(
    worker: &Worker,
    peer: &Peer,
    refused: &Refused,
    read: &ReadSoFar<'_>,
    detail: Option<&str>,
) {
    let status = refused.status;
    let latency = clock::now().saturating_duration_since(refused.started);
    count(worker, status, latency, refused.failure.timeout());
    worker.counters.bytes_received.add(refused.received as u64);
    worker.counters.bytes_sent.add(refused.sent);
    let entry = Entry {
        time: clock::wall(),
        method: read.method,
        path: read.path,
        latency,
        host: read.host,
        protocol: read.version,
        bytes_received: refused.received as u64,
        bytes_sent: refused.sent,
        grpc_status: refused.grpc_status,
        client_cert: subject(peer),
        error: Some(refused.failure.code()),
        detail,
        extra: Extra {
            tls: peer.tls.as_deref(),
            request: None,
            response: refused.response_head.as_deref(),
        },
        ..Entry::new(status, Client::Direct(&peer.label))
    };
    worker.log.borrow_mut().push(&entry);
}
