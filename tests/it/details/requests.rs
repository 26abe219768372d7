//! Refused requests over HTTP/1.1 and HTTP/2.

use super::{assert_says, before, line_after, refused};
use crate::support::http2::{Frames, Http2, literal};
use crate::support::{Backend, Proxy};

const HEADERS: u8 = 1;
const DATA: u8 = 0;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `GET`, `http`, `/`, and `test` as the authority.
const REQUEST: &[u8] = b"\x82\x86\x84\x41\x04test";

#[test]
fn a_refused_head_names_rule_place_method_and_path() {
    let backend = Backend::saying("");
    let proxy = before(&[&backend], "").start();
    let line = refused(
        &proxy,
        "GET /a/b?secret=1 HTTP/1.1\r\nHost: test:80\r\nA : b\r\n\r\n",
    );
    assert_says(
        &line,
        "bad_field_name",
        "no whitespace is allowed between a header name and its colon: line 3, A, byte 0x20",
    );
    assert_eq!(line["method"], "GET", "{line}");
    assert_eq!(line["path"], "/a/b", "{line}");
    assert_eq!(line["host"], "test:80", "{line}");
    assert_eq!(line["protocol"], "HTTP/1.1", "{line}");
    let line = refused(
        &proxy,
        "POST /x HTTP/1.1\r\nContent-Length: 1\r\nHost: a\r\nContent-Length: 1\r\n\r\n",
    );
    assert_says(&line, "duplicate_content_length", "line 4, Content-Length");
    assert_eq!(
        (&line["path"], &line["host"]),
        (&"/x".into(), &"a".into()),
        "{line}"
    );
    let line = refused(&proxy, "nonsense\r\n\r\n");
    assert_says(&line, "bad_request_line", "a request line must be");
    assert!(
        line["method"].is_null() && line["path"].is_null() && line["host"].is_null(),
        "{line}"
    );
}

#[test]
fn a_limit_is_named_with_its_value_and_the_received_one() {
    let backend = Backend::saying("");
    let config =
        "limits: { head: 4KiB, line: 1KiB, fields: 5, trailers: 1KiB, chunk_extensions: 20, body: 10 }";
    let proxy = before(&[&backend], config).start();
    let long = "x".repeat(2_000);
    let chunked = "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    for (request, error, detail) in [
        (
            format!("GET /{long} HTTP/1.1\r\n\r\n"),
            "target_too_long",
            "limits.line is 1024, received 2016",
        ),
        (
            format!("GET /p HTTP/1.1\r\nX-Long: {long}\r\n\r\n"),
            "field_too_long",
            "line 2, X-Long, limits.line is 1024, received 2010",
        ),
        (
            format!("GET /p HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(6)),
            "too_many_fields",
            "line 7, A, limits.fields is 5, received at least 6",
        ),
        (
            format!(
                "{chunked}0\r\n{}\r\n",
                format!("A: {}\r\n", &long[..600]).repeat(2)
            ),
            "trailers_too_large",
            "limits.trailers is 1024",
        ),
        (
            format!("{chunked}3;{long}\r\n"),
            "chunk_extensions_too_large",
            "limits.chunk_extensions is 20, received at least 21",
        ),
        (
            "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n".to_owned(),
            "request_body_too_large",
            "limits.body is 10, Content-Length is 11",
        ),
        (
            format!("{chunked}8\r\nabcdefgh\r\n"),
            "request_body_too_large",
            "limits.body is 10, at least 11 came",
        ),
    ] {
        assert_says(&refused(&proxy, request), error, detail);
    }
}

#[test]
fn broken_chunks_and_trailers_name_rule_and_place() {
    let backend = Backend::saying("");
    let proxy = before(&[&backend], "").start();
    let head = "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let line = refused(&proxy, format!("{head}xyz\r\n"));
    assert_says(
        &line,
        "bad_chunk_size",
        "1 to 16 hexadecimal digits and below 2^63: in the chunked framing after 3 bytes of the body, byte x",
    );
    let line = refused(&proxy, format!("{head}0\r\nFine: 1\r\nA : b\r\n\r\n"));
    assert_says(&line, "bad_field_name", "colon: line 2, A, byte 0x20");
    assert_eq!(line["path"], "/c");
}

