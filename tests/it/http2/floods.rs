//! Clients that cause work without effect: their connection ends with ENHANCE_YOUR_CALM, at no cost to other clients.

use std::time::Duration;

use h2::Reason;

use crate::support::http2::{Frames, GET, Http2, frame};
use crate::support::{Backend, Bare, DEADLINE, Proxy, Response};

/// Most frames sent: several times the budget of a connection.
const FRAMES: usize = 20_000;
/// Most memory that a flood may add to the process, and longest time that it may last; the tests running in parallel
/// need CPU too.
const GROWTH: usize = 12 << 20;
const TIME: Duration = Duration::from_secs(4);

fn started(config: &str) -> (Backend, Proxy) {
    let backend = Backend::start(|request| match request.start() {
        "GET /large" => Response::ok(&"b".repeat(300_000)),
        _ => Response::ok("ok"),
    });
    let proxy = Proxy::before(&[&backend]).config(config).start();
    (backend, proxy)
}

/// Sends the same frames again and again until the connection accepts no more.
fn floods_end_with(proxy: &Proxy, before: &[u8], again: impl Fn(u32) -> Vec<u8>) -> Option<Reason> {
    assert_eq!(Http2::connect(proxy.address()).get("/good").text(), "ok");
    let (memory, began) = (proxy.resident(), evenkeel::internals::clock::now());
    let mut client = Frames::connect(proxy.address(), &[]);
    client.write(before);
    let batch: Vec<u32> = (0..100).collect();
    for start in (0..FRAMES as u32).step_by(batch.len()) {
        let bytes: Vec<u8> = batch.iter().flat_map(|at| again(start + at)).collect();
        if !client.write(&bytes) {
            break;
        }
    }
    let reason = client.goodbye();
    let (growth, time) = (proxy.resident().saturating_sub(memory), began.elapsed());
    assert!(growth < GROWTH && time < TIME, "{growth} bytes, {time:?}");
    assert_eq!(Http2::connect(proxy.address()).get("/good").text(), "ok");
    reason
}

#[test]
fn frames_without_effect_are_counted() {
    let (_backend, proxy) = started("");
    let open = frame(1, 4, 1, &[0x83, 0x86, 0x84, 0x41, 0x01, b'a']);
    let flawed = frame(1, 4, 1, &[GET, b"\x00\x01X\x01y"].concat());
    let cases: [(&str, &[u8], Vec<u8>); 13] = [
        (
            "heads of a stream that we have reset",
            &flawed,
            frame(1, 4, 1, GET),
        ),
        ("PING", &[], frame(6, 0, 0, &[0; 8])),
        ("acknowledged PING", &[], frame(6, 1, 0, &[0; 8])),
        ("settings of a window", &open, frame(4, 0, 0, &[0, 4, 0, 0, 0, 1])),
        ("many settings", &[], frame(4, 0, 0, &[0; 6 * 100])),
        ("WINDOW_UPDATE of a stream", &open, frame(8, 0, 1, &[0, 0, 0, 1])),
        ("padding alone", &open, frame(0, 8, 1, &[0])),
        ("large unknown frames", &[], frame(0x16, 0, 0, &[0; 1000])),
        ("SETTINGS", &[], frame(4, 0, 0, &[])),
        ("PRIORITY", &[], frame(2, 0, 1, &[0, 0, 0, 3, 1])),
        ("unknown", &[], frame(0x0b, 0, 0, &[])),
        ("empty DATA", &open, frame(0, 0, 1, &[])),
        ("WINDOW_UPDATE", &[], frame(8, 0, 0, &[0, 0, 0, 1])),
    ];
    for (what, before, again) in cases {
        let reason = floods_end_with(&proxy, before, |_| again.clone());
        assert_eq!(reason, Some(Reason::ENHANCE_YOUR_CALM), "{what}");
    }
}

/// Frames with which a client measures, and acknowledges a large response, are no flood.
#[test]
fn required_frames_are_not_counted() {
    let (_backend, proxy) = started("");
    let mut client = Frames::connect(proxy.address(), &[]);
    let mut responses = 0;
    for at in 0..30 {
        let stream = 2 * at + 1;
        client.send(1, 5, stream, &super::get("/large"));
        // A WINDOW_UPDATE and a PING for each frame.
        while let Some(came) = client.read() {
            assert_ne!(came.kind, 7, "after {responses} responses");
            if came.kind == 0 && !came.payload.is_empty() {
                let count = (came.payload.len() as u32).to_be_bytes();
                client.send(8, 0, 0, &count);
                client.send(8, 0, stream, &count);
                client.send(6, 0, 0, &[0; 8]);
            }
            if came.kind == 0 && came.flags & 1 == 1 {
                responses += 1;
                break;
            }
        }
    }
    assert_eq!(responses, 30);
}

