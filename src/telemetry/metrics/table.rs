//! The one table of every metric. `/metrics` and `docs/metrics.md` are made from it.
//!
//! Names follow the OpenMetrics rules: base units, the unit at the end, `_total` behind what only grows.

use std::time::{SystemTime, UNIX_EPOCH};

use super::snapshot::{BackendSample, CertificateSample, ProcessSample};
use super::{HandshakeFailure, Histogram, Timeout, WorkerCounters};

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations by how long they are.
    Histogram,
    /// Always 1; what it tells is in its labels.
    Info,
}

/// Where the values of a metric come from, which also says what labels it has.
#[derive(Debug, Clone, Copy)]
pub enum Source {
    /// One value, the sum over all threads.
    Threads(fn(&WorkerCounters) -> u64),
    /// As many sums as the label has values; the function is given the position of one.
    Each {
        /// The label's name.
        label: &'static str,
        /// Its values.
        values: fn() -> Vec<&'static str>,
        /// The count of one thread.
        count: fn(&WorkerCounters, usize) -> u64,
    },
    /// A histogram, added up over all threads.
    Durations(fn(&WorkerCounters) -> &Histogram),
    /// One value a backend; labels `pool` and `backend`.
    Backends(fn(&BackendSample) -> u64),
    /// One value a certificate in force; label `file`.
    Certificates(fn(&CertificateSample) -> u64),
    /// One value of the process.
    Process(fn(&ProcessSample) -> u64),
    /// 1, with the version as label `version`.
    Version,
}

impl Source {
    /// The names of the labels.
    pub fn labels(self) -> Vec<&'static str> {
        match self {
            Self::Threads(_) | Self::Process(_) => Vec::new(),
            Self::Each { label, .. } => vec![label],
            Self::Durations(_) => vec!["le"],
            Self::Backends(_) => vec!["pool", "backend"],
            Self::Certificates(_) => vec!["file"],
            Self::Version => vec!["version"],
        }
    }
}

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name, as in a query.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// What it tells.
    pub help: &'static str,
    /// Where its values come from.
    pub source: Source,
}

impl Metric {
    /// The name without what its kind adds to it: OpenMetrics names the family so.
    pub fn family(&self) -> &'static str {
        match self.kind {
            Kind::Counter => self.name.trim_end_matches("_total"),
            Kind::Info => self.name.trim_end_matches("_info"),
            Kind::Gauge | Kind::Histogram => self.name,
        }
    }

    /// The base unit of its values, which its name carries; `None` for plain numbers.
    pub fn unit(&self) -> Option<&'static str> {
        ["seconds", "bytes"]
            .into_iter()
            .find(|unit| self.family().ends_with(unit))
    }
}

