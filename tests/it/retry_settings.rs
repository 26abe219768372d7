//! The settings of `retry`: what bounds one attempt, what a retry waits for, and which backends it avoids.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{Backend, Gate, Proxy, Request, Response};

const GET: &str = "GET /x HTTP/1.1\r\nHost: test\r\n\r\n";
const POST: &str = "POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc";
const CHECK_NOTHING: &str = "health_check: { kind: none }";

fn any(_: &Request) -> bool {
    true
}

/// A balancer with this `retry`. One worker, so that round robin is exact.
fn before(backends: &[&Backend], retry: &str) -> Proxy {
    Proxy::before(backends)
        .config(CHECK_NOTHING)
        .config(&format!("workers: 1\nretry: {retry}"))
        .start()
}

/// For backends that fail all the time: what keeps requests away from them is `Retry-After` alone.
fn without_ejection(backends: &[&Backend], retry: &str) -> Proxy {
    Proxy::before(backends)
        .config(CHECK_NOTHING)
        .config(&format!("workers: 1\nejection: off\nretry: {retry}"))
        .start()
}

/// A backend that responds once the gate is open.
fn waiting_for(gate: &Gate) -> Backend {
    let gate = gate.clone();
    Backend::start(move |_| Response::ok("").after(&gate))
}

#[test]
fn an_attempt_that_takes_longer_than_per_try_timeout_is_retried_elsewhere() {
    let gate = Gate::default();
    let slow = waiting_for(&gate);
    let good = Backend::saying("good");
    let proxy = before(&[&slow, &good], "{ per_try_timeout: 200ms }");
    for _ in 0..2 {
        assert_eq!(proxy.client().send(GET).read().text(), "good");
    }
    assert_eq!(slow.requests(any).len(), 1);
    let lines = proxy.access_lines(2);
    let retried = lines.iter().find(|line| line["attempts"] == 2).expect("one");
    assert_eq!(retried["retries"][0]["reason"], "timeout");
    assert_eq!(
        retried["retries"][0]["detail"],
        "ran out: retry.per_try_timeout is 200ms"
    );
    gate.open();
}

#[test]
fn a_post_that_runs_into_per_try_timeout_is_504() {
    let gate = Gate::default();
    let slow = waiting_for(&gate);
    let good = Backend::saying("good");
    let proxy = before(&[&slow, &good], "{ per_try_timeout: 200ms }");
    let mut statuses = [(); 2].map(|()| proxy.client().send(POST).read().status());
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 504]);
    assert_eq!(good.requests(any).len(), 1);
    gate.open();
}

/// The client is slow, not the backend.
#[test]
fn per_try_timeout_does_not_run_while_the_client_sends_its_body() {
    let backend = Backend::saying("good");
    let proxy = before(&[&backend], "{ per_try_timeout: 100ms }");
    let mut client = proxy.client();
    client.send("PUT /x HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\n");
    for byte in ["a", "b", "c"] {
        // A pause is what this is about.
        std::thread::sleep(Duration::from_millis(200));
        client.send(byte);
    }
    assert_eq!(client.read().text(), "good");
}

#[test]
fn a_lone_backend_is_asked_again_as_often_as_attempts_says() {
    for (attempts, status, requests) in [("3", 200, 3), ("2", 503, 2), ("all", 503, 1)] {
        let asked = AtomicUsize::new(0);
        let backend = Backend::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Response::status(503, ""),
            _ => Response::ok("good"),
        });
        let proxy = before(
            &[&backend],
            &format!("{{ attempts: {attempts}, backoff: 1ms-10ms }}"),
        );
        assert_eq!(proxy.client().send(GET).read().status(), status, "{attempts}");
        assert_eq!(backend.requests(any).len(), requests, "{attempts}");
    }
}

#[test]
fn all_backends_are_asked_before_one_is_asked_again() {
    let backends = [(); 3].map(|()| Backend::start(|_| Response::status(503, "")));
    let all: Vec<_> = backends.iter().collect();
    let proxy = before(&all, "{ attempts: 5, backoff: 1ms-1ms }");
    assert_eq!(proxy.client().send(GET).read().status(), 503);
    let mut asked = backends.each_ref().map(|backend| backend.requests(any).len());
    asked.sort_unstable();
    assert_eq!(asked, [1, 2, 2]);
}

#[test]
fn a_client_that_leaves_while_a_retry_waits_ends_its_request() {
    let backend = Backend::start(|_| Response::status(503, ""));
    let proxy = before(&[&backend], "{ attempts: 1000, backoff: 1m-1m }");
    let mut client = proxy.client();
    client.send(GET);
    backend.wait_for_requests(1);
    drop(client);
    assert_eq!(proxy.access_line("/x")["error"], "client_gone");
}

#[test]
fn a_backend_that_says_retry_after_is_avoided_meanwhile() {
    for (header, config, is_avoided) in [
        ("Retry-After: 60\r\n", "{}", true),
        ("Retry-After: Fri, 31 Dec 2100 23:59:59 GMT\r\n", "{}", true),
        ("Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n", "{}", false),
        ("", "{}", false),
        ("Retry-After: 60\r\n", "{ respect_retry_after: false }", false),
    ] {
        let refusal = format!("HTTP/1.1 503 S\r\n{header}Content-Length: 0\r\n\r\n");
        let bad = Backend::start(move |_| Response::raw(&refusal));
        let good = Backend::saying("good");
        let proxy = without_ejection(&[&bad, &good], config);
        let mut client = proxy.client();
        for _ in 0..20 {
            assert_eq!(client.send(GET).read().text(), "good");
        }
        let asked = bad.requests(any).len();
        assert_eq!(asked, if is_avoided { 1 } else { 10 }, "{header} {config}");
    }
}

#[test]
fn backends_that_all_say_retry_after_still_get_requests() {
    let refusal = "HTTP/1.1 503 S\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n";
    let backends = [(); 2].map(|()| Backend::start(move |_| Response::raw(refusal)));
    let proxy = without_ejection(&[&backends[0], &backends[1]], "{}");
    let mut client = proxy.client();
    for _ in 0..10 {
        assert_eq!(client.send(GET).read().status(), 503);
    }
    for backend in &backends {
        assert_eq!(backend.requests(any).len(), 10);
    }
}

#[test]
fn a_post_with_an_idempotency_key_is_retried_like_a_put() {
    for (method, header, is_retried) in [
        ("POST", "Idempotency-Key: \"a\"\r\n", true),
        ("PATCH", "idempotency-key: a\r\n", true),
        ("PUT", "", true),
        ("POST", "", false),
        ("POST", "Idempotency-Key:\r\n", false),
        (
            "POST",
            "Connection: Idempotency-Key\r\nIdempotency-Key: a\r\n",
            false,
        ),
        ("LOCK", "Idempotency-Key: a\r\n", false),
    ] {
        let bad = Backend::start(|_| Response::nothing().close());
        let good = Backend::saying("good");
        let proxy = before(&[&bad, &good], "{}");
        let request = format!("{method} /x HTTP/1.1\r\nHost: test\r\n{header}Content-Length: 3\r\n\r\nabc");
        let mut statuses = [(); 2].map(|()| proxy.client().send(&request).read().status());
        statuses.sort_unstable();
        let expected = if is_retried { 200 } else { 502 };
        assert_eq!(statuses, [200, expected], "{method} {header}");
    }
}
