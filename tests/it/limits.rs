//! What each of the `limits` does with a message just over it, and with one that just fits.

use crate::support::{Backend, Proxy, Request, Response};

mod crowding;
mod retrying;
mod slow;
mod workers;

/// A balancer with these limits in front of a backend with this response; only the test's requests reach it.
fn before(limits: &str, response: Response) -> (Backend, Proxy) {
    let backend = Backend::start(move |_| response.clone());
    let proxy = Proxy::before(&[&backend])
        .config(&format!("limits: {{ {limits} }}\nhealth_check: {{ kind: none }}"))
        .start();
    (backend, proxy)
}

/// Expects that the balancer refuses `request` with this status and error code, and that no complete request reaches a
/// backend.
#[track_caller]
fn refused(limits: &str, request: &str, (status, code): (u16, &str)) {
    let (backend, proxy) = before(limits, Response::ok(""));
    let mut client = proxy.client();
    // Bytes after the refused request must never be parsed as another one.
    client.send(format!("{request}GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"));
    let received = client.read();
    assert_eq!(received.status(), status, "{code}");
    assert_eq!(received.field("connection"), Some("close"), "{code}");
    client.read_to_end();
    assert_eq!(proxy.access_lines(1)[0]["error"], code);
    assert_eq!(backend.requests(|_| true).len(), 0, "{code}");
}

/// Expects that `request` reaches the backend, and its response the client.
#[track_caller]
fn served(limits: &str, request: &str) {
    let (backend, proxy) = before(limits, Response::ok("whole"));
    let received = proxy.client().send(request).read();
    assert_eq!((received.status(), received.text().as_str()), (200, "whole"));
    assert_eq!(backend.requests(|_| true).len(), 1);
}

/// Expects that a malformed response is 502.
#[track_caller]
fn assert_bad_response(limits: &str, response: &str, code: &str) {
    let (_backend, proxy) = before(limits, Response::raw(response));
    assert_eq!(proxy.get("/x").status(), 502, "{code}");
    assert_eq!(proxy.access_line("/x")["error"], code);
}

/// Expects that a response that exceeds a limit after its head never looks complete: it is 502, or it ends early.
#[track_caller]
fn assert_broken_response(limits: &str, response: &str, code: &str) {
    let (_backend, proxy) = before(limits, Response::raw(response));
    let received = proxy
        .client()
        .send("GET /x HTTP/1.1\r\nHost: test\r\n\r\n")
        .try_read();
    if let Ok(received) = received {
        assert_eq!(received.status(), 502, "{}", received.head);
    }
    assert_eq!(proxy.access_line("/x")["error"], code);
}

/// Expects that the client gets the complete response.
#[track_caller]
fn assert_good_response(limits: &str, response: &str, text: &str) {
    let (_backend, proxy) = before(limits, Response::raw(response));
    let received = proxy.get("/x");
    assert_eq!((received.status(), received.text().as_str()), (200, text));
}

/// A GET with these header lines.
fn with_fields(lines: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: test\r\n{lines}\r\n")
}

/// A POST with this chunked body.
fn chunked(body: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

/// A response with this chunked body.
fn chunked_response(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

/// `count` header lines of `size` bytes each, line ends included; at most 100.
fn fields(count: usize, size: usize) -> String {
    let line = |index| format!("A{index:02}: {}\r\n", "v".repeat(size - 7));
    (0..count).map(line).collect()
}

#[test]
fn a_head_larger_than_the_limit_is_refused() {
    let limits = "head: 1KiB, line: 512B";
    refused(limits, &with_fields(&fields(5, 300)), (431, "head_too_large"));
    served(limits, &with_fields(&fields(3, 300)));
    let response = |count| {
        let lines = fields(count, 300);
        format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n{lines}\r\na")
    };
    assert_bad_response(limits, &response(5), "malformed_response");
    assert_good_response(limits, &response(3), "a");
}

#[test]
fn a_line_longer_than_the_limit_is_refused() {
    let request = |length| format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", "x".repeat(length));
    // The line consists of these letters and 16 bytes: "GET /", " HTTP/1.1" and its end.
    refused("line: 256B", &request(241), (414, "target_too_long"));
    served("line: 256B", &request(240));
    refused(
        "line: 256B",
        &with_fields(&fields(1, 257)),
        (431, "field_too_long"),
    );
    served("line: 256B", &with_fields(&fields(1, 256)));
    let response = |size| {
        let lines = fields(1, size);
        format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n{lines}\r\na")
    };
    assert_bad_response("line: 256B", &response(257), "malformed_response");
    assert_good_response("line: 256B", &response(256), "a");
}

#[test]
fn more_headers_than_the_limit_are_refused() {
    // `Host` and `Content-Length` count too.
    refused(
        "fields: 5",
        &with_fields(&fields(5, 10)),
        (431, "too_many_fields"),
    );
    served("fields: 5", &with_fields(&fields(4, 10)));
    let response = |count| {
        let lines = fields(count, 10);
        format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n{lines}\r\na")
    };
    assert_bad_response("fields: 5", &response(5), "malformed_response");
    assert_good_response("fields: 5", &response(4), "a");
}

#[test]
fn chunk_extensions_count_for_the_whole_body() {
    let limits = "chunk_extensions: 64B";
    let body = |chunks| "1;extension=0123456789\r\na\r\n".repeat(chunks) + "0\r\n\r\n";
    refused(limits, &chunked(&body(5)), (400, "chunk_extensions_too_large"));
    served(limits, &chunked(&body(2)));
    assert_broken_response(limits, &chunked_response(&body(5)), "response_truncated");
    assert_good_response(limits, &chunked_response(&body(2)), "aa");
}

#[test]
fn trailers_larger_than_the_limit_are_refused() {
    let limits = "trailers: 128B";
    let body = |count| format!("1\r\na\r\n0\r\n{}\r\n", fields(count, 50));
    refused(limits, &chunked(&body(3)), (431, "trailers_too_large"));
    served(limits, &chunked(&body(2)));
    assert_broken_response(limits, &chunked_response(&body(3)), "response_truncated");
    assert_good_response(limits, &chunked_response(&body(2)), "a");
}

#[test]
fn a_request_body_larger_than_the_limit_is_413() {
    let declared = |size| {
        let body = "b".repeat(size);
        format!("POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: {size}\r\n\r\n{body}")
    };
    refused("body: 10B", &declared(11), (413, "request_body_too_large"));
    served("body: 10B", &declared(10));
    let six = "6\r\nbbbbbb\r\n";
    let large = chunked(&format!("{six}{six}0\r\n\r\n"));
    refused("body: 10B", &large, (413, "request_body_too_large"));
    served("body: 12B", &large);
}

#[test]
fn a_response_over_the_limit_never_looks_complete() {
    let declared = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nbbbbbbbbbbbb";
    let large = chunked_response("6\r\nbbbbbb\r\n6\r\nbbbbbb\r\n0\r\n\r\n");
    for response in [declared, &large] {
        assert_broken_response("body: 10B", response, "response_too_large");
        assert_good_response("body: 12B", response, "bbbbbbbbbbbb");
    }
}

#[test]
fn a_body_that_announces_too_much_is_refused_before_it_is_sent() {
    let backend = Backend::saying("a");
    let proxy = Proxy::before(&[&backend]).config("limits: { body: 10B }").start();
    let mut client = proxy.client();
    client.send("POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 11\r\n\r\n");
    assert_eq!(client.read().status(), 413);
    let is_meant = |request: &crate::support::Request| request.start().ends_with(" /x");
    assert!(backend.requests(is_meant).is_empty());
}
