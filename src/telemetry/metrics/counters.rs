//! The counters of one worker. Each value has one writer, the worker, so counting is a load, an addition and a store: no locked
//! instruction, and no cache line that moves between cores. Readers sum over all workers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::telemetry::RejectedRing;

/// A number that only grows. One thread may write it; any may read it.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

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

    /// The current count.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down and never below zero. One thread may write it; any may read it.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds one.
    pub fn up(&self) {
        self.set(self.value().saturating_add(1));
    }

    /// Subtracts one, but not below zero.
    pub fn down(&self) {
        self.set(self.value().saturating_sub(1));
    }

    /// Sets the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The current value.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Inclusive upper bounds of duration histograms in microseconds: 100 µs to 60 s, each at most 1.2 times the one before, so
/// that a percentile is within 10% of the truth. They include the round ones that objectives use.
pub const DURATION_BOUNDS: [u64; 82] = [
    100, 120, 140, 160, 190, 220, 250, 300, 350, 420, 500, 600, 700, 840, 1_000, 1_200, 1_400, 1_600, 1_900,
    2_200, 2_500, 3_000, 3_500, 4_200, 5_000, 6_000, 7_000, 8_400, 10_000, 12_000, 14_000, 16_000, 19_000,
    22_000, 25_000, 30_000, 35_000, 42_000, 50_000, 60_000, 70_000, 84_000, 100_000, 120_000, 140_000,
    160_000, 190_000, 220_000, 250_000, 300_000, 350_000, 420_000, 500_000, 600_000, 700_000, 840_000,
    1_000_000, 1_200_000, 1_400_000, 1_600_000, 1_900_000, 2_200_000, 2_500_000, 3_000_000, 3_500_000,
    4_200_000, 5_000_000, 6_000_000, 7_000_000, 8_400_000, 10_000_000, 12_000_000, 14_000_000, 16_000_000,
    19_000_000, 22_000_000, 25_000_000, 30_000_000, 35_000_000, 42_000_000, 50_000_000, 60_000_000,
];

/// A duration and its bucket, which is looked up once for all histograms that it is added to.
#[derive(Debug, Clone, Copy)]
pub struct DurationSample {
    bucket: usize,
    micros: u64,
}

impl DurationSample {
    /// Looks up the bucket of a duration.
    #[inline]
    pub fn new(duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self {
            bucket: bucket_of(micros),
            micros,
        }
    }
}

/// Durations of an eighth of a doubling share an entry: 2^6 to 2^26 µs cover all bounds.
const FIRST_DOUBLING: u32 = DURATION_BOUNDS[0].ilog2();
#[allow(clippy::indexing_slicing, reason = "it is evaluated by the compiler")]
const LAST_DOUBLING: u32 = DURATION_BOUNDS[DURATION_BOUNDS.len() - 1].ilog2();
const ENTRIES: usize = 8 * (LAST_DOUBLING - FIRST_DOUBLING + 1) as usize;

/// The bucket of the shortest duration of each entry. Those of the others are at most two further on, since a bound is more than an
/// eighth of a doubling after the one before.
static FIRST_BUCKETS: [u8; ENTRIES] = first_buckets();

#[allow(clippy::indexing_slicing, reason = "it is evaluated by the compiler")]
const fn first_buckets() -> [u8; ENTRIES] {
    let mut buckets = [0; ENTRIES];
    let (mut entry, mut bucket) = (0, 0);
    while entry < ENTRIES {
        let shortest = (8 + entry as u64 % 8) << (FIRST_DOUBLING - 3 + entry as u32 / 8);
        while bucket < DURATION_BOUNDS.len() && DURATION_BOUNDS[bucket] < shortest {
            bucket += 1;
        }
        buckets[entry] = bucket as u8;
        entry += 1;
    }
    buckets
}

/// The first bucket whose bound is not below.
#[inline]
fn bucket_of(micros: u64) -> usize {
    if micros <= DURATION_BOUNDS[0] {
        return 0;
    }
    let doubling = micros.ilog2();
    let entry = ((doubling - FIRST_DOUBLING) * 8) as usize + (micros >> (doubling - 3)) as usize - 8;
    let first = FIRST_BUCKETS.get(entry).copied();
    let mut bucket = usize::from(first.unwrap_or(DURATION_BOUNDS.len() as u8));
    while DURATION_BOUNDS.get(bucket).is_some_and(|bound| *bound < micros) {
        bucket += 1;
    }
    bucket
}

/// The position of the counter of a status, by its first digit. Statuses are 100 to 599; any other number counts as 5xx.
#[inline]
pub(super) fn class_of(status: u16) -> usize {
    match status / 100 {
        class @ 1..=5 => usize::from(class) - 1,
        _ => 4,
    }
}

/// A histogram of durations.
#[derive(Debug)]
pub struct Histogram {
    /// One for each bound and one for longer durations; not cumulative.
    buckets: [Counter; DURATION_BOUNDS.len() + 1],
    /// Sum in microseconds.
    sum: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [const { Counter::new() }; DURATION_BOUNDS.len() + 1],
            sum: Counter::new(),
        }
    }
}

impl Histogram {
    /// Adds one duration.
    pub fn record(&self, duration: Duration) {
        self.add(DurationSample::new(duration));
    }

