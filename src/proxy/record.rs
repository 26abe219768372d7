//! What a request leaves behind: its line in the access log and its counts.

use std::time::{Duration, Instant};

use super::{ConnectionDisposition, Exchange, Failure, Forwarded, Peer, Worker};
use crate::clock;
use crate::http1::ReadSoFar;
use crate::pool::{Member, Pool};
use crate::telemetry::Label;
use crate::telemetry::access_log::{Client, Entry, Retry};

/// Collected while a request runs.
pub(super) struct Record<'a> {
    started: Instant,
    head_bytes: u64,
    bytes_out_before: u64,
    /// Bytes that a tunnel took from the client.
    pub(super) tunnelled: u64,
    route: Option<usize>,
    pool: Option<&'a Pool>,
    member: Option<&'a Member>,
    attempts: u32,
    attempt_began: Instant,
    backend_time: Option<Duration>,
    retries: Vec<Retried<'a>>,
    status: u16,
    /// The status of gRPC, where there is one.
    pub(super) grpc_status: Option<u32>,
    failure: Option<Failure>,
    /// What exactly was wrong in the attempt that ended last, or with the request: it is logged beside a failure only.
    pub(super) detail: Option<String>,
    /// Whether the stream of a malformed HTTP/2 request was reset, so that no response can be sent.
    pub(super) was_stream_reset: bool,
}

/// An attempt that was followed by another one.
struct Retried<'a> {
    member: &'a Member,
    reason: &'static str,
    detail: Option<String>,
}

impl<'a> Record<'a> {
    pub(super) fn new(started: Instant, head_bytes: usize, bytes_out_before: u64) -> Self {
        Self {
            started,
            head_bytes: head_bytes as u64,
            bytes_out_before,
            tunnelled: 0,
            route: None,
            pool: None,
            member: None,
            attempts: 0,
            attempt_began: started,
            backend_time: None,
            retries: Vec::new(),
            status: 0,
            grpc_status: None,
            failure: None,
            detail: None,
            was_stream_reset: false,
        }
    }

    pub(super) fn leads_to(&mut self, route: usize, pool: &'a Pool) {
        self.route = Some(route);
        self.pool = Some(pool);
    }

    pub(super) fn attempts_at(&mut self, member: &'a Member, now: Instant) {
        self.attempts += 1;
        self.detail = None;
        self.attempt_began = now;
        self.member = Some(member);
    }

    pub(super) fn responded(&mut self, now: Instant) {
        self.backend_time = Some(now.saturating_duration_since(self.attempt_began));
    }

    pub(super) fn retried(&mut self, member: &'a Member, reason: &'static str) {
        let detail = self.detail.take();
        self.retries.push(Retried {
            member,
            reason,
            detail,
        });
    }

    /// The response that the client gets is this backend's, though perhaps not the last one asked.
    pub(super) fn responded_by(&mut self, member: &'a Member, status: u16) {
        self.member = Some(member);
        self.status = status;
    }

    /// The backend that was asked last.
    pub(super) fn backend(&self) -> Option<&'a Label> {
        self.member.map(|member| &member.label)
    }

    pub(super) fn replied(&mut self, status: u16) {
        self.status = status;
    }

    /// How it failed. A client that left has the status 499, whatever was on its way to it.
    pub(super) fn failed(&mut self, failure: Failure) {
        self.failure = Some(failure);
        if failure.status() == 499 {
            self.status = 499;
            self.grpc_status = None;
        }
    }
}

impl Exchange<'_> {
    /// Takes down how a forwarded response ended.
    pub(super) fn finish(&mut self, forwarded: Forwarded) -> ConnectionDisposition {
        if let Some(failure) = forwarded.failure {
            self.record.failed(failure);
        }
        forwarded.after
    }

    /// Ends in the middle, because the process does. A response that has begun must not look whole.
    pub(super) fn cut(&mut self) {
        self.record.failed(Failure::Stopped);
        match self.record.status {
            0 => self.record.replied(Failure::Stopped.status()),
            101 => {}
            _ => self.client.connection.reset(),
        }
        self.log();
    }

    /// Writes the line and counts.
    pub(super) fn log(&mut self) {
        self.is_logged = true;
        let worker = &self.client.worker;
        let record = &self.record;
        let now = clock::now();
        worker.wheel.observe(now);
        let latency = now.saturating_duration_since(record.started);
        let bytes_received = record.head_bytes + self.body.transfer.moved + record.tunnelled;
        let bytes_sent = self.client.connection.bytes_out - record.bytes_out_before;
        worker.counters.count_request(record.status, latency);
        worker.counters.bytes_received.add(bytes_received);
        worker.counters.bytes_sent.add(bytes_sent);
        if let Some(timeout) = record.failure.and_then(Failure::timeout) {
            worker.counters.count_timeout(timeout);
        }
        let retries: Vec<Retry<'_>> = record
            .retries
            .iter()
            .map(|retried| Retry {
                backend: &retried.member.label,
                reason: retried.reason,
                detail: retried.detail.as_deref(),
            })
            .collect();
        let plain = match (record.failure, &record.detail) {
            (Some(failure), None) => self.plain_detail(failure),
            _ => None,
        };
        let head = self.head;
        let entry = Entry {
            time: clock::wall(),
            client: match self.identity.named {
                Some(address) => Client::Forwarded(address),
                None => Client::Direct(&self.client.peer.label),
            },
            method: Some(head.text(head.method_text)),
            path: Some(head.text(head.path)),
            query: head.query.map(|query| head.text(query)),
            backend: record.member.map(|member| &member.label),
            status: record.status,
            latency,
            host: Some(head.text(head.authority)),
            protocol: Some(head.version.as_str()),
            route: record
                .route
                .and_then(|route| self.snapshot.route_labels.get(route)),
            pool: record.pool.map(|pool| &pool.label),
            request_id: Some(self.identity.request_id(head)),
            attempts: record.attempts,
            bytes_received,
            bytes_sent,
            backend_time: record.backend_time,
            retries: &retries,
            grpc_status: record.grpc_status,
            client_cert: self
                .client
                .peer
                .certificate
                .as_ref()
                .map(|certificate| &certificate.subject),
            error: record.failure.map(Failure::code),
            detail: record.failure.and(record.detail.as_deref().or(plain.as_deref())),
        };
        worker.log.borrow_mut().push(&entry);
    }
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
    worker.counters.count_request(status, latency);
    worker.counters.bytes_received.add(refused.received as u64);
    worker.counters.bytes_sent.add(refused.sent);
    if let Some(timeout) = refused.failure.timeout() {
        worker.counters.count_timeout(timeout);
    }
    let entry = Entry {
        time: clock::wall(),
        client: Client::Direct(&peer.label),
        method: read.method,
        path: read.path,
        query: None,
        backend: None,
        status,
        latency,
        host: read.host,
        protocol: read.version,
        route: None,
        pool: None,
        request_id: None,
        attempts: 0,
        bytes_received: refused.received as u64,
        bytes_sent: refused.sent,
        backend_time: None,
        retries: &[],
        grpc_status: refused.grpc_status,
        client_cert: peer.certificate.as_ref().map(|certificate| &certificate.subject),
        error: Some(refused.failure.code()),
        detail,
    };
    worker.log.borrow_mut().push(&entry);
}
