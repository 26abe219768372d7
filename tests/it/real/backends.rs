//! Common backends: every response arrives as it was sent, and a restart fails no idempotent request.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::backend::{Backend, Kind};
use super::catalogue::pattern;
use super::traffic;
use crate::support::{Client, Proxy};

/// Requests of mixed kinds per backend.
const COUNT: usize = 500;

/// A balancer in front of these backends, with frequent probes.
fn before(backends: &[&Backend]) -> Proxy {
    let check = "health_check: { interval: 200ms, timeout: 5s, healthy_after: 1, unhealthy_after: 1 }";
    let mut builder = Proxy::before(&[]).config(check);
    for backend in backends {
        builder = builder.backend(&backend.url());
    }
    builder.start()
}

/// Sends all kinds of requests to one backend.
fn carries_all_kinds(kind: Kind) {
    let Some(backend) = Backend::start(kind) else {
        return;
    };
    traffic::send(&before(&[&backend]), traffic::ALL, COUNT);
}

#[test]
fn node_carries_all_kinds_of_requests() {
    carries_all_kinds(Kind::Node);
}

#[test]
fn gunicorn_with_processes_carries_all_kinds_of_requests() {
    carries_all_kinds(Kind::GunicornSync);
}

#[test]
fn gunicorn_with_threads_carries_all_kinds_of_requests() {
    carries_all_kinds(Kind::GunicornThreads);
}

#[test]
fn aiohttp_carries_all_kinds_of_requests() {
    carries_all_kinds(Kind::Aiohttp);
}

/// Sends the requests that a file server can serve to one backend.
fn carries_files(kind: Kind) {
    let Some(backend) = Backend::start(kind) else {
        return;
    };
    for length in traffic::LENGTHS.into_iter().chain([traffic::LARGE]) {
        backend.write_file(length);
    }
    traffic::send(&before(&[&backend]), traffic::FILES, COUNT);
}

#[test]
fn python_carries_files() {
    carries_files(Kind::PythonFiles);
}

#[test]
fn nginx_carries_files() {
    carries_files(Kind::Nginx);
}

#[test]
fn nginx_serves_ranges_encodings_and_responses_without_a_body() {
    let Some(backend) = Backend::start(Kind::Nginx) else {
        return;
    };
    backend.write_file(5000);
    let proxy = before(&[&backend]);
    let mut client = proxy.client();
    let mut ask = |path: &str, fields: &str| {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
        client.read()
    };
    let whole = ask("/bytes/5000", "");
    let tag = whole.field("etag").expect("nginx gives files a tag");
    let part = ask("/bytes/5000", "Range: bytes=10-19\r\n");
    assert_eq!(part.status(), 206);
    assert_eq!(part.field("content-range"), Some("bytes 10-19/5000"));
    assert_eq!(part.body, &pattern(5000)[10..20]);
    let parts = ask("/bytes/5000", "Range: bytes=0-0,-1\r\n");
    assert_eq!(parts.status(), 206);
    assert!(
        parts
            .field("content-type")
            .is_some_and(|kind| kind.starts_with("multipart/"))
    );
    assert_eq!(ask("/bytes/5000", "Range: bytes=6000-\r\n").status(), 416);
    let same = ask("/bytes/5000", &format!("If-None-Match: {tag}\r\n"));
    assert_eq!((same.status(), same.field("etag")), (304, Some(tag)));
    let gzip = ask("/bytes/5000", "Accept-Encoding: br, gzip;q=0.5\r\n");
    assert_eq!(gzip.field("content-encoding"), Some("gzip"));
    assert_eq!(gzip.field("transfer-encoding"), Some("chunked"));
    assert!(gzip.body.starts_with(&[0x1f, 0x8b]), "not gzip");
    assert_eq!(ask("/status/204", "").status(), 204);
    assert_eq!(ask("/redirect", "").status(), 302);
    // The backend closes its connection; ours stays open.
    assert_eq!(ask("/close", "").text(), "closed");
    assert_eq!(ask("/close", "").text(), "closed");
    traffic::expect_lines(&proxy, 10);
}

