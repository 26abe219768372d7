//! The table of all metrics. `/metrics` and `docs/metrics.md` are generated from it.
//!
//! Names follow the OpenMetrics rules: base units, the unit at the end, and the suffix `_total` for counters.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::telemetry::trace::SpanDrop;

use super::metric::{Kind, Metric, Resolution, Scope, Source};
use super::{
    ConnectionUse, HANDSHAKES, HandshakeFailure, PolicyCounters, QueueDrop, RETRY_REASONS, Timeout,
    WorkerCounters,
};

/// All metrics, in the order of `/metrics`.
pub const METRICS: &[Metric] = &[
    counter(
        "evenkeel_requests_total",
        "Completed requests, by class of their status code.",
        Source::Each {
            label: "class",
            values: || vec!["1xx", "2xx", "3xx", "4xx", "5xx"],
            count: |thread, position| thread.requests(u8::try_from(position + 1).unwrap_or(0)),
        },
    ),
    Metric {
        name: "evenkeel_request_duration_seconds",
        kind: Kind::Histogram,
        help: "Time from the first byte of a request head to the end of its response.",
        source: Source::Durations(|thread| &thread.request_duration, Resolution::Full),
    },
    counter(
        "evenkeel_route_requests_total",
        "Completed requests of the route, by class of their status code. Routes after the first 10,000 are counted as `other`.",
        Source::Classes(Scope::Route),
    ),
    Metric {
        name: "evenkeel_route_request_duration_seconds",
        kind: Kind::Histogram,
        help: "Time from the first byte of a request head to the end of its response, by route.",
        source: Source::Latencies(Scope::Route, Resolution::Coarse),
    },
    counter(
        "evenkeel_pool_requests_total",
        "Completed requests that were routed to the pool, by class of the status code that the client got.",
        Source::Classes(Scope::Pool),
    ),
    Metric {
        name: "evenkeel_pool_request_duration_seconds",
        kind: Kind::Histogram,
        help: "Time from the first byte of a request head to the end of its response, by pool.",
        source: Source::Latencies(Scope::Pool, Resolution::Full),
    },
    gauge(
        "evenkeel_requests_in_flight",
        "Requests in flight: started and not completed.",
        Source::Threads(|thread| thread.requests_in_flight.value()),
    ),
    counter(
        "evenkeel_received_bytes_total",
        "Bytes of requests received from clients, headers and bodies (HTTP/2: headers after decoding).",
        Source::Threads(|thread| thread.bytes_received.value()),
    ),
    counter(
        "evenkeel_sent_bytes_total",
        "Bytes of responses sent to clients, headers and bodies (HTTP/2: bodies only).",
        Source::Threads(|thread| thread.bytes_sent.value()),
    ),
    counter(
        "evenkeel_connections_accepted_total",
        "Client connections accepted.",
        Source::Threads(|thread| thread.connections_accepted.value()),
    ),
    gauge(
        "evenkeel_connections_active",
        "Open client connections, including parked ones.",
        Source::Threads(WorkerCounters::open_connections),
    ),
    gauge(
        "evenkeel_connections_parked",
        "Idle client connections parked to save memory.",
        Source::Threads(|thread| thread.connections_parked.value()),
    ),
    counter(
        "evenkeel_connections_closed_by_limit_total",
        "Client connections closed to make room for others because a limit was reached.",
        Source::Threads(|thread| thread.connections_closed_by_limit.value()),
    ),
    counter(
        "evenkeel_connections_rejected_total",
        "Client connections closed immediately because their client has reached `limits.connections_per_client`.",
        Source::Threads(|thread| thread.connections_rejected.value()),
    ),
    counter(
        "evenkeel_heads_rejected_total",
        "Requests rejected because their headers were malformed or exceeded a limit.",
        Source::Threads(|thread| thread.heads_rejected.value()),
    ),
    counter(
        "evenkeel_http2_connection_errors_total",
        "HTTP/2 client connections closed because of malformed frames or too many frames without effect.",
        Source::Threads(|thread| thread.http2_connection_errors.value()),
    ),
    counter(
        "evenkeel_tls_handshakes_total",
        "TLS handshakes with clients that succeeded, by version and group of the key exchange: `X25519MLKEM768` is post-quantum, `none` is a resumed session of TLS 1.2.",
        Source::EachPair {
            labels: ["version", "group"],
            values: &HANDSHAKES,
            count: WorkerCounters::handshakes,
        },
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
        "Client connections closed because their PROXY header was missing, malformed, late, or from an untrusted sender.",
        Source::Threads(|thread| thread.proxy_headers_rejected.value()),
    ),
    counter(
        "evenkeel_timeouts_total",
        "Requests and connections that a timeout ended, by kind; `first_byte` includes `retry.per_try_timeout`, and `stream_idle` includes every pause of a response body.",
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
        "Retries: attempts after the first one of a request, by the reason that the access log names: a cause of `retry.causes`, `no_local_port`, `no_descriptor`, or `backend_down`.",
        Source::Each {
            label: "reason",
            values: || RETRY_REASONS.to_vec(),
            count: WorkerCounters::retries_for,
        },
    ),
    counter(
        "evenkeel_hedges_total",
        "Second attempts begun while the first one of a request still ran (`retry.hedge`).",
        Source::Threads(|thread| thread.hedges.value()),
    ),
    counter(
        "evenkeel_retry_budget_exhausted_total",
        "Retries and hedges not made because the pool's retry budget was empty.",
        Source::Threads(|thread| thread.retry_budget_exhausted.value()),
    ),
    gauge(
        "evenkeel_queue_depth",
        "Requests that wait until a backend of the pool may take them.",
        Source::Pools(|pool| pool.queue_depth),
    ),
    Metric {
        name: "evenkeel_queue_wait_duration_seconds",
        kind: Kind::Histogram,
        help: "Time that requests waited for a backend, of those that had to wait and got one.",
        source: Source::Durations(|thread| &thread.queue_wait, Resolution::Coarse),
    },
    counter(
        "evenkeel_queue_dropped_total",
        "Requests that had to wait for a backend and got none, by reason: `full` (more than `queue.size`), `timeout`, `client_left`, or `outage` (the pool was without a usable backend for too long, or removed).",
        Source::Each {
            label: "reason",
            values: || QueueDrop::ALL.map(QueueDrop::name).to_vec(),
            count: |thread, position| {
                let drop = QueueDrop::ALL.get(position);
                drop.map_or(0, |drop| thread.queue_drops(*drop))
            },
        },
    ),
    counter(
        "evenkeel_backend_connections_opened_total",
        "Backend connections established, without those of health checks.",
        Source::Threads(|thread| thread.backend_connections_opened.value()),
    ),
    counter(
        "evenkeel_backend_connections_failed_total",
        "Attempts that could not connect to their backend, also those that were retried.",
        Source::Threads(|thread| thread.backend_connections_failed.value()),
    ),
    counter(
        "evenkeel_backend_connections_reused_total",
        "Attempts that used an existing backend connection: an idle one, or a shared HTTP/2 connection.",
        Source::Threads(|thread| thread.backend_connections_reused.value()),
    ),
    counter(
        "evenkeel_pool_connections_opened_total",
        "Connections to backends of the pool established, without those of health checks.",
        Source::Pools(|pool| pool.connections.value(ConnectionUse::Opened)),
    ),
    counter(
        "evenkeel_pool_connections_failed_total",
        "Attempts that could not connect to a backend of the pool, also those that were retried.",
        Source::Pools(|pool| pool.connections.value(ConnectionUse::Failed)),
    ),
    counter(
        "evenkeel_pool_connections_reused_total",
        "Attempts that used an existing connection to a backend of the pool.",
        Source::Pools(|pool| pool.connections.value(ConnectionUse::Reused)),
    ),
    gauge(
        "evenkeel_backend_connections_idle",
        "Idle backend connections that belong to one worker.",
        Source::Threads(|thread| thread.backend_connections_idle.value()),
    ),
    counter(
        "evenkeel_mirrored_requests_total",
        "Copies of requests sent to the pool of a `mirror`; they also count as attempts at its backends.",
        Source::Threads(|thread| thread.copies_sent.value()),
    ),
    counter(
        "evenkeel_mirrored_requests_dropped_total",
        "Copies of requests dropped: too many in flight, a body above `replay_limit` or incomplete when the response began, or no eligible backend.",
        Source::Threads(|thread| thread.copies_dropped.value()),
    ),
    gauge(
        "evenkeel_backend_connections_shared_idle",
        "Idle connections to the backend in the shared idle pool: unused for a second, available to all workers.",
        Source::Backends(|backend| backend.connections_shared_idle),
    ),
    gauge(
        "evenkeel_backend_up",
        "1 if the backend is up or has not been checked yet, 0 if it is down, ejected or draining; independent of its weight.",
        Source::Backends(|backend| u64::from(backend.is_up)),
    ),
    gauge(
        "evenkeel_backend_eligible",
        "1 if the backend may receive requests, 0 if it is down, ejected, draining, or has weight 0.",
        Source::Backends(|backend| u64::from(backend.is_eligible)),
    ),
    gauge(
        "evenkeel_backend_ejected",
        "1 while the backend is ejected because its requests fail, or on trial after that, else 0.",
        Source::Backends(|backend| u64::from(backend.is_ejected)),
    ),
    counter(
        "evenkeel_backend_ejections_total",
        "Ejections of the backend, including those after a failed trial.",
        Source::Backends(|backend| backend.ejections),
    ),
    gauge(
        "evenkeel_backend_silent",
        "1 while the backend takes requests and responds to none, so that requests avoid it if there are others; else 0.",
        Source::Backends(|backend| u64::from(backend.is_silent)),
    ),
    counter(
        "evenkeel_backend_silences_total",
        "How often the backend was found to take requests and to respond to none.",
        Source::Backends(|backend| backend.silences),
    ),
    gauge(
        "evenkeel_backend_weight",
        "The backend's weight: its share of requests relative to the other backends of its pool.",
        Source::Backends(|backend| u64::from(backend.weight)),
    ),
    gauge(
        "evenkeel_backend_in_flight",
        "Requests in flight at the backend.",
        Source::Backends(|backend| backend.in_flight),
    ),
    gauge(
        "evenkeel_backend_adaptive_limit",
        "Requests in flight that the adaptive limit allows, or would allow with `limits.adaptive: observe`; 0 before there is one.",
        Source::Backends(|backend| backend.adaptive_limit),
    ),
    counter(
        "evenkeel_backend_attempts_total",
        "Attempts sent to the backend.",
        Source::Backends(|backend| backend.attempts),
    ),
    counter(
        "evenkeel_backend_failures_total",
        "Attempts that ended without a usable response from the backend.",
        Source::Backends(|backend| backend.failures),
    ),
    counter(
        "evenkeel_backend_responses_total",
        "Responses of the backend, by class of their status code: of every attempt, also of those that were retried.",
        Source::Classes(Scope::Backend),
    ),
    Metric {
        name: "evenkeel_backend_response_duration_seconds",
        kind: Kind::Histogram,
        help: "Time from the beginning of an attempt to the head of the backend's response.",
        source: Source::Latencies(Scope::Backend, Resolution::Coarse),
    },
    counter(
        "evenkeel_policy_decisions_total",
        "Decisions of policies about requests, by outcome: `passed`, `refused`, `responded` (to a preflight request), or `waited` (for a computation or another server, before one of the others). A policy appears once a route uses it; those of responses only do not.",
        Source::Policies(PolicyCounters::value),
    ),
    gauge(
        "evenkeel_source_age_seconds",
        "Time since the last good answer of a source of backends, or since its start if there was none. `source` is its kind, such as `file`, and `location` where it looks. The lookups of backend names are the source `dns` without a pool.",
        Source::Sources(|source| source.age.as_secs()),
    ),
    gauge(
        "evenkeel_certificate_expiry_timestamp_seconds",
        "Expiry time of the active certificate from this file, in seconds since 1970.",
        Source::Certificates(|certificate| seconds(certificate.expires)),
    ),
    counter(
        "evenkeel_log_lines_dropped_total",
        "Log lines dropped because their sink was too slow or away, by sink: `stdout`, a path or a syslog server. `stdout` includes the operations log.",
        Source::Logs(|log| log.lines),
    ),
    counter(
        "evenkeel_spans_exported_total",
        "Spans of traces that the collector has accepted.",
        Source::Process(|process| process.spans.exported()),
    ),
    counter(
        "evenkeel_spans_dropped_total",
        "Spans of traces dropped, by reason: `queue_full` (too many waited for export), `unavailable` (the collector could not be reached, or asked to try again too often), or `rejected` (the collector refused them).",
        Source::ProcessEach {
            label: "reason",
            values: || SpanDrop::ALL.map(SpanDrop::name).to_vec(),
            count: |process, position| {
                let reason = SpanDrop::ALL.get(position);
                reason.map_or(0, |reason| process.spans.dropped(*reason))
            },
        },
    ),
    counter(
        "evenkeel_reloads_total",
        "Successful reloads.",
        Source::Process(|process| process.reloads_succeeded),
    ),
    counter(
        "evenkeel_reloads_failed_total",
        "Failed reloads; the previous configuration stayed active.",
        Source::Process(|process| process.reloads_failed),
    ),
    counter(
        "evenkeel_reloads_rolled_back_total",
        "Reloads that a guard has undone.",
        Source::Process(|process| process.reloads_rolled_back),
    ),
    gauge(
        "evenkeel_config_last_reload_timestamp_seconds",
        "Time at which the active configuration was loaded, in seconds since 1970.",
        Source::Process(|process| seconds(process.config_loaded)),
    ),
    counter(
        "process_cpu_seconds_total",
        "Processor time of the process, user and system.",
        Source::ProcessMillis(|process| process.usage.cpu_millis),
    ),
    gauge(
        "process_resident_memory_bytes",
        "Resident memory of the process.",
        Source::Process(|process| process.usage.resident_bytes),
    ),
    gauge(
        "process_open_fds",
        "Open file descriptors of the process.",
        Source::Process(|process| process.usage.open_fds),
    ),
    gauge(
        "process_max_fds",
        "Maximum number of open file descriptors of the process.",
        Source::Process(|process| process.usage.max_fds),
    ),
    gauge(
        "process_start_time_seconds",
        "Start time of the process, in seconds since 1970.",
        Source::Process(|process| seconds(process.started)),
    ),
    gauge(
        "evenkeel_workers",
        "Worker threads.",
        Source::Process(|process| process.workers),
    ),
    counter(
        "evenkeel_worker_requests_total",
        "Completed requests of the worker.",
        Source::Workers(WorkerCounters::requests_ended),
    ),
    gauge(
        "evenkeel_worker_connections_active",
        "Open client connections of the worker, including parked ones.",
        Source::Workers(WorkerCounters::open_connections),
    ),
    counter(
        "evenkeel_worker_cpu_seconds_total",
        "Processor time of the worker, user and system. Its rate is the share of a core that the worker uses.",
        Source::WorkersMillis(WorkerCounters::cpu_millis),
    ),
    Metric {
        name: "evenkeel_build_info",
        kind: Kind::Info,
        help: "Always 1; the running version is in the label.",
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
    fn every_name_and_help_is_new_and_follows_the_rules() {
        let mut families = HashSet::new();
        let mut helps = HashSet::new();
        for metric in METRICS {
            let name = metric.name;
            assert!(
                name.starts_with("evenkeel_") || name.starts_with("process_"),
                "{name}"
            );
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
                "{name}"
            );
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            assert_eq!(name.ends_with("_info"), metric.kind == Kind::Info, "{name}");
            assert!(families.insert(metric.family()), "{name} is there twice");
            assert!(helps.insert(metric.help), "{name}: another metric has this help");
            assert!(metric.help.ends_with('.'), "{name}: the help is a sentence");
        }
        assert!(!families.is_empty());
    }
}
