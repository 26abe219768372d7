//! Malformed responses over HTTP/1.1 and HTTP/2, and responses that are too large or too slow.

use super::{assert_says, before, line_after};
use crate::support::http2::{literal, status_block};
use crate::support::http2_backend::FramesBackend;
use crate::support::{Backend, Gate, Proxy, Response};

const HEADERS: u8 = 1;
const DATA: u8 = 0;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

#[test]
fn a_malformed_head_names_its_rule_and_place() {
    for (head, detail) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "bad_content_length: Content-Length must be one decimal number below 2^63: line 2, Content-Length",
        ),
        (
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            "obs_fold: a header must not continue on the next line: line 3",
        ),
        (
            "HTTP/1.1 200 OK\nA: b\n\n",
            "bare_lf: a line must end with CR LF, not with LF alone: line 1, byte 0x0a",
        ),
        ("SSH-2.0-x\r\n", "bad_status_line: a response must begin with"),
        (
            "\x15\x03\x03\0\x02\x02\x32",
            "tls_response: a backend with an `http://` URL must respond in HTTP/1, and this one speaks TLS: use `https://`",
        ),
    ] {
        let backend = Backend::start(move |_| Response::raw(head).close());
        let proxy = before(&[&backend], "").start();
        assert_eq!(proxy.get("/x").status(), 502);
        let line = proxy.access_line("/x");
        assert_says(&line, "malformed_response", detail);
        assert_eq!(line["backend"], backend.url());
    }
}

#[test]
fn a_head_limit_is_named() {
    let backend = Backend::start(|_| {
        Response::raw(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(2000))).close()
    });
    let proxy = before(&[&backend], "limits: { line: 1KiB }").start();
    assert_eq!(proxy.get("/x").status(), 502);
    assert_says(
        &proxy.access_line("/x"),
        "malformed_response",
        "field_too_long: a header line must not be longer than `limits.line`: line 2, X, limits.line is 1024",
    );
}

#[test]
fn broken_chunks_and_a_truncated_body_are_named() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    for (response, detail) in [
        (
            format!("{chunked}zz\r\n"),
            "bad_chunk_size: a chunk size must be 1 to 16 hexadecimal digits and below 2^63: in the chunked framing after 3 bytes of the body, byte z",
        ),
        (
            format!("{chunked}0\r\nA : b\r\n\r\n"),
            "bad_field_name: no whitespace is allowed between a header name and its colon: line 1, A",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".to_owned(),
            "the connection was closed after 3 of 9 bytes of the body",
        ),
    ] {
        let backend = Backend::start(move |_| Response::raw(&response).close());
        let proxy = before(&[&backend], "").start();
        let mark = proxy.mark();
        let mut client = proxy.client();
        client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
        // It may end with a reset.
        drop(client.try_read());
        assert_says(&line_after(&proxy, mark), "response_truncated", detail);
    }
}

#[test]
fn a_body_over_its_limit_names_the_limit() {
    let backend = Backend::saying("eleven byte");
    let proxy = before(&[&backend], "limits: { body: 10 }").start();
    assert_eq!(proxy.get("/x").status(), 502);
    assert_says(
        &proxy.access_line("/x"),
        "response_too_large",
        "limits.body is 10, Content-Length is 11",
    );
}

#[test]
fn a_malformed_http2_response_names_rule_and_place() {
    let backend = FramesBackend::start();
    let proxy = before(&[], "limits: { fields: 5 }")
        .backend(&backend.url())
        .start();
    let upper = [
        status_block(200),
        literal(b"x-fine", b"1"),
        literal(b"X-Upper", b"1"),
    ]
    .concat();
    let many = [status_block(200), literal(b"x", b"y").repeat(6)].concat();
    for (block, detail) in [
        (
            upper,
            "bad_field_name: an HTTP/2 header name must consist of lower-case letters, digits and !#$%&'*+-.^_`|~: header 3, X-Upper",
        ),
        (
            many,
            "too_many_fields: a message must not have more headers than `limits.fields`: header 7, x, limits.fields is 5",
        ),
        (
            literal(b"x", b"y"),
            "bad_status_line: an HTTP/2 response needs a :status from 100 to 599",
        ),
    ] {
        let mark = proxy.mark();
        let mut client = proxy.client();
        client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut held = backend.accept(&[]);
        let stream = held.whole_request();
        held.send(HEADERS, END_HEADERS | END_STREAM, stream, &block);
        assert_eq!(client.read().status(), 502);
        assert_says(&line_after(&proxy, mark), "malformed_response", detail);
        held.close();
    }
}

#[test]
fn malformed_http2_trailers_are_named() {
    let backend = FramesBackend::start();
    let proxy = before(&[], "").backend(&backend.url()).start();
    let mark = proxy.mark();
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut held = backend.accept(&[]);
    let stream = held.whole_request();
    held.send(HEADERS, END_HEADERS, stream, &status_block(200));
    held.send(DATA, 0, stream, b"abc");
    held.send(
        HEADERS,
        END_HEADERS | END_STREAM,
        stream,
        &literal(b"x-nul", b"a\0b"),
    );
    drop(client.try_read());
    assert_says(
        &line_after(&proxy, mark),
        "response_truncated",
        "control_byte: the start line and headers must not contain control characters; a tab is allowed in header values only: header 1, x-nul, byte 0x00",
    );
}

/// A balancer whose backend waits at `gate` before this part of its response.
fn waiting(response: Response, config: &str) -> (Proxy, Backend) {
    let response = std::sync::Mutex::new(Some(response));
    let backend = Backend::start(move |_| response.lock().unwrap().take().unwrap_or_else(Response::nothing));
    let proxy = before(&[&backend], config).start();
    (proxy, backend)
}

#[test]
fn a_timeout_is_named_with_its_value() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc";
    let stream = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    for (config, begun, error, detail) in [
        (
            "first_byte: 200ms",
            None,
            "backend_timeout",
            "timeouts.first_byte is 200ms",
        ),
        (
            "request: 300ms",
            None,
            "backend_timeout",
            "timeouts.request is 300ms",
        ),
        (
            "progress: 250ms",
            Some(head),
            "response_stalled",
            "timeouts.progress is 250ms",
        ),
        (
            "stream_idle: 250ms",
            Some(stream),
            "response_stalled",
            "timeouts.stream_idle is 250ms",
        ),
    ] {
        let gate = Gate::default();
        let response = match begun {
            Some(begun) => Response::raw(begun).wait(&gate),
            None => Response::ok("").after(&gate),
        };
        let (proxy, _backend) = waiting(response, &format!("timeouts: {{ {config} }}"));
        let mark = proxy.mark();
        let mut client = proxy.client();
        client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
        let line = line_after(&proxy, mark);
        assert_says(&line, error, detail);
        gate.open();
    }
}

#[test]
fn a_client_that_stops_sending_names_the_timeout() {
    let backend = Backend::saying("");
    let proxy = before(&[&backend], "timeouts: { progress: 250ms }").start();
    let mark = proxy.mark();
    let mut client = proxy.client();
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc");
    client.read();
    assert_says(
        &line_after(&proxy, mark),
        "client_body_timeout",
        "timeouts.progress is 250ms",
    );
}
