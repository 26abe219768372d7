//! Traces: which context goes on to backends, and which spans reach the collector.

use serde_json::Value;

use crate::support::authority::{Authority, Folder};
use crate::support::metrics::{metric, wait_for_metric};
use crate::support::otlp::{Collector, Span};
use crate::support::tls::Secured;
use crate::support::{Backend, Builder, Gate, Proxy, Request, Response, refusing_address, wait_until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn is_meant(request: &Request) -> bool {
    request.start().ends_with("/x") || request.start().contains("/x?")
}

/// A balancer in front of these backends, without probes, with these keys of `tracing`.
fn traced(backends: &[&Backend], collector: &str, keys: &str) -> Builder {
    Proxy::before(backends).config(&format!(
        "workers: 1\nhealth_check: off\ntracing: {{ otlp: '{collector}', {keys} }}"
    ))
}

/// A GET with these headers.
fn get(headers: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: shop.test:8080\r\n{headers}\r\n")
}

fn traceparent(flags: &str) -> String {
    format!("Traceparent: 00-{TRACE}-{CALLER}-{flags}\r\n")
}

/// The trace id and the span id that a backend received, and the flags.
fn received(request: &Request) -> (String, String, String) {
    let value = request.field("traceparent").expect("a context");
    let parts: Vec<&str> = value.split('-').collect();
    assert_eq!((parts.len(), parts[0]), (4, "00"), "{value}");
    (parts[1].to_owned(), parts[2].to_owned(), parts[3].to_owned())
}

fn attribute<'s>(span: &'s Span, name: &str) -> &'s str {
    span.attributes.get(name).map_or("", String::as_str)
}

#[test]
fn without_tracing_the_headers_of_a_trace_pass_through() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend]).start();
    let headers = "Traceparent: anything\r\nTracestate: a=b\r\nB3: 0\r\nX-B3-TraceId: 1\r\n";
    let asked = get(headers);
    assert_eq!(proxy.client().send(&asked).read().status(), 200);
    let request = backend.wait_for_request(is_meant);
    for line in headers.lines() {
        assert!(
            request.head.contains(&format!("\r\n{line}\r\n")),
            "{}",
            request.head
        );
    }
    assert!(proxy.access_line("/x").get("trace_id").is_none());
}

#[test]
fn the_trace_of_the_caller_is_continued_and_exported_over_both_protocols() {
    for collector in [Collector::http(), Collector::grpc()] {
        let backend = Backend::saying("");
        let proxy = traced(&[&backend], &collector.url(), "sample: 0%, service_name: edge").start();
        let asked = get(&format!(
            "{}Tracestate: a=b\r\nTracestate: c=d\r\n",
            traceparent("01")
        ));
        assert_eq!(proxy.client().send(&asked).read().status(), 200);
        let spans = collector.wait_for(TRACE, 2);
        let [request, attempt] = &spans[..] else {
            panic!("{spans:#?}");
        };
        assert_eq!((request.kind, attempt.kind), (2, 3));
        assert_eq!(
            (request.parent.as_str(), &attempt.parent),
            (CALLER, &request.span_id)
        );
        assert_eq!(
            (request.state.as_str(), request.service.as_str()),
            ("a=b,c=d", "edge")
        );
        assert!(
            request.start <= attempt.start && attempt.end <= request.end,
            "{spans:#?}"
        );
        assert!(!request.is_error && !attempt.is_error);
        let sent = backend.wait_for_request(is_meant);
        let expected = (TRACE.to_owned(), attempt.span_id.clone(), "01".to_owned());
        assert_eq!(received(&sent), expected);
        assert!(sent.head.contains("\r\nTracestate: a=b\r\nTracestate: c=d\r\n"));
        assert_eq!(proxy.access_line("/x")["trace_id"], TRACE);
        wait_for_metric(&proxy, "evenkeel_spans_exported_total", 2);
    }
}

