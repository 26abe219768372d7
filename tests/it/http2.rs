//! HTTP/2 to clients, HTTP/1.1 to backends.

mod backends;
mod floods;
mod frames;
mod half_heads;
mod heads;
mod lengths;
mod refused;
mod soak;
mod states;
mod values;
mod websockets;

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use rustix::process::Signal;

use crate::support::http2::{Frame, Frames, Http2, literal, read, request};
use crate::support::{Backend, Bare, Gate, Proxy, Response};

/// A backend that responds, and the balancer in front of it.
fn started() -> (Backend, Proxy) {
    let backend = Backend::start(|request| match request.start() {
        "GET /ten" => Response::ok("0123456789"),
        _ => Response::ok("ok"),
    });
    let proxy = Proxy::before(&[&backend]).start();
    (backend, proxy)
}

/// The field block of a GET for this path.
fn get(path: &str) -> Vec<u8> {
    let length = u8::try_from(path.len()).unwrap();
    [&[0x82, 0x86, 0x41, 0x01, b'a', 0x04, length][..], path.as_bytes()].concat()
}

#[test]
fn requests_of_every_kind_pass() {
    let backend = Backend::start(|request| match request.start() {
        "POST /echo" => Response::echo(),
        "HEAD /head" => Response::raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        "GET /none" => Response::raw("HTTP/1.1 204 No Content\r\n\r\n"),
        _ => Response::raw(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-One: 1\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n\
             3\r\nabc\r\n0\r\n\r\n",
        ),
    });
    let proxy = Proxy::before(&[&backend]).start();
    let client = Http2::connect(proxy.address());
    let got = client.get("/chunked");
    assert_eq!(
        (got.text(), got.field("x-one"), got.field("x-hop")),
        ("abc", Some("1"), None)
    );
    assert_eq!(got.field("transfer-encoding"), None);
    let body = "x".repeat(300_000);
    assert_eq!(
        client
            .ask(request("POST", "/echo"), body.as_bytes())
            .unwrap()
            .text(),
        body
    );
    let head = client.ask(request("HEAD", "/head"), b"").unwrap();
    assert_eq!((head.field("content-length"), head.body.len()), (Some("5"), 0));
    assert_eq!(client.get("/none").head.status(), 204);
    let line = proxy.access_line("/chunked");
    assert_eq!(
        (&line["protocol"], &line["status"]),
        (&"HTTP/2.0".into(), &200.into())
    );
}

#[test]
fn what_reaches_the_backend_is_plain_http1() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend]).start();
    let client = Http2::connect(proxy.address());
    let mut asked = request("POST", "/x?a=%20b");
    let fields = asked.headers_mut();
    for (name, value) in [
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("te", "trailers"),
        ("x-forwarded-for", "6.6.6.6"),
        ("client-cert", ":forged:"),
    ] {
        fields.append(name, value.parse().unwrap());
    }
    client.ask(asked, b"hello").unwrap();
    let got = backend.wait_for_request(|request| request.start() == "POST /x?a=%20b");
    assert_eq!(
        (got.field("host"), got.field("cookie")),
        (Some("test"), Some("a=1; b=2"))
    );
    assert_eq!(got.field("x-forwarded-for"), Some("127.0.0.1"));
    assert!(
        got.field("via")
            .is_some_and(|via| via.starts_with("2.0 evenkeel-"))
    );
    assert_eq!(got.field("client-cert"), None);
    assert_eq!(
        (got.field("te"), got.body.as_slice()),
        (Some("trailers"), &b"hello"[..])
    );
}

#[test]
fn trailers_pass_both_ways() {
    let backend = Backend::start(|_| {
        Response::raw(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n1\r\na\r\n0\r\n\
             X-Sum: 7\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n",
        )
    });
    let proxy = Proxy::before(&[&backend]).start();
    let client = Http2::connect(proxy.address());
    let mut sender = client.sender.clone();
    let got = client.run(async {
        let (response, mut sending) = sender.send_request(request("POST", "/x"), false).unwrap();
        sending.send_data(Bytes::from_static(b"hello"), false).unwrap();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-check", "1".parse().unwrap());
        trailers.insert("x-forwarded-for", "6.6.6.6".parse().unwrap());
        sending.send_trailers(trailers).unwrap();
        read(response.await.unwrap(), Vec::new()).await.unwrap()
    });
    assert_eq!(got.trailers.len(), 1, "{:?}", got.trailers);
    assert_eq!(got.trailers["x-sum"], "7");
    let sent = backend.wait_for_request(|request| request.start() == "POST /x");
    let raw = String::from_utf8(sent.raw_body).unwrap().to_lowercase();
    assert!(
        raw.contains("x-check: 1") && !raw.contains("forwarded"),
        "{raw:?}"
    );
}

