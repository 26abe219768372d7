//! Interim responses (1xx, RFC 9110 §15.2), and requests that wait for one (`Expect`, §10.1.1).

use std::time::Duration;

use evenkeel::internals::clock;

use crate::support::http2::{Http2, request as request_by_http2};
use crate::support::{Backend, Bare, Client, Held, Proxy, Response};

const CONFIG: &str = "workers: 1\nhealth_check: { kind: none }";

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";

/// How long a test waits for something that must not come.
const MOMENT: Duration = Duration::from_millis(200);

fn expecting(method: &str) -> String {
    format!("{method} /wait HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
}

/// A balancer in front of `backend`, a client, and the backend's end of the request that the client sent.
fn asked(backend: &Bare, request: &str, timeouts: &str) -> (Proxy, Client, Held) {
    let proxy = Proxy::before(&[])
        .backend(&backend.url())
        .config(CONFIG)
        .config(&format!("timeouts: {{ {timeouts} }}"))
        .start();
    let mut client = proxy.client();
    client.send(request);
    let mut held = backend.accept();
    let head = held.head();
    let is_asked = request.contains("Expect");
    assert_eq!(head.contains("Expect: 100-continue\r\n"), is_asked, "{head}");
    (proxy, client, held)
}

/// Sends `request` to a balancer whose backend responds with these bytes; returns all bytes up to the end.
fn all_of(request: &str, response: &str) -> String {
    let response = Response::raw(response);
    let backend = Backend::start(move |_| response.clone());
    let proxy = Proxy::before(&[&backend]).config(CONFIG).start();
    let bytes = proxy.client().send(request).finish_sending().read_to_end();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The status lines in `text`.
fn statuses(text: &str) -> Vec<&str> {
    let lines = text.split("\r\n").filter(|line| line.starts_with("HTTP/1.1 "));
    lines.map(|line| &line[9..12]).collect()
}

/// P4: all of them, in order, with their own headers.
#[test]
fn every_interim_response_is_forwarded_in_order() {
    let response = format!(
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n\
         HTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\nHTTP/1.1 199 Odd\r\n\r\n{OK}"
    );
    let all = all_of("GET / HTTP/1.1\r\nHost: test\r\n\r\n", &response);
    assert_eq!(statuses(&all), ["102", "103", "103", "199", "200"], "{all}");
    assert!(all.contains("103 Early Hints\r\nLink: </a>\r\n\r\n"), "{all}");
    assert!(all.contains("103 Early Hints\r\nLink: </b>\r\n\r\n"), "{all}");
}

/// P4; RFC 9110 §15.2: never to an HTTP/1.0 client, which would take it for the final response.
#[test]
fn an_http_1_0_client_gets_no_interim_response() {
    let response = format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n{OK}");
    let all = all_of(
        "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nb",
        &response,
    );
    assert_eq!(statuses(&all), ["200"], "{all}");
}

/// RFC 9110 §15.2.1: no client waits for it.
#[test]
fn an_unrequested_100_is_not_forwarded() {
    let response = format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n{OK}");
    let all = all_of("GET / HTTP/1.1\r\nHost: test\r\n\r\n", &response);
    assert_eq!(statuses(&all), ["200"], "{all}");
}

/// P3: an interim response has no body, whatever it announces; bytes in its place are a malformed response.
#[test]
fn a_body_after_an_interim_response_makes_the_response_malformed() {
    for response in [
        "HTTP/1.1 103 Early Hints\r\nContent-Length: 6\r\n\r\npoison",
        "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n6\r\npoison\r\n0\r\n\r\n",
    ] {
        let all = all_of("GET / HTTP/1.1\r\nHost: test\r\n\r\n", &format!("{response}{OK}"));
        assert_eq!(statuses(&all).last(), Some(&"502"), "{all}");
        assert!(!all.contains("poison"), "{all}");
    }
}

/// RFC 9112 §6.3 (1): it ends at its empty line. Whether other bytes follow is known too late to reuse the connection.
#[test]
fn an_interim_response_that_announces_a_body_is_forwarded_and_its_connection_not_reused() {
    for line in ["Transfer-Encoding: chunked", "Content-Length: 5"] {
        let response = Response::raw(format!(
            "HTTP/1.1 103 Early Hints\r\n{line}\r\nX-A: b\r\n\r\n{OK}"
        ));
        let backend = Backend::start(move |_| response.clone());
        let proxy = Proxy::before(&[&backend]).config(CONFIG).start();
        let mut client = proxy.client();
        for _ in 0..2 {
            let hint = client.get("/");
            assert_eq!((hint.status(), hint.field("x-a")), (103, Some("b")), "{line}");
            assert_eq!(hint.field("transfer-encoding"), None, "{line}");
            assert_eq!(client.read().text(), "a", "{line}");
        }
        assert_eq!(backend.connections(), 2, "{line}");
    }
}

#[test]
fn the_number_of_interim_responses_is_bounded() {
    let hint = "HTTP/1.1 103 Early Hints\r\n\r\n";
    let get = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
    let many = all_of(get, &(hint.repeat(32) + OK));
    assert_eq!(
        (statuses(&many).len(), statuses(&many).last()),
        (33, Some(&"200"))
    );
    let flood = all_of(get, &(hint.repeat(33) + OK));
    assert_eq!(statuses(&flood).last(), Some(&"502"), "{flood}");
}

/// F15: the backend's 100, once; we never generate one.
#[test]
fn the_backends_100_is_the_only_one() {
    let backend = Bare::start();
    let (_proxy, mut client, mut held) = asked(&backend, &expecting("POST"), "progress: 10s");
    assert!(client.is_silent_for(MOMENT), "only the backend may say go on");
    held.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.read().status(), 100);
    client.send("hello");
    assert_eq!(held.read(5), "hello");
    held.send(OK);
    assert_eq!(client.read().text(), "a");
    // Both messages were complete: both connections are kept.
    client.send("GET /next HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(held.head().starts_with("GET /next "));
    held.send(OK);
    assert_eq!(client.read().text(), "a");
}

/// F15: a client that does not wait is not made to wait.
#[test]
fn a_body_that_does_not_wait_is_forwarded() {
    let backend = Bare::start();
    let (_proxy, mut client, mut held) = asked(&backend, &(expecting("POST") + "hello"), "progress: 10s");
    assert_eq!(held.read(5), "hello");
    held.send(format!("HTTP/1.1 100 Continue\r\n\r\n{OK}"));
    assert_eq!(client.read().status(), 100);
    assert_eq!(client.read().text(), "a");
}

/// The second backend does not know that the client has already got a 100.
#[test]
fn a_retry_sends_the_client_no_second_100() {
    let (first, second) = (Bare::start(), Bare::start());
    let proxy = Proxy::before(&[])
        .backend(&first.url())
        .backend(&second.url())
        .config(CONFIG)
        .start();
    let mut client = proxy.client();
    client.send(expecting("PUT"));
    let mut held = first.accept();
    held.head();
    held.send("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.read().status(), 100);
    held.reset();
    let mut held = second.accept();
    held.head();
    held.send("HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hello");
    assert_eq!(held.read(5), "hello");
    held.send(OK);
    assert_eq!(client.read().text(), "a");
}

/// F15; RFC 9110 §10.1.1: neither the client nor the backend can know whether the body still follows.
#[test]
fn a_final_response_to_a_waiting_client_closes_both_connections() {
    for status in [200, 401, 413, 417] {
        let backend = Bare::start();
        let (proxy, mut client, mut held) = asked(&backend, &expecting("POST"), "progress: 10s");
        held.send(format!("HTTP/1.1 {status} S\r\nContent-Length: 2\r\n\r\nno"));
        let received = client.read();
        assert_eq!((received.status(), received.text().as_str()), (status, "no"));
        assert_eq!(received.field("connection"), Some("close"));
        // These bytes would be a body to one side and a request to the other.
        client.send("GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n");
        assert!(client.read_to_end().is_empty(), "{status}");
        assert_eq!(held.wait_for_end(), "", "{status}");
        assert_eq!(proxy.access_lines(1).len(), 1);
    }
}

/// F15.
#[test]
fn an_unknown_expectation_is_417_and_the_connection_closed() {
    for value in [
        "y 100-continue",
        "100-continue, y",
        "200-ok",
        "100-continue\r\nExpect: 100-continue",
    ] {
        let backend = Backend::saying("");
        let proxy = Proxy::before(&[&backend]).config(CONFIG).start();
        let mut client = proxy.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 40\r\nExpect: {value}\r\n\r\n\
             GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"
        ));
        let received = client.read();
        assert_eq!(received.status(), 417, "{value:?}");
        assert_eq!(received.field("connection"), Some("close"), "{value:?}");
        assert!(client.read_to_end().is_empty(), "{value:?}");
        assert_eq!(backend.connections(), 0, "{value:?}");
    }
}

/// RFC 9110 §10.1.1: it contains no expectation.
#[test]
fn an_empty_expectation_is_ignored_and_dropped() {
    let backend = Backend::saying("a");
    let proxy = Proxy::before(&[&backend]).config(CONFIG).start();
    let request = "POST /x HTTP/1.1\r\nHost: test\r\nExpect:\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(proxy.client().send(request).read().text(), "a");
    let mut request = request_by_http2("POST", "/x");
    request.headers_mut().insert("expect", "".parse().unwrap());
    let got = Http2::connect(proxy.address()).ask(request, b"hello").unwrap();
    assert_eq!(got.text(), "a");
    let requests = backend.requests(|_| true);
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert_eq!(request.field("expect"), None, "{}", request.head);
        assert_eq!(request.body, b"hello");
    }
}

