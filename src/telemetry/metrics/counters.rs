//! What one worker counts. Each value has one writer, the worker, so that counting is a load, an addition and a store:
//! no locked instruction, no cache line that moves between cores. Whoever reads adds all workers up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::telemetry::RejectedRing;

/// A number that only grows. One thread may write it; any may read it.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(count),
            Ordering::Relaxed,
        );
    }

    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// The count so far.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down and never below zero. One thread may write it; any may read it.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// One more.
    pub fn up(&self) {
        self.set(self.value().saturating_add(1));
    }

    /// One less.
    pub fn down(&self) {
        self.set(self.value().saturating_sub(1));
    }

    /// Exactly `value`.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// What it is now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the duration histogram in microseconds, included; 1 ms to 60 s, two or three to a power of ten.
pub const DURATION_BOUNDS: [u64; 15] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000, 60_000_000,
];

/// Durations by how long they are.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One for each bound and one for what is longer than all; each holds only its own.
    buckets: [Counter; DURATION_BOUNDS.len() + 1],
    /// Sum in microseconds.
    sum: Counter,
}

impl Histogram {
    /// Adds one duration.
    pub fn record(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let slot = DURATION_BOUNDS
            .iter()
            .position(|bound| micros <= *bound)
            .unwrap_or(DURATION_BOUNDS.len());
        if let Some(bucket) = self.buckets.get(slot) {
            bucket.increment();
        }
        self.sum.add(micros);
    }

    /// How many durations are in each bucket, not cumulated, and their sum in microseconds.
    pub fn values(&self) -> ([u64; DURATION_BOUNDS.len() + 1], u64) {
        let mut counts = [0; DURATION_BOUNDS.len() + 1];
        for (count, bucket) in counts.iter_mut().zip(&self.buckets) {
            *count = bucket.value();
        }
        (counts, self.sum.value())
    }
}

/// A timeout that ran out, as in the config's `timeouts:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeout {
    /// A head did not come whole.
    ClientHeader,
    /// An idle client connection was closed.
    ClientIdle,
    /// A backend was not connected to.
    Connect,
    /// An attempt's answer did not begin.
    FirstByte,
    /// A request's answer did not begin, all attempts together.
    Request,
    /// Bytes in the middle of a message neither came nor went.
    Progress,
    /// A two-way stream or a pausing answer was silent.
    StreamIdle,
    /// A tunnel was silent.
    TunnelIdle,
}

impl Timeout {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 8] = [
        Self::ClientHeader,
        Self::ClientIdle,
        Self::Connect,
        Self::FirstByte,
        Self::Request,
        Self::Progress,
        Self::StreamIdle,
        Self::TunnelIdle,
    ];

    /// The key in the config, which is the value of the label `kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientHeader => "client_header",
            Self::ClientIdle => "client_idle",
            Self::Connect => "connect",
            Self::FirstByte => "first_byte",
            Self::Request => "request",
            Self::Progress => "progress",
            Self::StreamIdle => "stream_idle",
            Self::TunnelIdle => "tunnel_idle",
        }
    }
}

/// Why TLS with a client did not come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// It was not done within `client_header`.
    Timeout,
    /// The client went away.
    ClientLeft,
    /// What came is not TLS, plain HTTP for example.
    NotTls,
    /// No version, suite or protocol in common.
    Incompatible,
    /// The client's certificate is missing or not good.
    ClientCertificate,
    /// The client said that it does not like ours.
    RefusedByClient,
    /// The connection had to make room for another one.
    Evicted,
    /// Anything else.
    Other,
}

impl HandshakeFailure {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 8] = [
        Self::Timeout,
        Self::ClientLeft,
        Self::NotTls,
        Self::Incompatible,
        Self::ClientCertificate,
        Self::RefusedByClient,
        Self::Evicted,
        Self::Other,
    ];

    /// The value of the label `reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::ClientLeft => "client_left",
            Self::NotTls => "not_tls",
            Self::Incompatible => "incompatible",
            Self::ClientCertificate => "client_certificate",
            Self::RefusedByClient => "refused_by_client",
            Self::Evicted => "evicted",
            Self::Other => "other",
        }
    }
}

