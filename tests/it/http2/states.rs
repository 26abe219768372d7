//! Frames that are not allowed in the state of their stream (RFC 9113 §§5.1, 8.1).

use h2::Reason;

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PRIORITY, RST_STREAM, WHOLE, WINDOW_UPDATE, setting,
};
use super::{get, started};
use crate::support::http2::{Frames, GET, frame, literal};
use crate::support::{Backend, Proxy, Response};

/// A frame on a stream that the client has ended causes the error that §5.1 names, whatever happened to the stream
/// since.
#[test]
#[rustfmt::skip]
fn frames_on_ended_streams_are_errors() {
    let (_backend, proxy) = started();
    let block = literal(b"x", b"y");
    let frames = [
        ("DATA", frame(DATA, 0, 1, b"x")),
        ("DATA with an end", frame(DATA, END_STREAM, 1, b"")),
        ("HEADERS", frame(HEADERS, WHOLE, 1, GET)),
        ("trailers", frame(HEADERS, WHOLE, 1, &block)),
        ("HEADERS without an end", frame(HEADERS, END_HEADERS, 1, GET)),
    ];
    let endings: [(&str, Vec<u8>, bool); 4] = [
        // A window of 0 holds the response back.
        ("half-closed", frame(HEADERS, WHOLE, 1, &get("/ten")), false),
        ("half-closed by DATA", [frame(HEADERS, END_HEADERS, 1, &get("/ten")), frame(DATA, END_STREAM, 1, b"")].concat(), false),
        ("reset", [frame(HEADERS, END_HEADERS, 1, GET), frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])].concat(), false),
        ("closed", frame(HEADERS, WHOLE, 1, GET), true),
    ];
    let mut wrong = Vec::new();
    for (ending, before, waits) in &endings {
        for (what, bytes) in &frames {
            let mut client = Frames::connect(proxy.address(), &setting(4, if *waits { 65_535 } else { 0 }));
            client.write(before);
            if *waits {
                client.wait_for(|frame| frame.kind == DATA && frame.flags & END_STREAM != 0);
            }
            client.write(bytes);
            let goodbye = client.goodbye();
            if goodbye != Some(Reason::STREAM_CLOSED) {
                wrong.push((ending, what, goodbye));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// §5.1: these may still be in transit.
#[test]
fn ended_streams_may_still_get_window_updates_and_resets() {
    let (_backend, proxy) = started();
    let mut client = Frames::connect(proxy.address(), &[]);
    client.send(HEADERS, WHOLE, 1, GET);
    assert!(
        client
            .wait_for(|frame| frame.kind == DATA && frame.flags & END_STREAM != 0)
            .is_some()
    );
    client.send(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]);
    client.send(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]);
    client.send(RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    client.send(RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    client.send(HEADERS, WHOLE, 3, GET);
    assert!(
        client
            .wait_for(|frame| frame.kind == DATA && frame.stream == 3)
            .is_some()
    );
}

/// §5.1.2: streams over our limit are refused, or an error.
#[test]
fn streams_beyond_the_limit_are_refused() {
    let (_backend, proxy) = started();
    let mut client = Frames::connect(proxy.address(), &setting(4, 0));
    let limit = 128;
    for at in 0..=limit {
        client.send(HEADERS, WHOLE, 2 * at + 1, &get("/ten"));
    }
    assert_eq!(client.reset_of(2 * limit + 1), Some(Reason::REFUSED_STREAM));
}

/// §8.1: a second block is the trailers, and the last block.
#[test]
#[rustfmt::skip]
fn malformed_trailers_reset_their_stream() {
    let (_backend, proxy) = started();
    let body = frame(DATA, 0, 1, b"x");
    let cases: [(&str, Vec<u8>); 6] = [
        ("no end", frame(HEADERS, END_HEADERS, 1, &literal(b"x", b"y"))),
        ("a pseudo field", frame(HEADERS, WHOLE, 1, &[0x84])),
        ("a name in upper case", frame(HEADERS, WHOLE, 1, &literal(b"X", b"y"))),
        ("a line feed", frame(HEADERS, WHOLE, 1, &literal(b"x", b"a\nb: c"))),
        ("connection", frame(HEADERS, WHOLE, 1, &literal(b"connection", b"x"))),
        ("a pseudo field in two frames", [frame(HEADERS, END_STREAM, 1, &[]), frame(CONTINUATION, END_HEADERS, 1, &[0x84])].concat()),
    ];
    for (what, trailers) in cases {
        let mut client = Frames::connect(proxy.address(), &[]);
        client.write(&[&frame(HEADERS, END_HEADERS, 1, &post(None))[..], &body, &trailers].concat());
        assert_eq!(client.reset_of(1), Some(Reason::PROTOCOL_ERROR), "{what}");
        client.send(HEADERS, WHOLE, 3, GET);
        assert!(client.wait_for(|frame| frame.kind == HEADERS && frame.stream == 3).is_some(), "{what}");
    }
}

/// A POST that announces this length.
fn post(length: Option<&[u8]>) -> Vec<u8> {
    let length = length.map(|length| [&[0x0f, 0x0d, length.len() as u8], length].concat());
    [
        &[0x83, 0x86, 0x84, 0x41, 0x01, b'a'][..],
        &length.unwrap_or_default(),
    ]
    .concat()
}

/// §8.1.1: in any segmentation into frames, and wherever it ends.
#[test]
#[rustfmt::skip]
fn mismatched_lengths_reset_their_stream() {
    let (backend, proxy) = started();
    let trailers = frame(HEADERS, WHOLE, 1, &literal(b"x", b"y"));
    let cases: [(&str, Vec<u8>); 7] = [
        ("too long", [frame(HEADERS, END_HEADERS, 1, &post(Some(b"3"))), frame(DATA, END_STREAM, 1, b"toolong")].concat()),
        ("too short", [frame(HEADERS, END_HEADERS, 1, &post(Some(b"3"))), frame(DATA, END_STREAM, 1, b"x")].concat()),
        ("too long in two", [frame(HEADERS, END_HEADERS, 1, &post(Some(b"3"))), frame(DATA, 0, 1, b"ab"), frame(DATA, 0, 1, b"cd")].concat()),
        ("too short in two", [frame(HEADERS, END_HEADERS, 1, &post(Some(b"3"))), frame(DATA, 0, 1, b"a"), frame(DATA, END_STREAM, 1, b"b")].concat()),
        ("too short before trailers", [frame(HEADERS, END_HEADERS, 1, &post(Some(b"3"))), frame(DATA, 0, 1, b"a"), trailers.clone()].concat()),
        ("none before trailers", [frame(HEADERS, END_HEADERS, 1, &post(Some(b"3"))), trailers].concat()),
        ("none", frame(HEADERS, WHOLE, 1, &post(Some(b"3")))),
    ];
    for (what, bytes) in cases {
        let mut client = Frames::connect(proxy.address(), &[]);
        client.write(&bytes);
        assert_eq!(client.reset_of(1), Some(Reason::PROTOCOL_ERROR), "{what}");
    }
    // No request looks complete to the backend, and no length is announced for a missing body.
    let posts = backend.requests(|request| request.head.starts_with("POST"));
    assert!(posts.is_empty(), "{posts:#?}");
}

/// §8.1: a local response that the client does not read is incomplete, and must not end as if it were complete.
#[test]
fn an_unread_local_response_is_reset() {
    let backend = Backend::start(|_| Response::raw("no answer\r\n\r\n"));
    let proxy = Proxy::before(&[&backend])
        .config("timeouts: { client_header: 300ms }")
        .start();
    let mut client = Frames::connect(proxy.address(), &setting(4, 0));
    client.send(HEADERS, WHOLE, 1, GET);
    let head = client.wait_for(|frame| frame.kind == HEADERS && frame.stream == 1);
    assert!(head.is_some_and(|frame| frame.flags & END_STREAM == 0));
    let end = client.wait_for(|frame| frame.stream == 1).unwrap();
    assert_eq!(end.kind, RST_STREAM, "{end:?}");
}
