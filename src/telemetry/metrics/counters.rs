//! The counters of one worker. Each value has one writer, the worker, so that no cache line moves between cores. Readers sum over
//! all workers.

use super::process::ThreadTime;
use super::reasons::NO_GROUP;
use super::{
    Counter, DurationSample, Gauge, HANDSHAKES, HandshakeFailure, Histogram, QueueDrop, RETRY_REASONS,
    Timeout,
};
use crate::telemetry::RejectedRing;

/// The counters of one thread: a worker or the acceptor. Aligned so that two of them never share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerCounters {
    /// The processor time of the threads that count here, one after the other.
    thread: ThreadTime,
    /// Requests that ended, by the first digit of their status.
    requests: [Counter; 5],
    /// From the first byte of a request head to the end of the response.
    pub request_duration: Histogram,
    /// Requests that have started and not ended.
    pub requests_in_flight: Gauge,
    /// Bytes of requests received.
    pub bytes_received: Counter,
    /// Bytes of responses sent.
    pub bytes_sent: Counter,
    /// Client connections that were accepted.
    pub connections_accepted: Counter,
    /// Client connections that have a task.
    pub connections_active: Gauge,
    /// Idle client connections parked to save memory; not counted in `connections_active`.
    pub connections_parked: Gauge,
    /// Client connections that were closed to make room, because the limit was reached.
    pub connections_closed_by_limit: Counter,
    /// Client connections that were closed right after they were accepted.
    pub connections_rejected: Counter,
    retries: [Counter; RETRY_REASONS.len()],
    /// Attempts that ran beside the first of a request.
    pub hedges: Counter,
    /// Retries that were not made because the pool's budget was empty.
    pub retry_budget_exhausted: Counter,
    /// Backend connections established.
    pub backend_connections_opened: Counter,
    /// Attempts that could not connect to their backend.
    pub backend_connections_failed: Counter,
    /// Attempts that reused an idle backend connection.
    pub backend_connections_reused: Counter,
    /// Idle backend connections.
    pub backend_connections_idle: Gauge,
    /// Copies of requests sent to a mirror.
    pub copies_sent: Counter,
    /// Copies of requests that were not sent, because they were too large or too many.
    pub copies_dropped: Counter,
    /// Request heads that were malformed or exceeded a limit.
    pub heads_rejected: Counter,
    /// The last of them and the last malformed responses, for the admin API.
    pub rejected: RejectedRing,
    /// HTTP/2 client connections closed with a connection error.
    pub http2_connection_errors: Counter,
    tls_handshakes: [Counter; HANDSHAKES.len()],
    tls_handshakes_failed: [Counter; HandshakeFailure::ALL.len()],
    /// Client connections closed because they did not send an acceptable PROXY header.
    pub proxy_headers_rejected: Counter,
    timeouts: [Counter; Timeout::ALL.len()],
    /// How long requests waited for a backend, of those that got one.
    pub queue_wait: Histogram,
    queue_drops: [Counter; QueueDrop::ALL.len()],
}

impl WorkerCounters {
    /// Records that the current thread is the one that counts.
    pub fn runs_here(&self) {
        self.thread.begins();
    }

    /// Records that the current thread, which counted here, ends.
    pub fn ends_here(&self) {
        self.thread.ends();
    }

    /// The processor time of the thread in milliseconds. It reads a file: for the control plane only.
    pub fn cpu_millis(&self) -> u64 {
        self.thread.cpu_millis()
    }

    /// Requests that ended.
    pub fn requests_ended(&self) -> u64 {
        self.requests
            .iter()
            .map(Counter::value)
            .fold(0, u64::wrapping_add)
    }

    /// Client connections that are open.
    pub fn open_connections(&self) -> u64 {
        self.connections_active.value() + self.connections_parked.value()
    }

    /// Counts a request that ended with `status`.
    #[inline]
    pub fn count_request(&self, status: u16, duration: DurationSample) {
        if let Some(requests) = self.requests.get(class_of(status)) {
            requests.increment();
        }
        self.request_duration.add(duration);
    }

    /// Requests that ended with a status of this class, 1 to 5.
    pub fn requests(&self, class: u8) -> u64 {
        usize::from(class)
            .checked_sub(1)
            .and_then(|class| self.requests.get(class))
            .map_or(0, Counter::value)
    }

    /// Counts an attempt after the first of a request, for this reason.
    pub fn count_retry(&self, reason: &str) {
        let position = RETRY_REASONS.iter().position(|known| *known == reason);
        if let Some(counter) = self.retries.get(position.unwrap_or(RETRY_REASONS.len() - 1)) {
            counter.increment();
        }
    }