#[test]
fn interim_responses_pass() {
    let backend = Backend::start(|_| {
        Response::raw(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
        )
    });
    let proxy = Proxy::before(&[&backend]).start();
    let got = Http2::connect(proxy.address()).get("/");
    let seen: Vec<_> = got.interim.iter().map(|head| head.status().as_u16()).collect();
    assert_eq!((seen.as_slice(), got.text()), (&[103][..], "a"));
}

#[test]
fn a_truncated_response_resets_its_stream_and_no_other() {
    let cut = [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ];
    for cut in cut {
        let backend = Backend::start(move |request| match request.start() {
            "GET /cut" => Response::raw(cut).close(),
            _ => Response::ok("whole"),
        });
        let proxy = Proxy::before(&[&backend]).start();
        let client = Http2::connect(proxy.address());
        let error = client.ask(request("GET", "/cut"), b"").unwrap_err();
        assert!(error.is_reset() && error.is_remote(), "{error:?}");
        assert_eq!(client.get("/other").text(), "whole");
        assert_eq!(proxy.access_line("/cut")["error"], "response_truncated");
    }
}

#[test]
fn a_stream_that_its_client_resets_ends_at_the_backend_too() {
    let backend = Bare::start();
    let proxy = Proxy::before(&[])
        .backend(&backend.url())
        .config("health_check: { kind: none }")
        .start();
    let client = Http2::connect(proxy.address());
    let mut sender = client.sender.clone();
    let (response, mut sending) =
        client.run(async { sender.send_request(request("GET", "/gone"), true).unwrap() });
    // It is sent while the client waits for something else.
    client.run(tokio::task::yield_now());
    let mut held = backend.accept();
    held.head();
    sending.send_reset(Reason::CANCEL);
    drop(response);
    client.run_beside(|| held.wait_for_end());
    assert_eq!(proxy.access_line("/gone")["status"], 499);
}

#[test]
fn a_response_arrives_although_the_request_body_is_not_read() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend]).config("limits: { body: 10B }").start();
    let client = Http2::connect(proxy.address());
    let got = client.ask(request("POST", "/x"), &[b'a'; 50_000]).unwrap();
    assert_eq!(got.head.status(), 413);
    assert_eq!(client.get("/y").head.status(), 200);
}

#[test]
fn a_failed_attempt_is_retried_elsewhere_with_the_same_body() {
    let bad = Backend::start(|request| match request.start() {
        "POST /x" => Response::status(503, "no"),
        _ => Response::ok(""),
    });
    let good = Backend::start(|_| Response::echo());
    let proxy = Proxy::before(&[&bad, &good]).start();
    let client = Http2::connect(proxy.address());
    for _ in 0..4 {
        let got = client.ask(request("POST", "/x"), b"hello").unwrap();
        assert_eq!((got.head.status().as_u16(), got.text()), (200, "hello"));
    }
}

#[test]
fn a_stop_lets_running_streams_end_and_accepts_no_new_ones() {
    let gate = Gate::default();
    let its = gate.clone();
    let backend = Backend::start(move |request| match request.start() {
        "GET /slow" => Response::ok("done").after(&its),
        _ => Response::ok(""),
    });
    let proxy = Proxy::before(&[&backend]).start();
    let client = Http2::connect(proxy.address());
    let mut sender = client.sender.clone();
    let (response, _) = client.run(async { sender.send_request(request("GET", "/slow"), true).unwrap() });
    client.run(tokio::task::yield_now());
    backend.wait_for_request(|request| request.start() == "GET /slow");
    let mark = proxy.mark();
    proxy.signal(Signal::TERM);
    proxy.wait_for_message(mark, "stopping");
    gate.open();
    let got = client.run(async { read(response.await.unwrap(), Vec::new()).await.unwrap() });
    assert_eq!(got.text(), "done");
    client.run(async {
        while client.sender.clone().ready().await.is_ok() {
            tokio::task::yield_now().await
        }
    });
    assert!(proxy.wait().success());
}