    /// Adds one duration whose bucket is known.
    #[inline]
    pub fn add(&self, sample: DurationSample) {
        if let Some(bucket) = self.buckets.get(sample.bucket) {
            bucket.increment();
        }
        self.sum.add(sample.micros);
    }

    /// The number of durations in each bucket, not cumulative, and their sum in microseconds.
    pub fn values(&self) -> ([u64; DURATION_BOUNDS.len() + 1], u64) {
        let mut counts = [0; DURATION_BOUNDS.len() + 1];
        for (count, bucket) in counts.iter_mut().zip(&self.buckets) {
            *count = bucket.value();
        }
        (counts, self.sum.value())
    }

    /// The values of several histograms together.
    pub fn merged<'a>(histograms: impl Iterator<Item = &'a Self>) -> ([u64; DURATION_BOUNDS.len() + 1], u64) {
        let (mut counts, mut sum) = ([0_u64; DURATION_BOUNDS.len() + 1], 0_u64);
        for histogram in histograms {
            let (more, micros) = histogram.values();
            for (count, more) in counts.iter_mut().zip(more) {
                *count = count.wrapping_add(more);
            }
            sum = sum.wrapping_add(micros);
        }
        (counts, sum)
    }
}

/// An expired timeout, as in the config's `timeouts:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeout {
    /// A request head was not received completely.
    ClientHeader,
    /// An idle client connection was closed.
    ClientIdle,
    /// A connection to a backend was not established.
    Connect,
    /// No response to an attempt began.
    FirstByte,
    /// No response to a request began in all its attempts together.
    Request,
    /// Sending or receiving a message stalled.
    Progress,
    /// A two-way stream or a paused response was silent.
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

/// The reason why a TLS handshake with a client failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// It did not finish within `client_header`.
    Timeout,
    /// The client closed the connection.
    ClientLeft,
    /// The client did not send TLS, but for example plain HTTP.
    NotTls,
    /// No version, suite or protocol in common.
    Incompatible,
    /// The client's certificate is missing or invalid.
    ClientCertificate,
    /// The client rejected our certificate.
    RefusedByClient,
    /// The connection was closed to make room for another one.
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

/// The label of a handshake without a key exchange: a resumed session of TLS 1.2.
const NO_GROUP: &str = "none";

/// The versions and groups that successful handshakes are counted by; the last counts all others.
pub const HANDSHAKES: [(&str, &str); 9] = [
    ("TLSv1.3", "X25519MLKEM768"),
    ("TLSv1.3", "x25519"),
    ("TLSv1.3", "secp256r1"),
    ("TLSv1.3", "secp384r1"),
    ("TLSv1.2", "x25519"),
    ("TLSv1.2", "secp256r1"),
    ("TLSv1.2", "secp384r1"),
    ("TLSv1.2", NO_GROUP),
    ("other", "other"),
];

/// Why a request that had to wait for a backend did not get one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueDrop {
    /// The queue was full.
    Full,
    /// It waited as long as it may.
    Timeout,
    /// Its client left while it waited.
    ClientLeft,
    /// The wait became pointless: no backend was usable for too long, or the pool was removed.
    Outage,
}

impl QueueDrop {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 4] = [Self::Full, Self::Timeout, Self::ClientLeft, Self::Outage];

    /// The value of the label `reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Timeout => "timeout",
            Self::ClientLeft => "client_left",
            Self::Outage => "outage",
        }
    }
}

/// The counters of one thread: a worker or the acceptor. Aligned so that two of them never share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerCounters {
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
    /// Attempts after the first of a request.
    pub retries: Counter,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_in_the_first_bucket_whose_bound_is_not_below() {
        let near = DURATION_BOUNDS.map(|bound| [bound - 1, bound, bound + 1]);
        let doublings =
            (0..64).flat_map(|bits| [(1_u64 << bits) - 1, 1 << bits, (1 << bits) + (1 << bits) / 8]);
        for micros in near.into_iter().flatten().chain(doublings).chain([u64::MAX]) {
            let expected = DURATION_BOUNDS.partition_point(|bound| *bound < micros);
            assert_eq!(bucket_of(micros), expected, "{micros}");
        }
    }

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
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for micros in [0, 100, 101, 60_000_000, 60_000_001] {
            histogram.record(Duration::from_micros(micros));
        }
        let (counts, sum) = histogram.values();
        let last = DURATION_BOUNDS.len();
        assert_eq!(
            (counts[0], counts[1], counts[last - 1], counts[last]),
            (2, 1, 1, 1)
        );
        assert_eq!(counts.iter().sum::<u64>(), 5);
        assert_eq!(sum, 120_000_202);
    }

    #[test]
    fn the_middle_of_a_bucket_is_within_a_tenth_of_each_duration_in_it() {
        for pair in DURATION_BOUNDS.windows(2) {
            let (low, high) = (pair[0] as f64, pair[1] as f64);
            let middle = f64::midpoint(low, high);
            assert!(middle <= low * 1.1 && middle >= high * 0.9, "{pair:?}");
        }
        assert_eq!(
            (DURATION_BOUNDS[0], DURATION_BOUNDS.last()),
            (100, Some(&60_000_000))
        );
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
