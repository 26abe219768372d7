//! WebSockets over HTTP/2 (RFC 8441): their clients send no key, so the balancer checks the backend's handshake
//! response (RFC 6455 §4.1).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::frames::{DATA, END_HEADERS, HEADERS};
use crate::support::http2::{Frames, literal};
use crate::support::{Bare, Proxy};

/// The `Sec-WebSocket-Accept` value for a request with this head.
pub(super) fn accept_for(head: &str) -> String {
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("sec-websocket-key").then_some(value)
    });
    let text = format!(
        "{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11",
        key.expect("a key comes")
    );
    BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

/// A 101 for a request with this head.
pub(super) fn switch_for(head: &str) -> String {
    let accept = accept_for(head);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

fn connect(more: &[u8]) -> Vec<u8> {
    [
        &literal(b":method", b"CONNECT")[..],
        &literal(b":protocol", b"websocket"),
        &[0x86, 0x84, 0x41, 0x01, b'a'],
        more,
    ]
    .concat()
}

#[test]
fn a_101_with_a_wrong_accept_value_is_refused() {
    type Lines = fn(&str) -> String;
    let cases: [(&str, Lines); 6] = [
        ("none", |_| String::new()),
        ("another", |_| {
            "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n".to_owned()
        }),
        ("empty", |_| "Sec-WebSocket-Accept: \r\n".to_owned()),
        ("in lower case", |accept| {
            format!("Sec-WebSocket-Accept: {}\r\n", accept.to_lowercase())
        }),
        ("with more behind", |accept| {
            format!("Sec-WebSocket-Accept: {accept}=\r\n")
        }),
        ("twice", |accept| {
            format!("Sec-WebSocket-Accept: {accept}\r\n").repeat(2)
        }),
    ];
    for (what, lines) in cases {
        let backend = Bare::start();
        let proxy = Proxy::before(&[])
            .backend(&backend.url())
            .config("health_check: { kind: none }")
            .start();
        let mut client = Frames::connect(proxy.address(), &[]);
        client.send(HEADERS, END_HEADERS, 1, &connect(&[]));
        let mut held = backend.accept();
        let lines = lines(&accept_for(&held.head()));
        held.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n{lines}\r\nhi"
        ));
        let body = client
            .wait_for(|frame| frame.kind == DATA && frame.stream == 1)
            .unwrap();
        let text = String::from_utf8(body.payload).unwrap();
        assert!(
            text.starts_with("502 ") && text.contains("websocket_accept"),
            "{what}: {text}"
        );
        let line = proxy.wait_for_line(|line| line["error"] == "websocket_accept");
        assert_eq!(line["status"], 502, "{what}");
        held.wait_for_end();
    }
}

/// A client's own key has no meaning in HTTP/2, and is not forwarded beside ours.
#[test]
fn a_101_with_the_right_accept_value_is_forwarded() {
    let backend = Bare::start();
    let proxy = Proxy::before(&[])
        .backend(&backend.url())
        .config("health_check: { kind: none }")
        .start();
    for (at, more) in [
        Vec::new(),
        literal(b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    ]
    .iter()
    .enumerate()
    {
        let mut client = Frames::connect(proxy.address(), &[]);
        client.send(HEADERS, END_HEADERS, 1, &connect(more));
        let mut held = backend.accept();
        let head = held.head();
        assert_eq!(
            head.to_lowercase().matches("sec-websocket-key").count(),
            1,
            "{at}: {head}"
        );
        held.send(format!("{}hi", switch_for(&head)));
        let response = client
            .wait_for(|frame| frame.kind == HEADERS && frame.stream == 1)
            .unwrap();
        assert_eq!(response.payload[0], 0x88);
        assert!(
            client
                .wait_for(|frame| frame.kind == DATA && frame.payload == b"hi")
                .is_some()
        );
    }
}