#[test]
fn an_incomplete_head_names_timeout_method_and_path() {
    let backend = Backend::saying("");
    let proxy = before(&[&backend], "timeouts: { client_header: 200ms }").start();
    let line = refused(&proxy, "GET /slow?x HTTP/1.1\r\nHost: slow.test\r\nX: ");
    assert_says(&line, "client_header_timeout", "timeouts.client_header is 200ms");
    assert_eq!(
        (&line["path"], &line["host"]),
        (&"/slow".into(), &"slow.test".into()),
        "{line}"
    );
}

/// Sends one field block as an HTTP/2 request and returns its log line.
fn refused_block(proxy: &Proxy, block: &[u8]) -> serde_json::Value {
    let mark = proxy.mark();
    let mut client = Frames::connect(proxy.address(), &[]);
    client.send(HEADERS, END_HEADERS | END_STREAM, 1, block);
    let line = line_after(proxy, mark);
    client.close();
    line
}

#[test]
fn a_refused_http2_request_names_rule_and_place() {
    let backend = Backend::saying("");
    let proxy = before(&[&backend], "limits: { fields: 5, line: 1KiB, head: 4KiB }").start();
    let path = literal(b":path", b"/h2?secret=1");
    let with = |more: &[u8]| [b"\x82\x86\x41\x04test".as_slice(), &path, more].concat();
    let many = literal(b"x", b"y").repeat(6);
    for (more, error, detail) in [
        (
            literal(b"x-nul", b"a\0b"),
            "control_byte",
            "header 5, x-nul, byte 0x00",
        ),
        (
            literal(b"x-pad", b" a"),
            "control_byte",
            "must not begin or end with whitespace: header 5, x-pad",
        ),
        (
            literal(b"connection", b"close"),
            "bad_connection",
            "connection-specific headers, nor TE other than `trailers`: header 5, connection",
        ),
        (
            literal(b":status", b"200"),
            "bad_field_name",
            "a pseudo-header must be defined for its message, occur once and come before all other headers: header 5, :status",
        ),
        (
            literal(b"X-Upper", b"1"),
            "bad_field_name",
            "an HTTP/2 header name must consist of lower-case letters",
        ),
        (
            [&b"\x00\x06x-long\x7f\xcd\x07"[..], &[b'a'; 1100]].concat(),
            "field_too_long",
            "header 5, x-long, limits.line is 1024, received 1110",
        ),
        (many, "too_many_fields", "limits.fields is 5, received 6"),
        (
            literal(b"content-length", b"5"),
            "bad_content_length",
            "a body must be as long as its Content-Length says",
        ),
    ] {
        let line = refused_block(&proxy, &with(&more));
        assert_says(&line, error, detail);
        assert_eq!(
            (&line["method"], &line["path"]),
            (&"GET".into(), &"/h2".into()),
            "{line}"
        );
        assert_eq!(
            (&line["host"], &line["protocol"]),
            (&"test".into(), &"HTTP/2.0".into()),
            "{line}"
        );
    }
    let line = refused_block(&proxy, b"\x82\x86\x84");
    assert_says(&line, "missing_host", "an :authority");
    assert_eq!(
        (&line["path"], &line["host"]),
        (&"/".into(), &().into()),
        "{line}"
    );
}

#[test]
fn malformed_http2_trailers_are_not_logged_as_client_gone() {
    let backend = Backend::saying("");
    let proxy = before(&[&backend], "").start();
    for (flags, end) in [(0, literal(b"x-nul", b"a\0b")), (0, literal(b"connection", b"x"))] {
        let mark = proxy.mark();
        let mut client = Frames::connect(proxy.address(), &[]);
        let block = [b"\x83\x86\x84\x41\x04test".as_slice(), &[]].concat();
        client.send(HEADERS, END_HEADERS, 1, &block);
        client.send(DATA, flags, 1, b"abc");
        client.send(HEADERS, END_HEADERS | END_STREAM, 1, &end);
        let line = line_after(&proxy, mark);
        assert_eq!(line["status"], 400, "{line}");
        assert!(
            line["detail"].as_str().unwrap_or_default().contains("header 1"),
            "{line}"
        );
    }
    let mark = proxy.mark();
    let mut client = Frames::connect(proxy.address(), &[]);
    let length = [REQUEST, &literal(b"content-length", b"9")].concat();
    client.send(HEADERS, END_HEADERS, 1, &length);
    client.send(DATA, END_STREAM, 1, b"abc");
    assert_says(
        &line_after(&proxy, mark),
        "bad_content_length",
        "a body must be as long as its Content-Length says",
    );
    let whole = Http2::connect(proxy.address());
    assert_eq!(whole.get("/whole").head.status(), 200);
    assert!(proxy.access_line("/whole").get("detail").is_none());
}
