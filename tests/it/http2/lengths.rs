//! Bodies that differ from `content-length` (RFC 9113 §8.1.1). HTTP/1 considers a message complete as soon as all bytes
//! have arrived, so the last byte is held back until the stream ends.

use h2::Reason;

use super::backends::{before, http2_client};
use super::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, PING, WHOLE};
use super::{get, started};
use crate::support::http2::{Frames, frame, literal, status_block};
use crate::support::http2_backend::{FramesBackend, Http2Backend};
use crate::support::{Client, Proxy};

/// A POST that announces this length.
fn post(length: &str) -> Vec<u8> {
    let block = [
        &[0x83, 0x86, 0x84, 0x41, 0x01, b'a'][..],
        &literal(b"content-length", length.as_bytes()),
    ];
    frame(HEADERS, END_HEADERS, 1, &block.concat())
}

/// The frames of requests longer than announced, each in two parts: the first part alone is still valid.
fn too_long() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let data = |flags, text: &[u8]| frame(DATA, flags, 1, text);
    let trailers = frame(HEADERS, WHOLE, 1, &literal(b"x", b"y"));
    let more = [data(0, b"d"), trailers.clone()].concat();
    vec![
        ("nothing, then a byte", post("0"), data(0, b"d")),
        (
            "nothing, then a byte and the end",
            post("0"),
            data(END_STREAM, b"d"),
        ),
        ("nothing, then a byte and trailers", post("0"), more.clone()),
        (
            "three bytes, then one",
            [post("3"), data(0, b"abc")].concat(),
            data(0, b"d"),
        ),
        (
            "three bytes in two, then one",
            [post("3"), data(0, b"ab"), data(0, b"c")].concat(),
            data(END_STREAM, b"d"),
        ),
        (
            "three bytes, then one and trailers",
            [post("3"), data(0, b"abc")].concat(),
            more,
        ),
        (
            "many bytes, then one",
            [
                post("40000"),
                data(0, &[b'x'; 16_000]),
                data(0, &[b'x'; 16_000]),
                data(0, &[b'x'; 8_000]),
            ]
            .concat(),
            data(0, b"d"),
        ),
    ]
}

/// Waits until everything sent was processed and has had its effect: a later request gets its response.
fn settle(client: &mut Frames) {
    client.send(PING, 0, 0, &[7; 8]);
    client
        .wait_for(|frame| frame.kind == PING && frame.payload == [7; 8])
        .unwrap();
    client.send(HEADERS, WHOLE, 3, &get("/later"));
    client
        .wait_for(|frame| frame.kind == DATA && frame.stream == 3)
        .unwrap();
}

#[test]
fn requests_longer_than_announced_never_look_complete_to_a_backend() {
    let (backend, proxy) = started();
    for (what, first, rest) in too_long() {
        let mut client = Frames::connect(proxy.address(), &[]);
        client.write(&first);
        settle(&mut client);
        client.write(&rest);
        assert_eq!(client.reset_of(1), Some(Reason::PROTOCOL_ERROR), "{what}");
    }
    let posts = backend.requests(|request| request.head.starts_with("POST"));
    assert!(posts.is_empty(), "{posts:#?}");
    let lines = proxy.access_lines(2 * too_long().len());
    assert_eq!(
        lines.iter().filter(|line| line["status"] == 400).count(),
        too_long().len()
    );
}

/// A length of 0 is no reason to wait for a 100.
#[test]
fn requests_as_long_as_announced_pass_whenever_their_end_comes() {
    let (backend, proxy) = started();
    let data = |text: &[u8]| frame(DATA, 0, 1, text);
    let end = || frame(DATA, END_STREAM, 1, b"");
    let trailers = || frame(HEADERS, WHOLE, 1, &literal(b"x", b"y"));
    let expecting = {
        let fields = [
            literal(b"content-length", b"0"),
            literal(b"expect", b"100-continue"),
        ]
        .concat();
        frame(
            HEADERS,
            END_HEADERS,
            1,
            &[&[0x83, 0x86, 0x84, 0x41, 0x01, b'a'][..], &fields].concat(),
        )
    };
    let cases = [
        (post("0"), end(), ""),
        (post("0"), trailers(), ""),
        (expecting, end(), ""),
        ([post("3"), data(b"abc")].concat(), end(), "abc"),
        ([post("3"), data(b"abc")].concat(), trailers(), "abc"),
        (
            [post("3"), data(b"ab")].concat(),
            frame(DATA, END_STREAM, 1, b"c"),
            "abc",
        ),
    ];
    for (at, (first, rest, body)) in cases.into_iter().enumerate() {
        let mut client = Frames::connect(proxy.address(), &[]);
        client.write(&first);
        settle(&mut client);
        client.write(&rest);
        let head = client
            .wait_for(|frame| frame.kind == HEADERS && frame.stream == 1)
            .unwrap();
        assert_eq!(head.payload[0], 0x88, "case {at}");
        let posts = backend.requests(|request| request.head.starts_with("POST"));
        assert_eq!(posts.len(), at + 1);
        assert_eq!(posts[at].body, body.as_bytes(), "case {at}");
        assert_eq!(
            posts[at].field("content-length"),
            Some(body.len().to_string().as_str())
        );
    }
}