    /// Attempts after the first of a request, for the reason at this position of [`RETRY_REASONS`].
    pub fn retries_for(&self, position: usize) -> u64 {
        self.retries.get(position).map_or(0, Counter::value)
    }

    /// Attempts after the first of a request.
    pub fn retries(&self) -> u64 {
        self.retries.iter().map(Counter::value).fold(0, u64::wrapping_add)
    }

    /// Counts a TLS handshake that succeeded.
    pub fn count_handshake(&self, version: &str, group: Option<&str>) {
        let negotiated = (version, group.unwrap_or(NO_GROUP));
        let position = HANDSHAKES.iter().position(|known| *known == negotiated);
        if let Some(counter) = self.tls_handshakes.get(position.unwrap_or(HANDSHAKES.len() - 1)) {
            counter.increment();
        }
    }

    /// TLS handshakes that succeeded, by their position in [`HANDSHAKES`].
    pub fn handshakes(&self, position: usize) -> u64 {
        self.tls_handshakes.get(position).map_or(0, Counter::value)
    }

    /// Counts a failed TLS handshake.
    pub fn count_handshake_failure(&self, failure: HandshakeFailure) {
        if let Some(counter) = self.tls_handshakes_failed.get(failure as usize) {
            counter.increment();
        }
    }

    /// Failed TLS handshakes with this reason.
    pub fn handshake_failures(&self, failure: HandshakeFailure) -> u64 {
        let counter = self.tls_handshakes_failed.get(failure as usize);
        counter.map_or(0, Counter::value)
    }

    /// Counts a request that had to wait for a backend and did not get one.
    pub fn count_queue_drop(&self, drop: QueueDrop) {
        if let Some(counter) = self.queue_drops.get(drop as usize) {
            counter.increment();
        }
    }

    /// Requests that had to wait for a backend and did not get one, for this reason.
    pub fn queue_drops(&self, drop: QueueDrop) -> u64 {
        self.queue_drops.get(drop as usize).map_or(0, Counter::value)
    }

    /// Counts an expired timeout.
    pub fn count_timeout(&self, timeout: Timeout) {
        if let Some(counter) = self.timeouts.get(timeout as usize) {
            counter.increment();
        }
    }

    /// How often a timeout expired.
    pub fn timeouts(&self, timeout: Timeout) -> u64 {
        self.timeouts.get(timeout as usize).map_or(0, Counter::value)
    }
}

/// The position of the counter of a status, by its first digit. Statuses are 100 to 599; any other number counts as 5xx.
#[inline]
pub(super) fn class_of(status: u16) -> usize {
    match status / 100 {
        class @ 1..=5 => usize::from(class) - 1,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn requests_are_counted_by_the_first_digit_of_their_status() {
        let counters = WorkerCounters::default();
        for status in [101, 200, 204, 308, 404, 499, 503, 0, 600] {
            counters.count_request(status, DurationSample::new(Duration::ZERO));
        }
        assert_eq!(
            [1, 2, 3, 4, 5].map(|class| counters.requests(class)),
            [1, 2, 1, 2, 3]
        );
        assert_eq!(counters.requests(0) + counters.requests(6), 0);
    }

    #[test]
    fn every_timeout_has_its_own_counter() {
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
    fn handshakes_are_counted_by_version_and_group_and_unknown_ones_as_other() {
        let counters = WorkerCounters::default();
        counters.count_handshake("TLSv1.3", Some("X25519MLKEM768"));
        counters.count_handshake("TLSv1.2", None);
        for (version, group) in [
            ("TLSv1.3", Some("new")),
            ("TLSv1.4", Some("x25519")),
            ("TLSv1.3", None),
        ] {
            counters.count_handshake(version, group);
        }
        let counts: Vec<u64> = (0..HANDSHAKES.len())
            .map(|position| counters.handshakes(position))
            .collect();
        assert_eq!(counts, [1, 0, 0, 0, 0, 0, 0, 1, 3]);
    }

    #[test]
    fn retries_are_counted_by_reason_and_unknown_ones_as_other() {
        let counters = WorkerCounters::default();
        for reason in RETRY_REASONS.into_iter().chain(["503", "unheard_of"]) {
            counters.count_retry(reason);
        }
        let of = |name| RETRY_REASONS.iter().position(|reason| *reason == name);
        let counted = |name| counters.retries_for(of(name).unwrap());
        assert_eq!(["connect_failure", "503", "other"].map(counted), [1, 2, 2]);
        assert_eq!(counters.retries(), RETRY_REASONS.len() as u64 + 2);
    }

    #[test]
    fn every_handshake_failure_has_its_own_counter() {
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
}
