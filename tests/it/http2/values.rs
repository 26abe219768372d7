//! Values of headers and trailers (RFC 9113 §8.2.1), and of `content-length` (RFC 9110 §8.6), in both directions.

use h2::Reason;

use super::backends::{before, http2_client};
use super::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, WHOLE};
use super::started;
use crate::support::http2::{Frames, GET, frame, literal, status_block};
use crate::support::http2_backend::FramesBackend;
use crate::support::{Backend, Client, Proxy, Response};

/// Values with a byte that is never allowed, least of all at an end, where it could be trimmed as white space.
const CONTROLS: &[&[u8]] = &[
    b"v\r", b"v\n", b"v\r\n", b"\rv", b"\nv", b"\r\nv", b"\r", b"\n", b"a\rb", b"a\nb", b"v \r", b"v\n ",
    b"\0", b"v\0", b"\0v", b"a\0b", b"v\x0b", b"\x0cv", b"v\x7f",
];

/// Sends this request to a hand-written HTTP/2 backend, which has received it.
fn asked(text: &str) -> (Proxy, Client, FramesBackend, Frames, u32) {
    let backend = FramesBackend::start();
    let proxy = before(&[&backend.url()]).start();
    let mut client = proxy.client();
    client.send(text);
    let mut held = backend.accept(&[]);
    let stream = held.whole_request();
    (proxy, client, backend, held, stream)
}

const ASKED: &str = "GET /x HTTP/1.1\r\nHost: test\r\nTE: trailers\r\nConnection: TE\r\n\r\n";

fn with(name: &[u8], value: &[u8]) -> Vec<u8> {
    [status_block(200), literal(name, value)].concat()
}