/// Sends requests while one of two backends is stopped and started again; none fails.
fn restart_fails_no_request(kind: Kind, method: &str) {
    let (Some(mut one), Some(other)) = (Backend::start(kind), Backend::start(kind)) else {
        return;
    };
    one.write_file(100);
    other.write_file(100);
    let proxy = before(&[&one, &other]);
    let has_ended = AtomicBool::new(false);
    let count = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = proxy.client();
                while !has_ended.load(Ordering::SeqCst) {
                    ask(&mut client, method);
                    count.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        // A failure here must stop the threads too, or the test would not end.
        let guard = EndWhenDropped(&has_ended);
        let mark = proxy.mark();
        let url = one.url();
        proxy.wait_for_line_from(mark, |line| is_of(line, &url));
        one.stop();
        let mark = proxy.mark();
        proxy.wait_for_line_from(mark, |line| line["status"] == 200);
        one.start_again();
        let mark = proxy.mark();
        proxy.wait_for_line_from(mark, |line| is_of(line, &url));
        drop(guard);
    });
    traffic::expect_lines(&proxy, count.into_inner());
}

/// Whether an access log line is of a request that this backend served.
fn is_of(line: &Value, url: &str) -> bool {
    let backend = line["backend"].as_str().unwrap_or_default();
    backend.trim_end_matches('/') == url && line["status"] == 200
}

struct EndWhenDropped<'a>(&'a AtomicBool);

impl Drop for EndWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn ask(client: &mut Client, method: &str) {
    client.send(format!("{method} /bytes/100 HTTP/1.1\r\nHost: test\r\n\r\n"));
    if method == "HEAD" {
        assert_eq!(client.read_head().status(), 200);
    } else {
        let received = client.read();
        assert_eq!((received.status(), received.body.len()), (200, 100));
    }
}

#[test]
fn restart_of_python_fails_no_request() {
    // It exits in the middle of a response, whose body is then truncated; a proxy cannot repair that.
    restart_fails_no_request(Kind::PythonFiles, "HEAD");
}

#[test]
fn restart_of_node_fails_no_request() {
    restart_fails_no_request(Kind::Node, "GET");
}

#[test]
fn restart_of_gunicorn_with_processes_fails_no_request() {
    restart_fails_no_request(Kind::GunicornSync, "GET");
}

#[test]
fn restart_of_gunicorn_with_threads_fails_no_request() {
    restart_fails_no_request(Kind::GunicornThreads, "GET");
}

#[test]
fn restart_of_aiohttp_fails_no_request() {
    restart_fails_no_request(Kind::Aiohttp, "GET");
}

#[test]
fn restart_of_nginx_fails_no_request() {
    restart_fails_no_request(Kind::Nginx, "GET");
}

/// Sends the second request of each connection just when the backend, which keeps idle ones for 2 s, closes it.
fn survives_the_end_of_idle_connections(kind: Kind, request: &str) {
    let Some(backend) = Backend::start(kind) else {
        return;
    };
    let proxy = before(&[&backend]);
    thread::scope(|scope| {
        for number in 0..40 {
            let mut client = proxy.client();
            scope.spawn(move || {
                assert_eq!(client.send(request).read().status(), 200);
                let pause = Duration::from_millis(1900 + 5 * number);
                assert!(client.is_silent_for(pause), "something came");
                let received = client.send(request).read();
                assert_eq!(received.status(), 200, "after {pause:?}: {}", received.text());
            });
        }
    });
    traffic::expect_lines(&proxy, 80);
}

#[test]
fn an_announced_idle_timeout_fails_no_post() {
    let request = "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi";
    survives_the_end_of_idle_connections(Kind::Node, request);
}

#[test]
fn a_get_that_meets_the_close_of_an_idle_connection_is_retried() {
    let request = "GET /bytes/10 HTTP/1.1\r\nHost: test\r\n\r\n";
    survives_the_end_of_idle_connections(Kind::GunicornThreads, request);
}

#[test]
fn a_backend_that_serves_one_connection_at_a_time_serves_all_workers() {
    let Some(backend) = Backend::start(Kind::OneAtATime) else {
        return;
    };
    // Each worker has connections of its own, and so do probes.
    let proxy = Proxy::before(&[])
        .backend(&backend.url())
        .config("workers: 2\nhealth_check: { interval: 200ms, timeout: 5s }")
        .start();
    // Two that stay open belong to two workers.
    let (mut one, mut other) = (proxy.client(), proxy.client());
    for _ in 0..2 {
        assert_eq!(one.get("/").text(), "ok");
        assert_eq!(other.get("/").text(), "ok");
    }
    let lines = proxy.access_lines(4);
    assert!(lines.iter().all(|line| line["attempts"] == 1), "{lines:?}");
}
