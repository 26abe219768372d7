//! Both formats against their specifications.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::telemetry::metrics::{
    BackendSample, CertificateSample, ConnectionCounters, ConnectionUse, DroppedLines, DurationSample,
    PolicyCounters, PoolSample, ProcessSample, ProcessUsage, SourceSample, Timeout, WorkerCounters,
};
use crate::telemetry::trace::{SpanCounters, SpanDrop};

fn snapshot() -> Snapshot {
    let threads = [
        Arc::new(WorkerCounters::default()),
        Arc::new(WorkerCounters::default()),
    ];
    for (thread, millis) in threads.iter().zip([1, 70_000]) {
        thread.count_request(200, DurationSample::new(Duration::from_millis(millis)));
        thread.count_timeout(Timeout::FirstByte);
        thread.connections_active.up();
        thread.bytes_sent.add(10);
        thread.count_handshake("TLSv1.3", Some("X25519MLKEM768"));
    }
    let policy = PolicyCounters::new("per \"client\"", 2);
    policy.count(0, PolicyOutcome::Refused);
    policy.count(1, PolicyOutcome::Refused);
    Snapshot {
        threads: threads.to_vec(),
        routes: vec![traffic("/x \"y\"")],
        pools: vec![pool()],
        policies: vec![Arc::new(policy)],
        sources: vec![SourceSample {
            pool: "api".to_owned(),
            source: "file",
            location: "/\"a\".yaml".to_owned(),
            age: Duration::from_millis(2_900),
        }],
        logs: vec![DroppedLines {
            log: "/var/log/\"a\".log".to_owned(),
            lines: 6,
        }],
        certificates: vec![CertificateSample {
            file: "/certs/\"a\".pem".to_owned(),
            expires: UNIX_EPOCH + Duration::from_secs(3000),
        }],
        process: ProcessSample {
            version: "1.2.3",
            usage: ProcessUsage {
                cpu_millis: 1_050,
                resident_bytes: 4096,
                open_fds: 7,
                max_fds: 100,
            },
            started: UNIX_EPOCH + Duration::from_secs(1000),
            workers: 2,
            config_loaded: UNIX_EPOCH + Duration::from_secs(2000),
            reloads_succeeded: 4,
            reloads_failed: 5,
            spans: spans(),
            reloads_rolled_back: 0,
        },
    }
}

/// A pool of two backends, of which one has an odd name.
fn pool() -> PoolSample {
    let backend = BackendSample {
        url: "http://a:8001".to_owned(),
        is_up: true,
        is_eligible: true,
        is_ejected: false,
        ejections: 2,
        is_silent: true,
        silences: 7,
        weight: 3,
        in_flight: 2,
        adaptive_limit: 8,
        traffic: traffic("http://a:8001"),
        attempts: 9,
        failures: 1,
        connections_shared_idle: 4,
    };
    let odd = BackendSample {
        url: "http://b\"\\\n:8002".to_owned(),
        is_up: false,
        is_eligible: false,
        ..backend.clone()
    };
    let connections = ConnectionCounters::new(2);
    connections.count(1, ConnectionUse::Reused);
    PoolSample {
        queue_depth: 2,
        name: "api".to_owned(),
        traffic: traffic("api"),
        connections: Arc::new(connections),
        backends: vec![backend, odd],
    }
}

/// Counters of exported and of refused spans.
fn spans() -> Arc<SpanCounters> {
    let spans = SpanCounters::default();
    spans.count_exported(8);
    spans.count_dropped(SpanDrop::Rejected, 9);
    Arc::new(spans)
}

/// Counters with a response of 2 ms at each of two workers.
fn traffic(name: &str) -> Arc<TrafficCounters> {
    let traffic = TrafficCounters::new(name, 2);
    for (worker, status) in [(0, 200), (1, 503)] {
        traffic.count(worker, status, DurationSample::new(Duration::from_millis(2)));
    }
    Arc::new(traffic)
}

/// The page in a text format.
fn page(format: Format) -> String {
    String::from_utf8(render(&snapshot(), format)).expect("it is text")
}

fn has(text: &str, line: &str) {
    assert!(
        text.lines().any(|shown| shown == line),
        "no line {line:?} in\n{text}"
    );
}

