//! Health checks: what they request, what they accept, how often they run, and what is kept of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Backend, Proxy, Request, Response};

fn is_probe(request: &Request) -> bool {
    request.field("User-Agent") == Some("evenkeel-health-check")
}

fn backend(proxy: &Proxy) -> Value {
    let status: Value = serde_json::from_str(&proxy.get_admin("/api/v1/status").text()).unwrap();
    status["pools"][0]["backends"][0].clone()
}

/// A balancer with these keys of `health_check`, before one backend.
fn checking(backend: &Backend, keys: &str) -> Proxy {
    Proxy::before(&[backend])
        .config(&format!("health_check: {{ interval: 50ms, {keys} }}"))
        .start()
}

/// Waits for the message that the only backend is up or down, and returns its reason.
fn wait_for_state(proxy: &Proxy, state: &str) -> String {
    let line = proxy.wait_for_message(0, &format!("Backend is {state}"));
    line["reason"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_probe_has_the_configured_method_host_path_and_headers_on_a_new_connection() {
    let backend = Backend::saying("fine");
    let proxy = checking(
        &backend,
        "method: POST, path: /healthz?deep=1, host: app.internal, headers: { X-Probe: yes, Authorization: 'Basic YTpi' }",
    );
    backend.wait_for_requests(3);
    wait_for_state(&proxy, "up");
    for request in backend.requests(|_| true) {
        assert_eq!(request.start(), "POST /healthz?deep=1");
        assert_eq!(request.field("Host"), Some("app.internal"));
        assert_eq!(request.field("User-Agent"), Some("evenkeel-health-check"));
        assert_eq!(request.field("X-Probe"), Some("yes"));
        assert_eq!(request.field("Authorization"), Some("Basic YTpi"));
        assert_eq!(request.field("Content-Length"), Some("0"));
        assert_eq!(request.field("Connection"), Some("close"));
        assert_eq!(request.turn, 0, "connections are not reused");
    }
}

#[test]
fn a_configured_user_agent_replaces_the_usual_one() {
    let backend = Backend::saying("fine");
    let _proxy = checking(&backend, "headers: { User-Agent: mine }");
    let request = backend.wait_for_request(|_| true);
    assert_eq!(request.field("User-Agent"), Some("mine"));
    assert_eq!(request.head.matches("ser-").count(), 1);
}

#[test]
fn redirects_are_judged_by_their_status_and_not_followed() {
    let redirect = "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n";
    for (status, state) in [("200-399", "up"), ("200", "down")] {
        let backend = Backend::start(move |_| Response::raw(redirect));
        let proxy = checking(&backend, &format!("path: /healthz, status: {status}"));
        let reason = wait_for_state(&proxy, state);
        assert_eq!(reason, if state == "up" { "" } else { "status 302" });
        backend.wait_for_requests(3);
        assert!(
            backend
                .requests(|request| request.start() == "GET /elsewhere")
                .is_empty()
        );
    }
}

#[test]
fn a_body_must_contain_the_text_or_match_the_expression() {
    for (keys, state) in [
        ("body: { contains: 'state: ok' }", "up"),
        ("body: { regex: 'state: (ok|warm)' }", "up"),
        ("body: { contains: 'state: OK' }", "down"),
        ("body: { regex: '^ok' }", "down"),
    ] {
        let backend = Backend::start(|_| {
            Response::raw(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nstat\r\n5\r\ne: ok\r\n0\r\n\r\n",
            )
        });
        let proxy = checking(&backend, keys);
        let reason = wait_for_state(&proxy, state);
        let wanted = if state == "up" {
            ""
        } else {
            "status 200, but the body does not match"
        };
        assert_eq!(reason, wanted, "{keys}");
    }
}

#[test]
fn another_port_is_probed_by_checks_of_any_kind() {
    let health = Backend::start(|_| Response::ok("fine"));
    let port = health.address().port();
    let backend = Backend::start(|request| match is_probe(request) {
        true => Response::status(500, "not here"),
        false => Response::ok("work"),
    });
    let proxy = checking(&backend, &format!("port: {port}"));
    wait_for_state(&proxy, "up");
    health.wait_for_request(is_probe);
    assert_eq!(proxy.get("/work").text(), "work");
    assert!(backend.requests(is_probe).is_empty());
    health.stop();
    let proxy = checking(&backend, &format!("kind: tcp, port: {port}, timeout: 50ms"));
    wait_for_state(&proxy, "down");
}

#[test]
fn a_backend_that_is_down_is_probed_at_its_own_interval() {
    let backend = Backend::start(|_| Response::status(500, "no"));
    let proxy = Proxy::before(&[&backend])
        .config("health_check: { interval: 1h, down_interval: 50ms }")
        .start();
    wait_for_state(&proxy, "down");
    let begun = evenkeel::clock::now();
    backend.wait_for_requests(15);
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "without it, one of these takes half a second or more"
    );
}

#[test]
fn the_last_20_checks_are_kept_with_time_duration_and_reason() {
    let count = AtomicUsize::new(0);
    let source = Backend::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0..30 => Response::ok("fine"),
        _ => Response::status(503, "no"),
    });
    let proxy = checking(&source, "down_interval: 20ms");
    source.wait_for_requests(30);
    wait_for_state(&proxy, "down");
    let found = backend(&proxy);
    let checks = found["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 20);
    assert_eq!(checks[0], found["last_check"]);
    let (newest, oldest) = (&checks[0], &checks[19]);
    assert_eq!(
        (&newest["healthy"], &newest["reason"]),
        (&Value::from(false), &Value::from("status 503"))
    );
    assert_eq!(
        (&newest["status"], &oldest["status"]),
        (&Value::from(503), &Value::from(200))
    );
    assert_eq!(
        (&oldest["healthy"], &oldest["reason"]),
        (&Value::from(true), &Value::Null)
    );
    assert!(newest["duration_ms"].as_f64().unwrap() > 0.0);
    assert!(newest["time"].as_str().unwrap() > oldest["time"].as_str().unwrap());
    assert_eq!(found["state"], "down");
    assert!(found["since"].as_str().unwrap() >= oldest["time"].as_str().unwrap());
    assert_eq!(found["ejected_until"], Value::Null);
}