#[test]
fn an_expectation_without_a_body_is_not_forwarded() {
    for length in ["", "Content-Length: 0\r\n"] {
        let backend = Backend::saying("a");
        let proxy = Proxy::before(&[&backend]).config(CONFIG).start();
        let request = format!("GET /x HTTP/1.1\r\nHost: test\r\n{length}Expect: 100-continue\r\n\r\n");
        assert_eq!(proxy.client().send(request).read().text(), "a");
        let requests = backend.requests(|_| true);
        assert_eq!(requests[0].field("expect"), None, "{}", requests[0].head);
    }
}

/// The request is not sent completely, so `first_byte` does not run; `progress` bounds how long the backend may keep
/// the client waiting, and the failure is the backend's.
#[test]
fn progress_and_not_first_byte_bounds_a_backend_that_sends_no_100() {
    let backend = Bare::start();
    let timeouts = "first_byte: 200ms, request: 200ms, progress: 1200ms";
    let began = clock::now();
    let (proxy, mut client, mut held) = asked(&backend, &expecting("POST"), timeouts);
    let received = client.read();
    assert!(
        began.elapsed() >= Duration::from_millis(1150),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(received.status(), 504);
    assert_eq!(received.field("connection"), Some("close"));
    client.read_to_end();
    held.wait_for_end();
    assert_eq!(proxy.access_line("/wait")["error"], "backend_timeout");
}

/// After the 100, we wait for the client.
#[test]
fn a_client_that_sends_no_body_after_the_100_is_408() {
    let backend = Bare::start();
    let (proxy, mut client, mut held) = asked(&backend, &expecting("POST"), "progress: 400ms");
    held.send("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.read().status(), 100);
    let received = client.read();
    assert_eq!(received.status(), 408);
    assert_eq!(received.field("connection"), Some("close"));
    client.read_to_end();
    held.wait_for_end();
    assert_eq!(proxy.access_line("/wait")["error"], "client_body_timeout");
}