/// RFC 9113 §6.8: the first GOAWAY announces the end; after a round trip the second one excludes new streams. Streams
/// sent in between are served.
#[test]
fn a_stop_sends_goaway_twice() {
    let gate = Gate::default();
    let its = gate.clone();
    let backend = Backend::start(move |request| match request.start() {
        "GET /slow" => Response::ok("done").after(&its),
        _ => Response::ok("ok"),
    });
    let proxy = Proxy::before(&[&backend]).start();
    let mut client = Frames::connect(proxy.address(), &[]);
    client.send(1, 5, 1, &get("/slow"));
    backend.wait_for_request(|request| request.start() == "GET /slow");
    proxy.signal(Signal::TERM);
    let last = |frame: Frame| u32::from_be_bytes(frame.payload[..4].try_into().unwrap());
    let goodbye = client.wait_for(|frame| frame.kind == 7).unwrap();
    assert_eq!(
        (last(goodbye.clone()), &goodbye.payload[4..8]),
        (0x7fff_ffff, &[0; 4][..])
    );
    let ping = client.wait_for(|frame| frame.kind == 6).unwrap();
    // It was already on its way.
    client.send(1, 5, 3, &get("/new"));
    assert!(
        client
            .wait_for(|frame| frame.kind == 0 && frame.stream == 3)
            .is_some()
    );
    client.send(6, 1, 0, &ping.payload);
    assert_eq!(last(client.wait_for(|frame| frame.kind == 7).unwrap()), 3);
    // It was not.
    client.send(1, 5, 5, &get("/late"));
    gate.open();
    let done = client
        .wait_for(|frame| frame.kind == 0 && frame.stream == 1)
        .unwrap();
    assert_eq!(done.payload, b"done");
    assert!(client.wait_for(|frame| frame.stream == 5).is_none());
    assert!(proxy.wait().success());
}

/// A broken tunnel must not look like a regular end.
#[test]
fn a_websocket_that_breaks_resets_its_stream() {
    let backend = Bare::start();
    let proxy = Proxy::before(&[])
        .backend(&backend.url())
        .config("health_check: { kind: none }")
        .start();
    let mut client = Frames::connect(proxy.address(), &[]);
    let block = [
        &literal(b":method", b"CONNECT")[..],
        &literal(b":protocol", b"websocket"),
        &[0x86, 0x84, 0x41, 0x01, b'a'],
    ]
    .concat();
    client.send(1, 4, 1, &block);
    let mut held = backend.accept();
    let head = held.head();
    held.send(format!("{}hi", websockets::switch_for(&head)));
    assert!(
        client
            .wait_for(|frame| frame.kind == 0 && frame.payload == b"hi")
            .is_some()
    );
    held.reset();
    let end = client.wait_for(|frame| frame.stream == 1).unwrap();
    assert_eq!(end.kind, 3, "{end:?}");
}

#[test]
fn the_last_request_of_a_connection_gets_its_response() {
    let backend = Backend::saying("ok");
    let proxy = Proxy::before(&[&backend])
        .config("limits: { requests_per_connection: 2 }")
        .start();
    let client = Http2::connect(proxy.address());
    assert_eq!(client.get("/1").text(), "ok");
    assert_eq!(client.get("/2").text(), "ok");
    client.run(async {
        while client.sender.clone().ready().await.is_ok() {
            tokio::task::yield_now().await
        }
    });
}

#[test]
fn a_websocket_is_opened_by_a_stream() {
    let backend = Bare::start();
    let proxy = Proxy::before(&[])
        .backend(&backend.url())
        .config("health_check: { kind: none }")
        .start();
    let client = Http2::connect(proxy.address());
    // The client must have received the setting that allows it.
    let mut sender = client.sender.clone();
    client.run(async {
        while !sender.is_extended_connect_protocol_enabled() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let mut asked = request("CONNECT", "/chat");
    asked
        .extensions_mut()
        .insert(h2::ext::Protocol::from_static("websocket"));
    asked
        .headers_mut()
        .insert("sec-websocket-version", "13".parse().unwrap());
    let (response, mut sending) = client.run(async { sender.send_request(asked, false).unwrap() });
    client.run(tokio::task::yield_now());
    let mut held = backend.accept();
    let sent = held.head();
    let head = sent.to_lowercase();
    assert!(
        head.starts_with("get /chat http/1.1") && head.contains("upgrade: websocket"),
        "{head}"
    );
    assert!(
        head.contains("sec-websocket-key: ") && head.contains("connection: upgrade"),
        "{head}"
    );
    held.send(format!("{}hello", websockets::switch_for(&sent)));
    let mut receiving = client.run(async {
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body()
    });
    assert_eq!(client.run(receiving.data()).unwrap().unwrap(), "hello");
    sending.send_data(Bytes::from_static(b"world"), true).unwrap();
    assert_eq!(client.run_beside(|| held.read(5)), "world");
    assert_eq!(client.run_beside(|| held.wait_for_end()), "");
    held.close();
    let rest = client.run(async {
        let mut rest = Vec::new();
        while let Some(data) = receiving.data().await {
            rest.extend_from_slice(&data.unwrap());
        }
        rest
    });
    assert_eq!(rest, b"", "the end of the other side");
}
