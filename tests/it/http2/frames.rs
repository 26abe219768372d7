//! Frames that no client of good will sends (RFC 9113 §§5–8), and what they are answered with.

use h2::Reason;

use crate::support::http2::{Frames, GET, frame};
use crate::support::{Backend, Proxy};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Malformed requests that are found while their fields are decoded.
const UNDECODABLE: [&str; 4] = [
    "§8.2 a name in upper case",
    "§8.2.1 a line feed",
    "§8.2.1 a NUL",
    "§8.3 an unknown pseudo field",
];

fn started() -> (Backend, Proxy) {
    let backend = Backend::saying("ok");
    let proxy = Proxy::before(&[&backend]).start();
    (backend, proxy)
}

/// RFC 9113 §5.4.1: these end the connection. Of errors of compression the crate tells no more than that they are errors.
#[test]
#[allow(
    clippy::too_many_lines,
    reason = "a table, and what is done with each of its lines"
)]
fn errors_of_the_connection_end_it_with_their_code() {
    let (_backend, proxy) = started();
    let whole = [END_STREAM | END_HEADERS, 0];
    let cases: &[(&str, Vec<u8>, Reason)] = &[
        (
            "§6.1 DATA on stream 0",
            frame(DATA, 0, 0, b"x"),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "§5.1 DATA on an idle stream",
            frame(DATA, 0, 1, b"x"),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "§6.2 HEADERS on stream 0",
            frame(HEADERS, whole[0], 0, GET),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "§5.1.1 an even stream",
            frame(HEADERS, whole[0], 2, GET),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "§6.3 PRIORITY on stream 0",
            frame(PRIORITY, 0, 0, &[0; 5]),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "§6.4 RST_STREAM on stream 0",
            frame(RST_STREAM, 0, 0, &[0; 4]),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "§6.4 RST_STREAM on an idle stream",
            frame(RST_STREAM, 0, 1, &[0; 4]),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "§6.4 RST_STREAM of 3 bytes",
            frame(RST_STREAM, 0, 1, &[0; 3]),
            Reason::FRAME_SIZE_ERROR,
        ),
        (
            "§6.5 SETTINGS on a stream",
            frame(SETTINGS, 0, 1, &[]),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "§6.5 SETTINGS of 5 bytes",
            frame(SETTINGS, 0, 0, &[0; 5]),
            Reason::FRAME_SIZE_ERROR,
        ),
        (
            "§6.5 an acknowledgement with payload",
            frame(SETTINGS, 1, 0, &[0; 6]),
            Reason::FRAME_SIZE_ERROR,
        ),
        (
            "§6.5.2 ENABLE_PUSH 2",
            frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "§6.5.2 INITIAL_WINDOW_SIZE too large",
            frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]),
            Reason::FLOW_CONTROL_ERROR,
        ),
        (
            "§6.5.2 MAX_FRAME_SIZE too small",
            frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "§6.6 PUSH_PROMISE by a client",
            frame(PUSH_PROMISE, 4, 1, &[0; 8]),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "§6.7 PING on a stream",
            frame(PING, 0, 1, &[0; 8]),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "§6.7 PING of 7 bytes",
            frame(PING, 0, 0, &[0; 7]),
            Reason::FRAME_SIZE_ERROR,
        ),
        (
            "§6.8 GOAWAY on a stream",
            frame(7, 0, 1, &[0; 8]),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "§6.9 WINDOW_UPDATE of 0",
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "§6.9 WINDOW_UPDATE of 3 bytes",
            frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
            Reason::FRAME_SIZE_ERROR,
        ),
        (
            "§6.9.1 a window that overflows",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            Reason::FLOW_CONTROL_ERROR,
        ),
        (
            "§6.10 CONTINUATION of nothing",
            frame(CONTINUATION, 4, 1, GET),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "§4.2 a frame that is too large",
            frame(DATA, 0, 1, &[0; 16_385]),
            Reason::FRAME_SIZE_ERROR,
        ),
        (
            "§6.1 padding as long as the frame",
            frame(HEADERS, whole[0] | 8, 1, &[9, 0x82]),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "RFC 7541 §6.1 an index of 0",
            frame(HEADERS, whole[0], 1, &[0x80]),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "RFC 7541 §2.3.3 an index that is nothing",
            frame(HEADERS, whole[0], 1, &[0xff, 0x20]),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "RFC 7541 §4.2 a table that is too large",
            frame(HEADERS, whole[0], 1, &[0x3f, 0xe1, 0xff, 0x03, 0x82]),
            Reason::PROTOCOL_ERROR,
        ),
        (
            "§6.10 a frame between HEADERS and CONTINUATION",
            [frame(HEADERS, END_STREAM, 1, GET), frame(PING, 0, 0, &[0; 8])].concat(),
            Reason::PROTOCOL_ERROR,
        ),
    ];
    let mut wrong = Vec::new();
    for (what, bytes, reason) in cases {
        let mut client = Frames::connect(proxy.address(), &[]);
        client.write(bytes);
        let goodbye = client.goodbye();
        if goodbye != Some(*reason) {
            wrong.push((what, goodbye));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// RFC 9113 §8.1.1 and §5.4.2: these end their stream, and the connection lives on.
#[test]
fn malformed_requests_end_their_stream_only() {
    let (backend, proxy) = started();
    let literal = |name: &[u8], value: &[u8]| {
        let mut bytes = vec![0x00, name.len() as u8];
        bytes.extend_from_slice(name);
        bytes.push(value.len() as u8);
        bytes.extend_from_slice(value);
        bytes
    };
    let with = |name: &[u8], value: &[u8]| [GET, &literal(name, value)].concat();
    let cases: &[(&str, Vec<u8>)] = &[
        ("§8.2 a name in upper case", with(b"X-Upper", b"1")),
        ("§8.2.2 connection", with(b"connection", b"close")),
        ("§8.2.2 transfer-encoding", with(b"transfer-encoding", b"chunked")),
        ("§8.2.2 keep-alive", with(b"keep-alive", b"1")),
        ("§8.2.2 te", with(b"te", b"gzip")),
        ("§8.2.1 a blank first", with(b"x-a", b" b")),
        ("§8.2.1 a blank last", with(b"x-a", b"b ")),
        ("§8.2.1 a line feed", with(b"x-a", b"b\nc: d")),
        ("§8.2.1 a NUL", with(b"x-a", b"b\0")),
        ("§8.3 an unknown pseudo field", with(b":odd", b"1")),
        (
            "§8.3 a pseudo field behind a field",
            [GET, &literal(b"x", b"y"), &[0x84]].concat(),
        ),
        ("§8.3 the same twice", [GET, &[0x84]].concat()),
        ("§8.3.1 no method", vec![0x86, 0x84, 0x41, 0x01, b'a']),
        ("§8.3.1 no path", vec![0x82, 0x86, 0x41, 0x01, b'a']),
        (
            "§8.3.1 an empty path",
            [&[0x82, 0x86, 0x41, 0x01, b'a'][..], &literal(b":path", b"")].concat(),
        ),
        ("§8.3.1 host beside another authority", with(b"host", b"b")),
        ("neither authority nor host", vec![0x82, 0x86, 0x84]),
        ("§8.1.1 a length without a body", with(b"content-length", b"5")),
        (
            "a length twice",
            [
                GET,
                &literal(b"content-length", b"0"),
                &literal(b"content-length", b"0"),
            ]
            .concat(),
        ),
        ("a name that imitates framing", with(b"content_length", b"0")),
        (
            "a path that is none",
            [&[0x82, 0x86, 0x41, 0x01, b'a'][..], &literal(b":path", b"x")].concat(),
        ),
        (
            "user information",
            [&[0x82, 0x86, 0x84][..], &literal(b":authority", b"u@a")].concat(),
        ),
    ];
    let mut wrong = Vec::new();
    for (what, block) in cases {
        let mut client = Frames::connect(proxy.address(), &[]);
        client.send(HEADERS, END_STREAM | END_HEADERS, 1, block);
        let reset = client.reset_of(1);
        client.send(HEADERS, END_STREAM | END_HEADERS, 3, GET);
        let answered = client.wait_for(|frame| frame.kind == HEADERS && frame.stream == 3);
        // What cannot be decoded ends the connection, which RFC 9113 §5.4 allows.
        let is_undecodable = reset.is_none() && answered.is_none() && UNDECODABLE.contains(what);
        if !is_undecodable && (reset != Some(Reason::PROTOCOL_ERROR) || answered.is_none()) {
            wrong.push((what, reset, answered.is_some()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Each of the second ones, and probes.
    assert!(backend.requests(|request| !request.head.contains("/")).is_empty());
}

#[test]
fn lengths_that_do_not_match_end_their_stream() {
    let (_backend, proxy) = started();
    let block = |length: &[u8]| {
        [
            &[0x83, 0x86, 0x84, 0x41, 0x01, b'a', 0x0f, 0x0d, length.len() as u8],
            length,
        ]
        .concat()
    };
    for (data, length) in [(&b"toolong"[..], &b"3"[..]), (b"x", b"3")] {
        let mut client = Frames::connect(proxy.address(), &[]);
        client.send(HEADERS, END_HEADERS, 1, &block(length));
        client.send(DATA, END_STREAM, 1, data);
        assert_eq!(client.reset_of(1), Some(Reason::PROTOCOL_ERROR));
    }
}

#[test]
fn settings_and_pings_are_acknowledged_and_unknown_frames_ignored() {
    let (_backend, proxy) = started();
    let mut client = Frames::connect(proxy.address(), &[]);
    assert!(
        client
            .wait_for(|frame| frame.kind == SETTINGS && frame.flags == 1)
            .is_some()
    );
    client.send(0x0b, 0xff, 0, b"whatever");
    client.send(PING, 0, 0, b"abcdefgh");
    let ping = client
        .wait_for(|frame| frame.kind == PING && frame.flags == 1)
        .unwrap();
    assert_eq!(ping.payload, b"abcdefgh");
    client.send(HEADERS, END_STREAM | END_HEADERS, 1, GET);
    assert!(
        client
            .wait_for(|frame| frame.kind == DATA && frame.flags & 1 == 1)
            .is_some()
    );
}

#[test]
fn a_preface_that_is_none_is_refused() {
    let (_backend, proxy) = started();
    let mut client = proxy.client();
    client.send("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    assert!(!client.read_to_end().starts_with(b"HTTP/1.1 2"));
}