/// Everything that one thread counts: a worker, or the acceptor. Aligned so that two of them never share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerCounters {
    /// Requests that ended, by the first digit of their status.
    requests: [Counter; 5],
    /// From the first byte of a head to the end of the answer.
    pub request_duration: Histogram,
    /// Requests that have begun and not ended.
    pub requests_in_flight: Gauge,
    /// Bytes of request bodies that came in.
    pub bytes_received: Counter,
    /// Bytes of answers' bodies that went out.
    pub bytes_sent: Counter,
    /// Client connections that were accepted.
    pub connections_accepted: Counter,
    /// Client connections that have a task.
    pub connections_active: Gauge,
    /// Client connections that stand where waiting costs less, beside the active ones.
    pub connections_parked: Gauge,
    /// Client connections that were closed to make room, because the limit was reached.
    pub connections_closed_by_limit: Counter,
    /// Client connections that were refused right after they were accepted.
    pub connections_rejected: Counter,
    /// Attempts after the first of a request.
    pub retries: Counter,
    /// Retries that did not take place because the pool's budget was empty.
    pub retry_budget_exhausted: Counter,
    /// Backend connections that were dialled and came about.
    pub backend_connections_opened: Counter,
    /// Attempts that found an idle backend connection.
    pub backend_connections_reused: Counter,
    /// Backend connections that wait for a request.
    pub backend_connections_idle: Gauge,
    /// Heads of requests that could not be parsed or broke a limit.
    pub heads_rejected: Counter,
    /// The last of them, and the last malformed responses, for who wants to see them.
    pub rejected: RejectedRing,
    /// HTTP/2 connections that were ended because of what they sent.
    pub http2_connection_errors: Counter,
    tls_handshakes_failed: [Counter; HandshakeFailure::ALL.len()],
    /// Connections that were closed for want of a PROXY header that counts.
    pub proxy_headers_rejected: Counter,
    timeouts: [Counter; Timeout::ALL.len()],
}

impl WorkerCounters {
    /// Client connections that are open.
    pub fn open_connections(&self) -> u64 {
        self.connections_active.value() + self.connections_parked.value()
    }

    /// Counts a request that ended with `status` after `duration`.
    pub fn count_request(&self, status: u16, duration: Duration) {
        // Statuses are 100 to 599; what is not counts as 5xx.
        let class = usize::from(status / 100)
            .checked_sub(1)
            .and_then(|class| self.requests.get(class));
        if let Some(requests) = class.or(self.requests.last()) {
            requests.increment();
        }
        self.request_duration.record(duration);
    }

    /// Requests that ended with a status from 100 × `class`, `class` being 1 to 5.
    pub fn requests(&self, class: u8) -> u64 {
        usize::from(class)
            .checked_sub(1)
            .and_then(|class| self.requests.get(class))
            .map_or(0, Counter::value)
    }

    /// Counts a connection on which TLS did not come about.
    pub fn count_handshake_failure(&self, failure: HandshakeFailure) {
        if let Some(counter) = self.tls_handshakes_failed.get(failure as usize) {
            counter.increment();
        }
    }

    /// Connections on which TLS did not come about for this reason.
    pub fn handshake_failures(&self, failure: HandshakeFailure) -> u64 {
        let counter = self.tls_handshakes_failed.get(failure as usize);
        counter.map_or(0, Counter::value)
    }

    /// Counts a timeout that ran out.
    pub fn count_timeout(&self, timeout: Timeout) {
        if let Some(counter) = self.timeouts.get(timeout as usize) {
            counter.increment();
        }
    }

    /// How often a timeout ran out.
    pub fn timeouts(&self, timeout: Timeout) -> u64 {
        self.timeouts.get(timeout as usize).map_or(0, Counter::value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_the_first_digit_of_their_status() {
        let counters = WorkerCounters::default();
        for status in [101, 200, 204, 308, 404, 499, 503, 0, 600] {
            counters.count_request(status, Duration::ZERO);
        }
        assert_eq!(
            [1, 2, 3, 4, 5].map(|class| counters.requests(class)),
            [1, 2, 1, 2, 3]
        );
        assert_eq!(counters.requests(0) + counters.requests(6), 0);
    }

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for micros in [0, 1_000, 1_001, 60_000_000, 60_000_001] {
            histogram.record(Duration::from_micros(micros));
        }
        let (counts, sum) = histogram.values();
        assert_eq!((counts[0], counts[1], counts[14], counts[15]), (2, 1, 1, 1));
        assert_eq!(counts.iter().sum::<u64>(), 5);
        assert_eq!(sum, 120_002_002);
    }

    #[test]
    fn every_timeout_has_a_counter_of_its_own() {
        let counters = WorkerCounters::default();
        for (times, timeout) in Timeout::ALL.into_iter().enumerate() {
            for _ in 0..=times {
                counters.count_timeout(timeout);
            }
        }
        assert_eq!(
            Timeout::ALL.map(|timeout| counters.timeouts(timeout)),
            [1, 2, 3, 4, 5, 6, 7, 8]
        );
    }

    #[test]
    fn every_failure_of_a_handshake_has_a_counter_of_its_own() {
        let counters = WorkerCounters::default();
        for (times, failure) in HandshakeFailure::ALL.into_iter().enumerate() {
            for _ in 0..=times {
                counters.count_handshake_failure(failure);
            }
        }
        assert_eq!(
            HandshakeFailure::ALL.map(|failure| counters.handshake_failures(failure)),
            [1, 2, 3, 4, 5, 6, 7, 8]
        );
    }

    #[test]
    fn a_gauge_does_not_fall_below_zero() {
        let gauge = Gauge::default();
        gauge.down();
        gauge.up();
        gauge.up();
        gauge.down();
        assert_eq!(gauge.value(), 1);
    }
}