#[test]
fn sums_threads() {
    let text = page(Format::Prometheus);
    has(&text, "evenkeel_requests_total{class=\"2xx\"} 2");
    has(&text, "evenkeel_requests_total{class=\"5xx\"} 0");
    has(&text, "evenkeel_timeouts_total{kind=\"first_byte\"} 2");
    has(&text, "evenkeel_connections_active 2");
    has(&text, "evenkeel_sent_bytes_total 20");
    let handshakes = r#"evenkeel_tls_handshakes_total{version="TLSv1.3",group="X25519MLKEM768"} 2"#;
    has(&text, handshakes);
    has(
        &text,
        r#"evenkeel_tls_handshakes_total{version="other",group="other"} 0"#,
    );
}

#[test]
fn decisions_of_policies_are_labelled_and_summed() {
    let text = page(Format::OpenMetrics);
    let name = "evenkeel_policy_decisions_total";
    has(&text, "# TYPE evenkeel_policy_decisions counter");
    has(
        &text,
        &format!(r#"{name}{{policy="per \"client\"",outcome="refused"}} 2"#),
    );
    has(
        &text,
        &format!(r#"{name}{{policy="per \"client\"",outcome="passed"}} 0"#),
    );
}

#[test]
fn the_histogram_is_cumulated_and_in_seconds() {
    let text = page(Format::Prometheus);
    has(&text, "evenkeel_request_duration_seconds_bucket{le=\"0.001\"} 1");
    has(&text, "evenkeel_request_duration_seconds_bucket{le=\"0.25\"} 1");
    has(&text, "evenkeel_request_duration_seconds_bucket{le=\"60.0\"} 1");
    has(&text, "evenkeel_request_duration_seconds_bucket{le=\"+Inf\"} 2");
    has(&text, "evenkeel_request_duration_seconds_sum 70.001000");
    has(&text, "evenkeel_request_duration_seconds_count 2");
}

#[test]
fn backends_and_the_process_have_their_values() {
    let text = page(Format::Prometheus);
    has(
        &text,
        "evenkeel_backend_up{pool=\"api\",backend=\"http://a:8001\"} 1",
    );
    has(
        &text,
        "evenkeel_backend_weight{pool=\"api\",backend=\"http://a:8001\"} 3",
    );
    has(
        &text,
        "evenkeel_backend_attempts_total{pool=\"api\",backend=\"http://a:8001\"} 9",
    );
    has(
        &text,
        r#"evenkeel_log_lines_dropped_total{log="/var/log/\"a\".log"} 6"#,
    );
    has(&text, "evenkeel_spans_exported_total 8");
    has(&text, "evenkeel_spans_dropped_total{reason=\"rejected\"} 9");
    has(&text, "evenkeel_spans_dropped_total{reason=\"queue_full\"} 0");
    has(&text, "evenkeel_reloads_total 4");
    has(&text, "process_start_time_seconds 1000");
    has(&text, "evenkeel_build_info{version=\"1.2.3\"} 1");
}

#[test]
fn traffic_is_labelled_by_route_pool_and_backend() {
    let text = page(Format::Prometheus);
    for line in [
        r#"evenkeel_route_requests_total{route="/x \"y\"",class="5xx"} 1"#,
        r#"evenkeel_route_request_duration_seconds_bucket{route="/x \"y\"",le="0.001"} 0"#,
        r#"evenkeel_route_request_duration_seconds_bucket{route="/x \"y\"",le="0.0025"} 2"#,
        r#"evenkeel_pool_requests_total{pool="api",class="2xx"} 1"#,
        r#"evenkeel_pool_request_duration_seconds_bucket{pool="api",le="0.0022"} 2"#,
        r#"evenkeel_pool_request_duration_seconds_bucket{pool="api",le="0.0019"} 0"#,
        r#"evenkeel_backend_responses_total{pool="api",backend="http://a:8001",class="4xx"} 0"#,
        r#"evenkeel_backend_response_duration_seconds_sum{pool="api",backend="http://a:8001"} 0.004000"#,
        r#"evenkeel_backend_response_duration_seconds_count{pool="api",backend="http://a:8001"} 2"#,
    ] {
        has(&text, line);
    }
    assert!(!text.contains(
        r#"evenkeel_backend_response_duration_seconds_bucket{pool="api",backend="http://a:8001",le="0.0022"}"#
    ));
}

#[test]
fn the_process_has_its_standard_names() {
    let text = page(Format::OpenMetrics);
    has(&text, "process_cpu_seconds_total 1.050");
    has(&text, "process_resident_memory_bytes 4096");
    has(&text, "process_open_fds 7");
    has(&text, "process_max_fds 100");
}

#[test]
fn workers_pools_and_sources_have_their_values() {
    let text = page(Format::OpenMetrics);
    for line in [
        r#"evenkeel_worker_requests_total{worker="0"} 1"#,
        r#"evenkeel_worker_connections_active{worker="1"} 1"#,
        r#"evenkeel_worker_cpu_seconds_total{worker="1"} 0.000"#,
        r#"evenkeel_pool_connections_reused_total{pool="api"} 1"#,
        r#"evenkeel_pool_connections_failed_total{pool="api"} 0"#,
        r#"evenkeel_retries_total{reason="connect_failure"} 0"#,
        r#"evenkeel_backend_silent{pool="api",backend="http://a:8001"} 1"#,
        r#"evenkeel_backend_silences_total{pool="api",backend="http://a:8001"} 7"#,
        r#"evenkeel_source_age_seconds{pool="api",source="file",location="/\"a\".yaml"} 2"#,
    ] {
        has(&text, line);
    }
}

#[test]
fn certificates_have_their_expiry() {
    let text = page(Format::Prometheus);
    has(
        &text,
        r#"evenkeel_certificate_expiry_timestamp_seconds{file="/certs/\"a\".pem"} 3000"#,
    );
}

#[test]
fn escapes_label_values() {
    let text = page(Format::Prometheus);
    has(
        &text,
        r#"evenkeel_backend_up{pool="api",backend="http://b\"\\\n:8002"} 0"#,
    );
}

#[test]
fn open_metrics_names_families_and_ends() {
    let text = page(Format::OpenMetrics);
    has(&text, "# TYPE evenkeel_requests counter");
    has(&text, "evenkeel_requests_total{class=\"2xx\"} 2");
    has(&text, "# TYPE evenkeel_sent_bytes counter");
    has(&text, "# UNIT evenkeel_sent_bytes bytes");
    has(&text, "# TYPE evenkeel_build info");
    has(&text, "evenkeel_build_info{version=\"1.2.3\"} 1");
    assert!(text.ends_with("\n# EOF\n"));
    let plain = page(Format::Prometheus);
    has(&plain, "# TYPE evenkeel_requests_total counter");
    has(&plain, "# TYPE evenkeel_build_info gauge");
    assert!(!plain.contains("# EOF") && !plain.contains("# UNIT"));
}

#[test]
fn every_sample_follows_the_head_of_its_family_and_is_there_once() {
    for format in [Format::Prometheus, Format::OpenMetrics] {
        let text = page(format);
        let (mut family, mut seen) = ("", HashMap::new());
        for line in text.lines().filter(|line| *line != "# EOF") {
            if let Some(head) = line.strip_prefix("# TYPE ") {
                family = head.split(' ').next().expect("a name");
            } else if !line.starts_with('#') {
                assert!(line.starts_with(family), "{line} is not of {family}");
                let (series, value) = line.rsplit_once(' ').expect("a value");
                value.parse::<f64>().expect("a number");
                assert_eq!(seen.insert(series, ()), None, "{series} is there twice");
            }
        }
        assert!(seen.len() > METRICS.len());
        let heads = text.lines().filter(|line| line.starts_with("# TYPE ")).count();
        assert_eq!(heads, METRICS.len());
        for metric in METRICS {
            let has_samples = seen.keys().any(|series| series.starts_with(metric.name));
            assert!(has_samples, "{} has no samples", metric.name);
        }
    }
}

#[test]
fn a_client_gets_the_format_that_it_prefers() {
    let prometheus = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
                      application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    for (accept, format) in [
        ("application/openmetrics-text", Format::OpenMetrics),
        (
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::OpenMetrics,
        ),
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
            Format::OpenMetrics,
        ),
        (
            "text/plain;q=0.9, application/openmetrics-text;q=0.2",
            Format::Prometheus,
        ),
        (prometheus, Format::Protobuf),
        (&prometheus.replace("q=0.6", "q=0.4"), Format::OpenMetrics),
        (&prometheus.replace("delimited", "text"), Format::OpenMetrics),
        (
            &prometheus.replace("client.MetricFamily", "write.v2.Request"),
            Format::OpenMetrics,
        ),
        ("", Format::Prometheus),
        ("*/*", Format::Prometheus),
        ("text/plain", Format::Prometheus),
        ("application/openmetrics-text;q=0", Format::Prometheus),
        ("application/openmetrics-text;q=x", Format::Prometheus),
        ("application/openmetrics-textual", Format::Prometheus),
        ("application/vnd.google.protobuf", Format::Prometheus),
    ] {
        assert_eq!(Format::accepted(accept), format, "{accept}");
    }
}