#[test]
fn responses_with_control_bytes_in_a_value_are_malformed() {
    let mut wrong = Vec::new();
    for name in [&b"x"[..], b"content-length", b"location"] {
        for value in CONTROLS {
            let (proxy, mut client, _backend, mut held, stream) = asked(ASKED);
            held.send(HEADERS, END_HEADERS | END_STREAM, stream, &with(name, value));
            let status = client.read().status();
            let error = proxy.access_line("/x")["error"].clone();
            if status != 502 || error != "malformed_response" {
                wrong.push((
                    name.escape_ascii().to_string(),
                    value.escape_ascii().to_string(),
                    status,
                    error,
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn responses_with_control_bytes_in_a_trailer_are_truncated() {
    let mut wrong = Vec::new();
    for value in CONTROLS {
        let (proxy, mut client, _backend, mut held, stream) = asked(ASKED);
        held.send(HEADERS, END_HEADERS, stream, &status_block(200));
        held.send(DATA, 0, stream, b"abc");
        assert_eq!(client.read_head().status(), 200);
        held.send(HEADERS, WHOLE, stream, &literal(b"x-end", value));
        let rest = client.read_to_end();
        let error = proxy.access_line("/x")["error"].clone();
        if rest.ends_with(b"\r\n\r\n") || error != "response_truncated" {
            wrong.push((
                value.escape_ascii().to_string(),
                rest.escape_ascii().to_string(),
                error,
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Servers send such values, above all in `grpc-message`.
#[test]
fn white_space_around_response_values_is_trimmed() {
    let (_proxy, (client, mut held)) = http2_client("");
    let (response, _) = client.send("GET", "/x", true);
    let stream = held.whole_request();
    held.send(HEADERS, END_HEADERS, stream, &with(b"x", b" \ta b\t "));
    held.send(HEADERS, WHOLE, stream, &literal(b"x-end", b"\tc d "));
    let got = client.read(response).unwrap();
    assert_eq!(got.field("x"), Some("a b"));
    assert_eq!(got.trailers["x-end"], "c d");
}

#[test]
fn requests_with_control_bytes_or_white_space_around_a_value_are_malformed() {
    let (backend, proxy) = started();
    let blanks: &[&[u8]] = &[b" v", b"v ", b"\tv", b"v\t"];
    let post = [0x83, 0x86, 0x84, 0x41, 0x01, b'a'];
    let mut wrong = Vec::new();
    for value in CONTROLS.iter().chain(blanks) {
        let field = literal(b"x", value);
        let head = frame(HEADERS, WHOLE, 1, &[GET, &field].concat());
        let trailers = [
            frame(HEADERS, END_HEADERS, 1, &post),
            frame(DATA, 0, 1, b"a"),
            frame(HEADERS, WHOLE, 1, &field),
        ];
        for bytes in [head, trailers.concat()] {
            let mut client = Frames::connect(proxy.address(), &[]);
            client.write(&bytes);
            let reset = client.reset_of(1);
            if reset != Some(Reason::PROTOCOL_ERROR) {
                wrong.push((value.escape_ascii().to_string(), reset));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(
        backend
            .requests(|request| request.field("via").is_some())
            .is_empty()
    );
}

/// The preface begins with this method (RFC 9113 §3.4).
#[test]
fn the_method_of_the_preface_is_refused() {
    let (backend, proxy) = started();
    for path in [&b"*"[..], b"/"] {
        let block = [
            &literal(b":method", b"PRI")[..],
            &[0x86, 0x41, 0x01, b'a'],
            &literal(b":path", path),
        ];
        let mut client = Frames::connect(proxy.address(), &[]);
        client.send(HEADERS, WHOLE, 1, &block.concat());
        assert_eq!(client.reset_of(1), Some(Reason::PROTOCOL_ERROR));
        proxy.wait_for_line(|line| line["error"] == "bad_method" && line["status"] == 400);
    }
    assert!(
        backend
            .requests(|request| request.head.starts_with("PRI"))
            .is_empty()
    );
}

/// `1*DIGIT`, and written anew.
#[test]
fn lengths_with_leading_zeros_are_forwarded_without_them() {
    let backend = Backend::start(|request| match request.start() {
        "POST /none" => Response::raw("HTTP/1.1 200 OK\r\nContent-Length: 00\r\n\r\n"),
        "HEAD /x" => Response::raw("HTTP/1.1 200 OK\r\nContent-Length: 0012\r\n\r\n"),
        _ => Response::raw("HTTP/1.1 200 OK\r\nContent-Length: 005\r\n\r\nhello"),
    });
    let proxy = Proxy::before(&[&backend]).start();
    let mut client = proxy.client();
    for (path, length, body, responded) in [
        ("/five", "05", "12345", "5"),
        ("/none", "00", "", "0"),
        ("/none", "0000000000000000000000000000000000", "", "0"),
    ] {
        let text = format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{body}");
        let got = client.send(text).read();
        assert_eq!(
            (got.status(), got.field("content-length")),
            (200, Some(responded)),
            "{length}"
        );
        let at_backend = backend.requests(|request| request.head.starts_with("POST"));
        let last = at_backend.last().unwrap();
        assert_eq!(
            last.field("content-length"),
            Some(body.len().to_string().as_str()),
            "{length}"
        );
        assert_eq!(last.body, body.as_bytes());

        let mut client = Frames::connect(proxy.address(), &[]);
        let path = literal(b":path", path.as_bytes());
        let block = [
            &[0x83, 0x86, 0x41, 0x01, b'a'][..],
            &path,
            &literal(b"content-length", length.as_bytes()),
        ];
        client.send(HEADERS, END_HEADERS, 1, &block.concat());
        client.send(DATA, END_STREAM, 1, body.as_bytes());
        let head = client.wait_for(|frame| frame.stream == 1).unwrap();
        assert_eq!((head.kind, head.payload[0]), (HEADERS, 0x88), "{length}");
        let at_backend = backend.requests(|request| request.head.starts_with("POST"));
        let last = at_backend.last().unwrap();
        assert_eq!(
            last.field("content-length"),
            Some(body.len().to_string().as_str()),
            "{length}"
        );
    }
    let got = client.send("HEAD /x HTTP/1.1\r\nHost: test\r\n\r\n").read_head();
    assert_eq!(got.field("content-length"), Some("12"));
}

#[test]
fn lengths_of_http2_backends_with_leading_zeros_are_forwarded_without_them() {
    for (length, body) in [("05", "hello"), ("00", "")] {
        let (_proxy, mut client, _backend, mut held, stream) = asked(ASKED);
        held.send(
            HEADERS,
            END_HEADERS,
            stream,
            &with(b"content-length", length.as_bytes()),
        );
        held.send(DATA, END_STREAM, stream, body.as_bytes());
        let got = client.read();
        assert_eq!((got.status(), got.text().as_str()), (200, body));
        assert_eq!(got.field("content-length"), Some(body.len().to_string().as_str()));
    }
}
