//! How requests reach a backend over HTTP/2, and which of its responses are accepted.

use std::thread;

use h2::Reason;

use super::{DATA, END_HEADERS, END_STREAM, GET, HEADERS, POST, asked, before, http2_client, reset};
use crate::support::Proxy;
use crate::support::http2::{Frames, literal, status_block};
use crate::support::http2_backend::{FramesBackend, Http2Backend, Seen};

#[test]
fn a_request_arrives_unchanged() {
    let backend = Http2Backend::start();
    let proxy = before(&[&backend.url()]).start();
    let mut client = proxy.client();
    let text = "PUT /a/../x`%20?q={}|<^` HTTP/1.1\r\nHost: Test:81\r\nX-One: 1\r\nX-One: 2\r\nCookie: a=1\r\nTE: trailers\r\n\
                Connection: TE, X-Hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(client.send(text).read().text(), "/x%60%20");
    let (line, fields) = backend.wait_for("the request", |all| {
        all.iter().find_map(|seen| match seen {
            Seen::Request(line, fields) => Some((line.clone(), fields.clone())),
            _ => None,
        })
    });
    assert_eq!(line, "PUT http://Test:81/x%60%20?q={}|%3C^`");
    let values = |name: &str| -> Vec<&str> {
        let meant = fields.iter().filter(|(its, _)| its == name);
        meant.map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!((values("x-one"), values("cookie")), (vec!["1", "2"], vec!["a=1"]));
    assert_eq!(values("te"), ["trailers"]);
    assert!(matches!(values("via")[..], [via] if via.starts_with("1.1 evenkeel-")));
    assert_eq!(
        (values("content-length"), values("x-forwarded-for")),
        (vec!["2"], vec!["127.0.0.1"])
    );
    for gone in ["connection", "host", "x-hop", "transfer-encoding", "upgrade"] {
        assert!(values(gone).is_empty(), "{gone}");
    }
}

/// RFC 9113 §8.3.1: its path is `*`.
#[test]
fn options_with_asterisk_passes() {
    let backend = Http2Backend::start();
    let proxy = before(&[&backend.url()]).start();
    let got = proxy
        .client()
        .send("OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n")
        .read();
    assert_eq!((got.status(), got.text().as_str()), (200, "*"));
}

#[test]
fn interim_responses_pass_and_100_is_not_sent_twice() {
    let backend = FramesBackend::start();
    let proxy = before(&[&backend.url()]).start();
    let mut client = proxy.client();
    client.send("POST /x HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let mut held = backend.accept(&[]);
    let stream = held.request();
    for status in [100, 103, 100] {
        held.send(HEADERS, END_HEADERS, stream, &status_block(status));
    }
    assert_eq!(client.read_head().status(), 100);
    client.send("hello");
    assert_eq!(client.read_head().status(), 103);
    assert_eq!(held.whole_request(), stream);
    held.response(stream, 200, "ok");
    assert_eq!(client.read().text(), "ok");
}

#[test]
fn responses_without_a_body_end_with_their_headers() {
    for (method, block) in [
        (
            "HEAD",
            [status_block(200), literal(b"content-length", b"5")].concat(),
        ),
        ("GET", status_block(204)),
        (
            "DELETE",
            [status_block(204), literal(b"content-length", b"0")].concat(),
        ),
        (
            "GET",
            [status_block(304), literal(b"content-length", b"5")].concat(),
        ),
    ] {
        let text = format!("{method} /x HTTP/1.1\r\nHost: test\r\n\r\n");
        let (_proxy, mut client, _backend, mut held, stream) = asked(&text, "");
        held.send(HEADERS, END_STREAM | END_HEADERS, stream, &block);
        let head = client.read_head();
        let length = block.ends_with(b"5").then_some("5");
        assert_eq!(head.field("content-length"), length, "{method} {}", head.status());
        // No leftover bytes that the next response could begin with.
        client.send(GET);
        let stream = held.whole_request();
        held.response(stream, 200, "next");
        assert_eq!(client.read().text(), "next");
    }
}

/// A malformed response becomes a 502, and no part of it is forwarded.
#[test]
fn malformed_responses_become_502() {
    let with = |name: &[u8], value: &[u8]| [status_block(200), literal(name, value)].concat();
    let many: Vec<u8> = (0..120).flat_map(|_| literal(b"x", b"y")).collect();
    let cases: &[(&str, u8, Vec<u8>)] = &[
        ("no status", END_HEADERS, literal(b"x", b"y")),
        ("a status that is none", END_HEADERS, status_block(700)),
        ("a switch of protocols", END_HEADERS, status_block(101)),
        (
            "two lengths",
            END_HEADERS,
            [with(b"content-length", b"1"), literal(b"content-length", b"1")].concat(),
        ),
        (
            "a length that is none",
            END_HEADERS,
            with(b"content-length", b"+1"),
        ),
        (
            "a length and no body",
            END_STREAM | END_HEADERS,
            with(b"content-length", b"5"),
        ),
        ("connection", END_HEADERS, with(b"connection", b"close")),
        (
            "transfer-encoding",
            END_HEADERS,
            with(b"transfer-encoding", b"chunked"),
        ),
        ("upgrade", END_HEADERS, with(b"upgrade", b"h2c")),
        ("a name in upper case", END_HEADERS, with(b"X", b"y")),
        ("a line feed", END_HEADERS, with(b"x", b"a\nb")),
        (
            "a pseudo field behind a field",
            END_HEADERS,
            [literal(b"x", b"y"), status_block(200)].concat(),
        ),
        (
            "more fields than allowed",
            END_HEADERS,
            [status_block(200), many].concat(),
        ),
        ("a block that cannot be decoded", END_HEADERS, vec![0x80]),
    ];
    let mut wrong = Vec::new();
    for (what, flags, block) in cases {
        let (proxy, mut client, _backend, mut held, stream) = asked(POST, "");
        held.send(HEADERS, *flags, stream, block);
        let got = client.try_read().map(|got| got.status());
        if !matches!(got, Ok(502)) || proxy.access_line("/x")["attempts"] != 1 {
            wrong.push((what, got));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_head_that_is_too_large_becomes_502() {
    let (_proxy, mut client, _backend, mut held, stream) = asked(POST, "limits: { head: 4KiB }");
    let block: Vec<u8> = (0..60).flat_map(|_| literal(b"x", &[b'y'; 100])).collect();
    held.send(HEADERS, END_HEADERS, stream, &[status_block(200), block].concat());
    assert_eq!(client.read().status(), 502);
}

/// A truncated response is a broken message to an HTTP/1 client and a reset to an HTTP/2 client: never complete.
#[test]
fn truncated_responses_never_look_complete() {
    type Cut = fn(Frames, u32);
    let length = [status_block(200), literal(b"content-length", b"5")].concat();
    let plain = status_block(200);
    let reset_it: Cut = |mut held, stream| {
        reset(&mut held, stream, Reason::INTERNAL_ERROR);
        drop(held.read());
    };
    let quietly: Cut = |mut held, stream| {
        reset(&mut held, stream, Reason::NO_ERROR);
        drop(held.read());
    };
    let close: Cut = |held, _| held.close();
    let end: Cut = |mut held, stream| {
        held.send(DATA, END_STREAM, stream, b"");
        drop(held.read());
    };
    let too_much: Cut = |mut held, stream| {
        held.send(DATA, END_STREAM, stream, b"456");
        drop(held.read());
    };
    let cases: [(&str, &Vec<u8>, Cut); 8] = [
        ("reset", &plain, reset_it),
        ("reset with a length", &length, reset_it),
        ("reset without an error", &plain, quietly),
        ("reset without an error, with a length", &length, quietly),
        ("closed", &plain, close),
        ("closed with a length", &length, close),
        ("too short", &length, end),
        ("too long", &length, too_much),
    ];
    for (what, head, cut) in cases {
        let (proxy, mut client, _backend, mut held, stream) = asked(GET, "");
        held.send(HEADERS, END_HEADERS, stream, head);
        held.send(DATA, 0, stream, b"123");
        let got = client.read_head();
        assert_eq!(got.status(), 200, "{what}");
        let ended = thread::spawn(move || cut(held, stream));
        let rest = client.read_to_end();
        ended.join().unwrap();
        assert!(
            !rest.ends_with(b"0\r\n\r\n") && rest.len() < 9,
            "{what}: {rest:?}"
        );
        assert_eq!(proxy.access_line("/x")["error"], "response_truncated", "{what}");
    }
    let (proxy, client) = http2_client("");
    let mut held = client.1;
    let (response, _) = client.0.send("GET", "/cut", true);
    let stream = held.whole_request();
    held.send(HEADERS, END_HEADERS, stream, &plain);
    held.send(DATA, 0, stream, b"123");
    reset(&mut held, stream, Reason::NO_ERROR);
    let error = client.0.read(response).unwrap_err();
    assert!(error.is_reset() && error.is_remote(), "{error:?}");
    assert_eq!(proxy.access_line("/cut")["error"], "response_truncated");
}

#[test]
fn a_push_is_refused() {
    let (_proxy, mut client, _backend, mut held, stream) = asked(POST, "");
    let block = [&2_u32.to_be_bytes()[..], &[0x82, 0x86, 0x84, 0x41, 0x01, b'a']].concat();
    held.send(5, END_HEADERS, stream, &block);
    assert_eq!(held.goodbye(), Some(Reason::PROTOCOL_ERROR));
    assert_eq!(client.read().status(), 502);
}

/// A gRPC or HTTP/2 server behind `http://` is a common mistake: the reason why it is down says what to configure.
#[test]
fn an_http2_backend_behind_http_is_reported() {
    let backend = Http2Backend::start();
    let url = backend.url().replace("h2c://", "http://");
    let proxy = Proxy::before(&[])
        .backend(&url)
        .config("health_check: { interval: 1s, unhealthy_after: 1 }")
        .start();
    let line = proxy.wait_for_message(0, "backend is down");
    let reason = line["reason"].as_str().unwrap();
    assert!(
        reason.contains("seems to speak HTTP/2") && reason.contains("h2c://"),
        "{line}"
    );
}