#[test]
fn a_flapping_backend_changes_its_state_at_most_once_per_the_probes_of_both_directions() {
    let probes = Arc::new(AtomicUsize::new(0));
    let its = Arc::clone(&probes);
    let backend = Backend::start(move |_| match its.fetch_add(1, Ordering::SeqCst) % 5 {
        0..3 => Response::status(500, "no").close(),
        _ => Response::ok("fine").close(),
    });
    let proxy = Proxy::before(&[&backend])
        .config("health_check: { interval: 10ms, down_interval: 10ms }")
        .start();
    backend.wait_for_requests(150);
    let is_change = |line: &Value| matches!(line["msg"].as_str(), Some("Backend is up" | "Backend is down"));
    let changes = proxy.count_so_far(is_change);
    let probes = probes.load(Ordering::SeqCst);
    // The first result decides at once, and two changes may follow each other.
    assert!(
        changes > 5 && changes <= probes / 5 + 3,
        "{changes} changes in {probes} probes"
    );
}

#[test]
fn all_backends_are_used_when_every_one_is_down_and_the_check_fails_open() {
    let backends = ["one", "two"].map(|name| {
        Backend::start(move |request| match request.start() {
            "GET /healthz" => Response::status(500, "no"),
            _ => Response::ok(name),
        })
    });
    for (keys, statuses) in [("", [503, 503]), (", fail_open: true", [200, 200])] {
        let proxy = Proxy::before(&backends.each_ref())
            .config(&format!("health_check: {{ path: /healthz{keys} }}"))
            .start();
        proxy.wait_for_count(2, |line| line["msg"] == "Backend is down");
        let mut client = proxy.client();
        assert_eq!([(); 2].map(|()| client.get("/work").status()), statuses, "{keys}");
        assert_eq!(backend(&proxy)["state"], "down");
    }
    let received = |backend: &Backend| backend.requests(|request| request.start() == "GET /work").len();
    assert_eq!(backends.each_ref().map(received), [1, 1]);
}