/// CVE-2023-44487.
#[test]
fn streams_that_are_reset_at_once_are_counted() {
    let (backend, proxy) = started("");
    let reason = floods_end_with(&proxy, &[], |at| {
        let stream = 2 * at + 1;
        [frame(1, 5, stream, GET), frame(3, 0, stream, &[0, 0, 0, 8])].concat()
    });
    assert_eq!(reason, Some(Reason::ENHANCE_YOUR_CALM));
    assert!(backend.connections() < 2_000);
}

/// More malformed requests at once than the stream limit.
#[test]
fn simultaneous_malformed_requests_are_all_refused() {
    let (backend, proxy) = started("");
    let flawed = [GET, b"\x00\x01X\x01y"].concat();
    let all: Vec<u8> = (0..300).flat_map(|at| frame(1, 5, 2 * at + 1, &flawed)).collect();
    let mut client = Frames::connect_at_once(proxy.address(), &all);
    for at in 0..300 {
        assert!(client.wait_for(|frame| frame.kind == 3).is_some(), "{at}");
    }
    let got = backend.requests(|request| request.field("via").is_some());
    assert_eq!(got.len(), 0, "{:?}", got.first());
}

/// CVE-2025-8671: resets by us that the client provokes.
#[test]
fn streams_that_we_have_to_reset_are_counted() {
    let (_backend, proxy) = started("");
    let reason = floods_end_with(&proxy, &[], |at| {
        let stream = 2 * at + 1;
        [frame(1, 4, stream, GET), frame(8, 0, stream, &[0; 4])].concat()
    });
    assert!(reason.is_some());
}

/// CVE-2024-27316 and similar, with and without bytes in the frames.
#[test]
fn endless_heads_end_the_connection() {
    let (_backend, proxy) = started("");
    for piece in [&b""[..], b"\x00\x01x\x01y"] {
        let reason = floods_end_with(&proxy, &frame(1, 0, 1, GET), |_| frame(9, 0, 1, piece));
        assert!(reason.is_some(), "{piece:?}");
    }
}

/// CVE-2026-49975: few bytes on the wire that decode to many fields.
#[test]
fn decoded_field_size_is_bounded() {
    let (_backend, proxy) = started("");
    let mut client = Frames::connect(proxy.address(), &[]);
    // One entry of the dynamic table, referenced repeatedly.
    let mut block = GET.to_vec();
    block.extend_from_slice(&[0x40, 0x06]);
    block.extend_from_slice(b"cookie");
    block.extend_from_slice(&[0x03, b'a', b'=', b'b']);
    block.extend(std::iter::repeat_n(0xbe, 12_000));
    client.send(1, 5, 1, &block);
    let ended = client.wait_for(|frame| {
        let is_refused = frame.kind == 1 && frame.stream == 1;
        is_refused || frame.kind == 3 || frame.kind == 7
    });
    assert!(ended.is_some());
    assert_eq!(Http2::connect(proxy.address()).get("/good").text(), "ok");
}

/// As many streams as allowed, none of which reads its response.
#[test]
fn streams_without_window_use_no_memory_and_are_reset() {
    let (_backend, proxy) = started("timeouts: { progress: 1s }");
    assert_eq!(Http2::connect(proxy.address()).get("/good").text(), "ok");
    let memory = proxy.resident();
    let mut client = Frames::connect(proxy.address(), &[0, 4, 0, 0, 0, 0]);
    for at in 0..128 {
        client.send(1, 5, 2 * at + 1, &super::get("/large"));
    }
    for _ in 0..128 {
        assert!(client.wait_for(|frame| frame.kind == 1).is_some());
    }
    let growth = proxy.resident().saturating_sub(memory);
    assert!(growth < 2 * GROWTH, "{growth} bytes");
    // Credit for the connection helps no stream.
    client.send(8, 0, 0, &[0, 0, 0, 1]);
    for _ in 0..128 {
        assert!(client.wait_for(|frame| frame.kind == 3).is_some());
    }
    assert_eq!(Http2::connect(proxy.address()).get("/good").text(), "ok");
}