#[test]
fn spans_have_the_attributes_of_the_semantic_conventions() {
    let collector = Collector::http();
    let backend = Backend::saying("");
    let proxy = traced(&[&backend], &collector.url(), "").start();
    let asked = get(&traceparent("01")).replace("/x ", "/x?secret=1 ");
    assert_eq!(proxy.client().send(&asked).read().status(), 200);
    let spans = collector.wait_for(TRACE, 2);
    let line = proxy.access_line("/x");
    let port = backend.address().port().to_string();
    let of_request = [
        ("http.request.method", "GET"),
        ("url.path", "/x"),
        ("url.query", ""),
        ("url.scheme", "http"),
        ("server.address", "shop.test"),
        ("server.port", "8080"),
        ("client.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("http.response.status_code", "200"),
        ("http.route", "*/"),
        ("error.type", ""),
        ("evenkeel.pool", "default"),
        ("evenkeel.backend", &backend.url()),
        (
            "evenkeel.request_id",
            line["request_id"].as_str().unwrap_or_default(),
        ),
    ];
    let of_attempt = [
        ("http.request.method", "GET"),
        ("server.address", "127.0.0.1"),
        ("server.port", &port),
        ("http.response.status_code", "200"),
        ("http.request.resend_count", ""),
        ("evenkeel.pool", "default"),
        ("evenkeel.backend", &backend.url()),
    ];
    for (span, expected) in [(&spans[0], &of_request[..]), (&spans[1], &of_attempt)] {
        for (name, value) in expected {
            assert_eq!(attribute(span, name), *value, "{name} of {span:#?}");
        }
    }
    assert_eq!(
        (spans[0].name.as_str(), spans[1].name.as_str()),
        ("GET */", "GET")
    );
}

#[test]
fn each_attempt_of_a_retried_request_is_a_child_of_it() {
    let collector = Collector::http();
    let (address, _socket) = refusing_address();
    let bad = Backend::start(|_| Response::status(503, ""));
    let proxy = traced(&[&bad], &collector.url(), "")
        .backend(&format!("http://{address}"))
        .start();
    let asked = get(&traceparent("01"));
    assert_eq!(proxy.client().send(&asked).read().status(), 503);
    let spans = collector.wait_for(TRACE, 3);
    let (request, attempts) = spans.split_first().expect("a span of the request");
    assert!(
        request.is_error && attribute(request, "error.type") == "503",
        "{request:#?}"
    );
    for attempt in attempts {
        assert_eq!((attempt.kind, &attempt.parent), (3, &request.span_id));
        assert!(attempt.is_error, "{attempt:#?}");
    }
    let values = |name| {
        let values = attempts.iter().map(|attempt| attribute(attempt, name));
        let mut values: Vec<&str> = values.collect();
        values.sort_unstable();
        values
    };
    assert_eq!(values("http.request.resend_count"), ["", "1"]);
    assert_eq!(values("error.type"), ["503", "connect_failed"]);
    let responded = attempts
        .iter()
        .find(|attempt| attribute(attempt, "error.type") == "503");
    let sent = received(&bad.wait_for_request(is_meant));
    assert_eq!(Some(&sent.1), responded.map(|attempt| &attempt.span_id));
}

#[test]
fn a_hedge_has_a_span_and_a_context_of_its_own() {
    let collector = Collector::http();
    let gate = Gate::default();
    let slow = Response::ok("slow").after(&gate);
    let slow = Backend::start(move |_| slow.clone());
    let good = Backend::saying("good");
    let backends = [&slow, &good];
    let proxy = traced(&backends, &collector.url(), "")
        .config("retry: { hedge: { after: 50ms } }")
        .start();
    let traces = [TRACE.to_owned(), TRACE.replace('4', "5")];
    let mut client = proxy.client();
    // Round robin begins with either of them.
    for trace in &traces {
        let asked = get(&traceparent("01").replace(TRACE, trace));
        assert_eq!(client.send(asked).read().text(), "good");
    }
    let (trace, canceled, _) = received(&slow.wait_for_request(is_meant));
    let spans = collector.wait_for(&trace, 3);
    let canceled = spans
        .iter()
        .find(|span| span.span_id == canceled)
        .expect("a span");
    assert_eq!(attribute(canceled, "error.type"), "canceled");
    assert!(!canceled.is_error, "{canceled:#?}");
    let mut sent: Vec<String> = good
        .requests(is_meant)
        .iter()
        .map(|request| received(request).1)
        .collect();
    sent.retain(|id| spans.iter().any(|span| span.span_id == *id));
    assert_eq!(sent.len(), 1, "{spans:#?}");
    assert_ne!(sent[0], canceled.span_id);
    assert!(
        spans.iter().skip(1).all(|span| span.parent == spans[0].span_id),
        "{spans:#?}"
    );
    gate.open();
}

#[test]
fn what_is_not_sampled_is_passed_on_and_not_exported() {
    let collector = Collector::http();
    let backend = Backend::saying("");
    let proxy = traced(&[&backend], &collector.url(), "sample: 100%").start();
    assert_eq!(proxy.client().send(get(&traceparent("00"))).read().status(), 200);
    let (trace, span, flags) = received(&backend.wait_for_request(is_meant));
    assert_eq!((trace.as_str(), flags.as_str()), (TRACE, "00"));
    assert_ne!(span, CALLER);
    assert_eq!(proxy.access_line("/x")["trace_id"], TRACE);
    // A later request of another trace, which is sampled, shows that the first one was passed over.
    assert_eq!(proxy.get("/later").status(), 200);
    let line: Value = proxy.access_line("/later");
    let own = line["trace_id"].as_str().expect("a trace id");
    assert_eq!(collector.wait_for(own, 2)[0].parent, "");
    assert!(collector.all().iter().all(|span| span.trace_id == own));
    // Its id is random, and says so (Trace Context Level 2).
    let later = backend.wait_for_request(|request| request.start() == "GET /later");
    assert_eq!(received(&later).2, "03");
}

#[test]
fn b3_is_continued_and_sent_on_in_the_form_in_which_it_came() {
    let collector = Collector::http();
    let backend = Backend::saying("");
    let proxy = traced(&[&backend], &collector.url(), "").start();
    let state = "Tracestate: of=another\r\n";
    let single = format!("b3: {TRACE}-{CALLER}-1\r\n{state}");
    let several = format!("X-B3-TraceId: {TRACE}\r\nX-B3-SpanId: {CALLER}\r\nX-B3-Sampled: 1\r\n{state}");
    for headers in [&single, &several] {
        assert_eq!(proxy.client().send(get(headers)).read().status(), 200);
    }
    let spans = collector.wait_for(TRACE, 4);
    assert!(
        spans.iter().take(2).all(|span| span.parent == CALLER),
        "{spans:#?}"
    );
    backend.wait_for_requests_where(2, is_meant);
    let requests = backend.requests(is_meant);
    let [first, second] = &requests[..] else {
        panic!("{requests:#?}");
    };
    let (_, span, _) = received(first);
    assert_eq!(first.field("b3"), Some(format!("{TRACE}-{span}-1").as_str()));
    assert!(first.field("x-b3-traceid").is_none() && first.field("tracestate").is_none());
    let (_, span, _) = received(second);
    assert_eq!(second.field("x-b3-spanid"), Some(span.as_str()));
    assert_eq!(
        (second.field("x-b3-traceid"), second.field("b3")),
        (Some(TRACE), None)
    );
}

#[test]
fn a_copy_for_a_mirror_is_a_part_of_the_trace_without_a_span_of_its_own() {
    let collector = Collector::http();
    let (backend, shadow) = (Backend::saying(""), Backend::saying(""));
    let proxy = traced(&[], &collector.url(), "")
        .config(&format!(
            "pools: {{ main: {{ backends: ['{}'] }}, shadow: {{ backends: ['{}'] }} }}\n\
             routes: [{{ pool: main, mirror: {{ pool: shadow }} }}]",
            backend.url(),
            shadow.url()
        ))
        .start();
    assert_eq!(proxy.client().send(get(&traceparent("01"))).read().status(), 200);
    let spans = collector.wait_for(TRACE, 2);
    let (trace, span, _) = received(&shadow.wait_for_request(is_meant));
    assert_eq!((trace.as_str(), &span), (TRACE, &spans[0].span_id));
}

#[test]
fn only_the_traces_of_trusted_proxies_are_continued_where_the_config_says_so() {
    let collector = Collector::http();
    let backend = Backend::saying("");
    let asked = get(&format!("{}Tracestate: a=b\r\n", traceparent("01")));
    for (trusted, is_continued) in [("192.0.2.0/24", false), ("127.0.0.0/8", true)] {
        let proxy = traced(
            &[&backend],
            &collector.url(),
            "sample: parent, parent: trusted_proxies",
        )
        .config(&format!("trusted_proxies: [{trusted}]"))
        .start();
        assert_eq!(proxy.client().send(&asked).read().status(), 200);
        let line = proxy.access_line("/x");
        assert_eq!(line["trace_id"] == TRACE, is_continued, "{line}");
    }
    collector.wait_for(TRACE, 2);
    let requests = backend.requests(is_meant);
    let states: Vec<_> = requests
        .iter()
        .map(|request| request.field("tracestate"))
        .collect();
    assert_eq!(states, [None, Some("a=b")]);
    assert_eq!(received(&requests[0]).2, "02", "not recorded, and random");
}

#[test]
fn a_route_can_withhold_the_context_and_name_the_trace_itself() {
    let collector = Collector::http();
    let backend = Backend::saying("");
    let proxy = traced(&[&backend], &collector.url(), "")
        .config(
            "route_defaults: { request_headers: { remove: [traceparent, b3], set: { X-Trace: '${trace_id}' } } }",
        )
        .start();
    let asked = get(&format!("{}b3: 0\r\n", traceparent("01")));
    assert_eq!(proxy.client().send(&asked).read().status(), 200);
    let request = backend.wait_for_request(is_meant);
    assert_eq!((request.field("traceparent"), request.field("b3")), (None, None));
    assert_eq!(request.field("x-trace"), Some(TRACE));
}

#[test]
fn requests_do_not_notice_a_collector_that_is_away() {
    let (address, _socket) = refusing_address();
    let backend = Backend::saying("good");
    let proxy = traced(&[&backend], &format!("http://{address}"), "sample: 100%").start();
    for _ in 0..3 {
        assert_eq!(proxy.get("/x").text(), "good");
    }
    proxy.wait_for_message(0, "Could not export spans");
    wait_until("the spans are dropped", || {
        metric(&proxy, "evenkeel_spans_dropped_total{reason=\"unavailable\"}") > 0.0
    });
    assert_eq!(metric(&proxy, "evenkeel_spans_exported_total"), 0.0);
    assert_eq!(proxy.get("/x").text(), "good");
}

#[test]
fn spans_are_exported_over_tls() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let ca = folder.write("ca.pem", &authority.pem());
    let backend = Backend::saying("");
    let pair = authority.sign_for(&["localhost"]);
    let grpc = Collector::grpcs(&pair);
    let proxy = traced(&[&backend], &grpc.url(), "")
        .env("SSL_CERT_FILE", &ca)
        .start();
    assert_eq!(proxy.client().send(get(&traceparent("01"))).read().status(), 200);
    grpc.wait_for(TRACE, 2);
    let http = Secured::start(&pair, None).url("localhost");
    let proxy = traced(&[&backend], &http, "").env("SSL_CERT_FILE", &ca).start();
    assert_eq!(proxy.client().send(get(&traceparent("01"))).read().status(), 200);
    wait_for_metric(&proxy, "evenkeel_spans_exported_total", 2);
}

