//! Every request gets one access log line, however it ends.

use crate::support::{Backend, Gate, Proxy, Response};

#[test]
fn a_line_names_client_request_and_backend() {
    let backend = Backend::saying("hello");
    let proxy = Proxy::before(&[&backend]).start();
    let mut client = proxy.client();
    client.get("/log?secret=1");
    let line = proxy.access_line("/log");
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["client_ip"], client.address().to_string());
    assert_eq!(line["method"], "GET");
    assert_eq!(line["backend"], backend.url());
    assert_eq!(line["status"], 200);
    assert_eq!(line["host"], "test");
    assert_eq!(line["pool"], "default");
    assert_eq!(line["attempts"], 1);
    assert!(line["latency_ms"].is_number(), "{line}");
    assert!(line.get("retries").is_none(), "{line}");
    assert!(line.get("error").is_none(), "{line}");
}

#[test]
fn a_malformed_head_gets_a_line_without_path() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend]).start();
    let mut client = proxy.client();
    client.send("\"}\n\\ HTTP\r\n\r\n");
    client.read_to_end();
    let line = &proxy.access_lines(1)[0];
    assert!(line["method"].is_null() && line["path"].is_null(), "{line}");
    assert_eq!(line["status"], 400);
    assert!(line["backend"].is_null(), "{line}");
    assert_eq!(line["attempts"], 0);
}

#[test]
fn a_client_that_leaves_first_is_499() {
    let gate = Gate::default();
    let its = gate.clone();
    let backend = Backend::start(move |request| match request.start() {
        "GET /left" => Response::ok("").after(&its),
        _ => Response::ok(""),
    });
    let proxy = Proxy::before(&[&backend]).start();
    let mut client = proxy.client();
    client.send("GET /left HTTP/1.1\r\nHost: test\r\n\r\n");
    backend.wait_for_request(|request| request.start() == "GET /left");
    client.reset();
    assert_eq!(proxy.access_line("/left")["status"], 499);
    gate.open();
}

#[test]
fn what_a_client_sends_cannot_break_a_line() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend]).start();
    let mut client = proxy.client();
    client.send("GET /\"%0a\\\u{e9} HTTP/1.1\r\nHost: test\r\n\r\nx");
    drop(client);
    // The test harness checks that every line of stdout is one JSON object when the balancer ends.
    proxy.access_lines(1);
}

#[test]
fn requests_that_fail_are_warnings() {
    let proxy = Proxy::before(&[]).backend("http://127.0.0.1:1").start();
    assert_eq!(proxy.get("/warned").status(), 503);
    let line = proxy.access_line("/warned");
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["status"], 503);
}