/// Requests with larger responses than the kernel buffers.
fn asks_for_more_than_it_reads(backend: &Backend, proxy: &Proxy) -> Frames {
    // Windows are large enough never to be the limit.
    let mut client = Frames::connect(proxy.address(), &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
    client.send(8, 0, 0, &[0x7f, 0, 0, 0]);
    let all: Vec<u8> = (0..128)
        .flat_map(|at| frame(1, 5, 2 * at + 1, &super::get("/heads")))
        .collect();
    client.write(&all);
    backend.wait_for_requests_where(128, |request| request.start() == "GET /heads");
    client
}

/// Most of these responses are headers, which no window bounds.
fn with_large_heads(config: &str, limits: &str) -> (Backend, Proxy) {
    let config = &format!("{config}\nlimits: {{ head: 64KiB{limits} }}");
    let field = "~".repeat(15_000);
    let fields = format!("X-A: {field}\r\nX-B: {field}\r\nX-C: {field}\r\nX-D: {field}\r\n");
    let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 5\r\n\r\nwhole");
    let backend = Backend::start(move |request| match request.start() {
        "GET /heads" => Response::raw(&head),
        _ => Response::ok("ok"),
    });
    let proxy = Proxy::before(&[&backend]).config(config).start();
    (backend, proxy)
}

#[test]
fn a_connection_that_does_not_read_is_closed() {
    let (backend, proxy) = with_large_heads("timeouts: { progress: 1s, client_idle: 1h }", "");
    let client = asks_for_more_than_it_reads(&backend, &proxy);
    // The admin client is separate and uses its own listener.
    let (began, idle) = (
        evenkeel::internals::clock::now(),
        "evenkeel_connections_active 0\n",
    );
    while !proxy.get_admin("/metrics").text().contains(idle) {
        assert!(began.elapsed() < DEADLINE, "it holds what it does not read");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    drop(client);
}

/// A client that reads late still gets its responses.
#[test]
fn waiting_responses_are_sent_after_the_connection_stops_accepting() {
    let (backend, proxy) = with_large_heads("timeouts: { progress: 20s }", ", requests_per_connection: 128");
    let mut client = asks_for_more_than_it_reads(&backend, &proxy);
    // Longer than a connection without streams waits before it closes.
    std::thread::sleep(Duration::from_millis(2_500));
    for at in 0..128 {
        let end = client.wait_for(|frame| frame.kind == 0 && frame.flags & 1 == 1);
        assert!(end.is_some(), "{at} responses received");
    }
}

/// As many bodies as allowed, to a backend that reads none of them.
#[test]
fn unread_bodies_use_no_memory() {
    let backend = Bare::start();
    let proxy = Proxy::before(&[])
        .backend(&backend.url())
        .config("health_check: { kind: none }\ntimeouts: { progress: 1s }")
        .start();
    let memory = proxy.resident();
    let mut client = Frames::connect(proxy.address(), &[]);
    let held: Vec<_> = (0..100)
        .map(|at| {
            let stream = 2 * at + 1;
            client.send(1, 4, stream, &[0x83, 0x86, 0x84, 0x41, 0x01, b'a']);
            client.send(0, 0, stream, &[b'x'; 10_000]);
            backend.accept()
        })
        .collect();
    let growth = proxy.resident().saturating_sub(memory);
    assert!(growth < 2 * GROWTH, "{growth} bytes");
    drop(held);
}

/// CVE-2026-49975 again: a cookie split into thousands of crumbs, on one stream after the other.
#[test]
fn cookie_crumbs_are_counted() {
    let (backend, proxy) = started("");
    let memory = proxy.resident();
    let mut client = Frames::connect(proxy.address(), &[]);
    let mut block = [GET, &[0x40, 0x06], b"cookie", &[0x01, b'a']].concat();
    block.extend(std::iter::repeat_n(0xbe, 16_000));
    for at in 0..100 {
        client.send(1, 5, 2 * at + 1, &block);
        let response = client.wait_for(|frame| frame.kind == 1 || frame.kind == 7);
        assert_eq!(response.map(|frame| frame.kind), Some(1), "a 431, stream {at}");
    }
    let growth = proxy.resident().saturating_sub(memory);
    assert!(growth < GROWTH, "{growth} bytes");
    assert!(
        backend
            .requests(|request| request.field("cookie").is_some())
            .is_empty()
    );
    let line = proxy.access_lines(1).remove(0);
    assert_eq!(
        (&line["status"], &line["error"]),
        (&431.into(), &"head_too_large".into())
    );
}

#[test]
fn an_exhausted_window_resets_its_stream() {
    let (_backend, proxy) = started("timeouts: { progress: 300ms }");
    // INITIAL_WINDOW_SIZE 0.
    let mut client = Frames::connect(proxy.address(), &[0, 4, 0, 0, 0, 0]);
    let mut block = vec![0x82, 0x86, 0x44, 0x06];
    block.extend_from_slice(b"/large");
    block.extend_from_slice(&[0x41, 0x01, b'a']);
    client.send(1, 5, 1, &block);
    assert!(client.reset_of(1).is_some());
    assert_eq!(proxy.access_line("/large")["error"], "client_stalled");
}

#[test]
fn a_silent_connection_is_closed() {
    let (_backend, proxy) = started("timeouts: { client_header: 200ms, client_idle: 200ms }");
    let mut client = Frames::connect(proxy.address(), &[]);
    assert_eq!(client.goodbye(), Some(Reason::NO_ERROR));
    assert!(client.is_silent_for(Duration::from_millis(1)) || client.read().is_none());
}