#[test]
fn no_spans_are_sent_to_a_collector_that_cannot_be_verified() {
    let backend = Backend::saying("");
    let (folder, authority) = (Folder::new(), Authority::new());
    let ca = folder.write("ca.pem", &authority.pem());
    let collector = Collector::grpcs(&Authority::new().sign_for(&["localhost"]));
    let proxy = traced(&[&backend], &collector.url(), "")
        .env("SSL_CERT_FILE", &ca)
        .start();
    assert_eq!(proxy.client().send(get(&traceparent("01"))).read().status(), 200);
    let line = proxy.wait_for_message(0, "Could not export spans");
    let error = line["error"].as_str().unwrap_or_default();
    assert!(error.contains("UnknownIssuer"), "{line}");
    assert!(collector.all().is_empty());
}

#[test]
fn the_spans_of_the_last_requests_are_exported_at_a_stop() {
    let collector = Collector::grpc();
    let backend = Backend::saying("");
    let proxy = traced(&[&backend], &collector.url(), "").start();
    assert_eq!(proxy.client().send(get(&traceparent("01"))).read().status(), 200);
    assert!(proxy.stop().success());
    assert_eq!(collector.all().len(), 2);
}

#[test]
fn a_reload_turns_tracing_on_and_off() {
    let collector = Collector::http();
    let backend = Backend::saying("");
    let with = |lines: &str| {
        let builder = Proxy::before(&[&backend]).config("workers: 1\nhealth_check: off");
        builder.config(lines)
    };
    let proxy = with("").start();
    let on = format!("tracing: {{ otlp: '{}', sample: 100% }}", collector.url());
    for (lines, is_on) in [(on.as_str(), true), ("tracing: off", false), (&on, true)] {
        proxy.write_config(&with(lines).text());
        let mark = proxy.mark();
        proxy.signal(rustix::process::Signal::HUP);
        proxy.wait_for_message(mark, "reloaded");
        let mark = proxy.mark();
        assert_eq!(proxy.get("/x").status(), 200);
        let line = proxy.wait_for_line_from(mark, |line| line["path"] == "/x");
        assert_eq!(line.get("trace_id").is_some(), is_on, "{line}");
        if let Some(id) = line["trace_id"].as_str() {
            collector.wait_for(id, 2);
        }
    }
}