/// Every metric there is, in the order they are shown.
pub const METRICS: &[Metric] = &[
    counter(
        "evenkeel_requests_total",
        "Requests that ended, by the first digit of their status.",
        Source::Each {
            label: "class",
            values: || vec!["1xx", "2xx", "3xx", "4xx", "5xx"],
            count: |thread, position| thread.requests(u8::try_from(position + 1).unwrap_or(0)),
        },
    ),
    Metric {
        name: "evenkeel_request_duration_seconds",
        kind: Kind::Histogram,
        help: "From the first byte of a request's head to the end of its answer.",
        source: Source::Durations(|thread| &thread.request_duration),
    },
    gauge(
        "evenkeel_requests_in_flight",
        "Requests that have begun and not ended.",
        Source::Threads(|thread| thread.requests_in_flight.value()),
    ),
    counter(
        "evenkeel_received_bytes_total",
        "Bytes of requests received from clients, heads and bodies (HTTP/2: heads once decoded).",
        Source::Threads(|thread| thread.bytes_received.value()),
    ),
    counter(
        "evenkeel_sent_bytes_total",
        "Bytes of responses sent to clients, heads and bodies (HTTP/2: bodies only).",
        Source::Threads(|thread| thread.bytes_sent.value()),
    ),
    counter(
        "evenkeel_connections_accepted_total",
        "Client connections that were accepted.",
        Source::Threads(|thread| thread.connections_accepted.value()),
    ),
    gauge(
        "evenkeel_connections_active",
        "Client connections that are open.",
        Source::Threads(WorkerCounters::open_connections),
    ),
    gauge(
        "evenkeel_connections_parked",
        "Those of them that have been idle for a while and hold next to no memory.",
        Source::Threads(|thread| thread.connections_parked.value()),
    ),
    counter(
        "evenkeel_connections_closed_by_limit_total",
        "Client connections that were closed to make room, because a limit was reached.",
        Source::Threads(|thread| thread.connections_closed_by_limit.value()),
    ),
    counter(
        "evenkeel_connections_rejected_total",
        "Client connections that were refused at once.",
        Source::Threads(|thread| thread.connections_rejected.value()),
    ),
    counter(
        "evenkeel_heads_rejected_total",
        "Request heads that could not be parsed or broke a limit.",
        Source::Threads(|thread| thread.heads_rejected.value()),
    ),
    counter(
        "evenkeel_http2_connection_errors_total",
        "HTTP/2 connections that were ended because of frames that were malformed, or too many that do nothing.",
        Source::Threads(|thread| thread.http2_connection_errors.value()),
    ),
    counter(
        "evenkeel_tls_handshakes_failed_total",
        "Failed TLS handshakes with clients, by reason.",
        Source::Each {
            label: "reason",
            values: || HandshakeFailure::ALL.map(HandshakeFailure::name).to_vec(),
            count: |thread, position| {
                let failure = HandshakeFailure::ALL.get(position);
                failure.map_or(0, |failure| thread.handshake_failures(*failure))
            },
        },
    ),
    counter(
        "evenkeel_proxy_headers_rejected_total",
        "Client connections that were closed because their PROXY header was missing, malformed, late, or of a sender who is not trusted.",
        Source::Threads(|thread| thread.proxy_headers_rejected.value()),
    ),
    counter(
        "evenkeel_timeouts_total",
        "Timeouts that ran out while a request was served, by kind; `first_byte` counts `request` too, and `stream_idle` every pause of a response body.",
        Source::Each {
            label: "kind",
            values: || Timeout::ALL.map(Timeout::name).to_vec(),
            count: |thread, position| {
                Timeout::ALL
                    .get(position)
                    .map_or(0, |timeout| thread.timeouts(*timeout))
            },
        },
    ),
    counter(
        "evenkeel_retries_total",
        "Attempts after the first of a request.",
        Source::Threads(|thread| thread.retries.value()),
    ),
    counter(
        "evenkeel_retry_budget_exhausted_total",
        "Retries that did not take place because the pool's retry budget was empty.",
        Source::Threads(|thread| thread.retry_budget_exhausted.value()),
    ),
    counter(
        "evenkeel_backend_connections_opened_total",
        "Connections to backends established for requests; those of health checks are not counted.",
        Source::Threads(|thread| thread.backend_connections_opened.value()),
    ),
    counter(
        "evenkeel_backend_connections_reused_total",
        "Attempts that used a backend connection established before: an idle one, or one shared over HTTP/2.",
        Source::Threads(|thread| thread.backend_connections_reused.value()),
    ),
    gauge(
        "evenkeel_backend_connections_idle",
        "Connections to backends that wait for a request of their worker.",
        Source::Threads(|thread| thread.backend_connections_idle.value()),
    ),
    gauge(
        "evenkeel_backend_connections_shared_idle",
        "Idle connections to the backend that no worker has used for a second; any of them may.",
        Source::Backends(|backend| backend.connections_shared_idle),
    ),
    gauge(
        "evenkeel_backend_up",
        "1 when the backend is up or was not checked yet, 0 when it is down or draining: its state, whatever its weight.",
        Source::Backends(|backend| u64::from(backend.is_up)),
    ),
    gauge(
        "evenkeel_backend_eligible",
        "1 when the backend may get requests, 0 when it is down, draining, or has a weight of 0.",
        Source::Backends(|backend| u64::from(backend.is_eligible)),
    ),
    gauge(
        "evenkeel_backend_weight",
        "What the backend may get relative to the others of its pool.",
        Source::Backends(|backend| u64::from(backend.weight)),
    ),
    gauge(
        "evenkeel_backend_in_flight",
        "Requests that the backend is working on.",
        Source::Backends(|backend| backend.in_flight),
    ),
    counter(
        "evenkeel_backend_attempts_total",
        "Attempts sent to the backend.",
        Source::Backends(|backend| backend.attempts),
    ),
    counter(
        "evenkeel_backend_failures_total",
        "Attempts that ended without a usable answer of the backend.",
        Source::Backends(|backend| backend.failures),
    ),
    gauge(
        "evenkeel_certificate_expiry_timestamp_seconds",
        "When the certificate in force from this file expires, since 1970.",
        Source::Certificates(|certificate| seconds(certificate.expires)),
    ),
    counter(
        "evenkeel_log_lines_dropped_total",
        "Log lines that were lost because their sink did not keep up.",
        Source::Process(|process| process.log_lines_dropped),
    ),
    counter(
        "evenkeel_reloads_total",
        "Reloads that put a config in force.",
        Source::Process(|process| process.reloads_succeeded),
    ),
    counter(
        "evenkeel_reloads_failed_total",
        "Reloads that changed nothing, because the config had errors.",
        Source::Process(|process| process.reloads_failed),
    ),
    gauge(
        "evenkeel_config_last_reload_timestamp_seconds",
        "When the config in force was loaded, since 1970.",
        Source::Process(|process| seconds(process.config_loaded)),
    ),
    gauge(
        "evenkeel_start_time_seconds",
        "When the process started, since 1970.",
        Source::Process(|process| seconds(process.started)),
    ),
    gauge(
        "evenkeel_workers",
        "Worker threads.",
        Source::Process(|process| process.workers),
    ),
    Metric {
        name: "evenkeel_build_info",
        kind: Kind::Info,
        help: "Always 1; the version that runs is its label.",
        source: Source::Version,
    },
];

const fn counter(name: &'static str, help: &'static str, source: Source) -> Metric {
    Metric {
        name,
        kind: Kind::Counter,
        help,
        source,
    }
}

const fn gauge(name: &'static str, help: &'static str, source: Source) -> Metric {
    Metric {
        name,
        kind: Kind::Gauge,
        help,
        source,
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_name_is_new_and_follows_the_rules() {
        let mut families = HashSet::new();
        for metric in METRICS {
            let name = metric.name;
            assert!(name.starts_with("evenkeel_"), "{name}");
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
                "{name}"
            );
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            assert_eq!(name.ends_with("_info"), metric.kind == Kind::Info, "{name}");
            assert!(families.insert(metric.family()), "{name} is there twice");
            assert!(metric.help.ends_with('.'), "{name}: the help is a sentence");
        }
        assert!(!families.is_empty());
    }
}