/// HTTP/2 marks the end of a body, so the backend gets a reset.
#[test]
fn requests_longer_than_announced_are_reset_at_http2_backends() {
    let backend = Http2Backend::start();
    let proxy = before(&[&backend.url()]).start();
    for (what, first, rest) in too_long() {
        let mut client = Frames::connect(proxy.address(), &[]);
        client.write(&first);
        settle(&mut client);
        client.write(&rest);
        assert_eq!(client.reset_of(1), Some(Reason::PROTOCOL_ERROR), "{what}");
    }
}

/// An HTTP/1.1 request that a hand-written HTTP/2 backend has received.
fn asked() -> (Proxy, Client, FramesBackend, Frames, u32) {
    let backend = FramesBackend::start();
    let proxy = before(&[&backend.url()]).start();
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut held = backend.accept(&[]);
    let stream = held.whole_request();
    (proxy, client, backend, held, stream)
}

fn response_head(length: &str) -> Vec<u8> {
    [status_block(200), literal(b"content-length", length.as_bytes())].concat()
}

/// Waits until everything that the backend sent was processed.
fn settle_backend(held: &mut Frames) {
    held.send(PING, 0, 0, &[7; 8]);
    held.wait_for(|frame| frame.kind == PING && frame.payload == [7; 8])
        .unwrap();
}

#[test]
fn responses_that_announce_no_body_and_have_one_become_502() {
    for flags in [0, END_STREAM] {
        let (proxy, mut client, _backend, mut held, stream) = asked();
        held.send(HEADERS, END_HEADERS, stream, &response_head("0"));
        settle_backend(&mut held);
        held.send(DATA, flags, stream, b"x");
        assert_eq!(client.read().status(), 502);
        assert_eq!(held.reset_of(stream), Some(Reason::PROTOCOL_ERROR));
        assert_eq!(proxy.access_line("/x")["error"], "response_truncated");
    }
    let (_proxy, (client, mut held)) = http2_client("");
    let (response, _) = client.send("GET", "/x", true);
    let stream = held.whole_request();
    held.send(HEADERS, END_HEADERS, stream, &response_head("0"));
    settle_backend(&mut held);
    held.send(DATA, 0, stream, b"x");
    let got = client.read(response).unwrap();
    assert_eq!(got.head.status(), 502);
    assert!(got.text().contains("response_truncated"));
}

#[test]
fn responses_longer_than_announced_never_look_complete() {
    let (proxy, mut client, _backend, mut held, stream) = asked();
    held.send(HEADERS, END_HEADERS, stream, &response_head("5"));
    held.send(DATA, 0, stream, b"12");
    held.send(DATA, 0, stream, b"345");
    settle_backend(&mut held);
    held.send(DATA, END_STREAM, stream, b"6");
    assert_eq!(held.reset_of(stream), Some(Reason::PROTOCOL_ERROR));
    let rest = String::from_utf8(client.read_to_end()).unwrap();
    let (_, body) = rest.split_once("\r\n\r\n").unwrap();
    assert!(body.len() < 5, "{rest}");
    assert_eq!(proxy.access_line("/x")["error"], "response_truncated");

    let (_proxy, (client, mut held)) = http2_client("");
    let (response, _) = client.send("GET", "/x", true);
    let stream = held.whole_request();
    held.send(HEADERS, END_HEADERS, stream, &response_head("5"));
    held.send(DATA, 0, stream, b"12345");
    settle_backend(&mut held);
    held.send(DATA, 0, stream, b"6");
    let error = client.read(response).unwrap_err();
    assert!(error.is_reset() && error.is_remote(), "{error:?}");
}

#[test]
fn responses_as_long_as_announced_pass_whenever_their_end_comes() {
    for (length, body) in [("0", ""), ("5", "12345")] {
        let (_proxy, mut client, _backend, mut held, stream) = asked();
        held.send(HEADERS, END_HEADERS, stream, &response_head(length));
        held.send(DATA, 0, stream, body.as_bytes());
        settle_backend(&mut held);
        held.send(DATA, END_STREAM, stream, b"");
        let got = client.read();
        assert_eq!((got.status(), got.text().as_str()), (200, body));
        assert_eq!(got.field("content-length"), Some(length));
    }
}
