//! Clients that make the balancer work for nothing: each is told to calm down, and costs the others nothing.

use std::time::Duration;

use h2::Reason;

use crate::support::http2::{Frames, GET, Http2, frame};
use crate::support::{Answer, Backend, Proxy};

/// Frames sent at most: several times what the budget of a connection allows.
const FRAMES: usize = 20_000;

fn started(config: &str) -> (Backend, Proxy) {
    let backend = Backend::start(|request| match request.start() {
        "GET /large" => Answer::ok(&"b".repeat(300_000)),
        _ => Answer::ok("ok"),
    });
    let proxy = Proxy::before(&[&backend]).config(config).start();
    (backend, proxy)
}

/// Sends the same frames again and again until the connection takes no more.
fn floods(proxy: &Proxy, before: &[u8], again: impl Fn(u32) -> Vec<u8>) -> Option<Reason> {
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
    assert_eq!(Http2::connect(proxy.address()).get("/good").text(), "ok");
    reason
}

#[test]
fn frames_that_do_nothing_are_counted() {
    let (_backend, proxy) = started("");
    let open = frame(1, 4, 1, &[0x83, 0x86, 0x84, 0x41, 0x01, b'a']);
    let cases: [(&str, &[u8], Vec<u8>); 6] = [
        ("PING", &[], frame(6, 0, 0, &[0; 8])),
        ("SETTINGS", &[], frame(4, 0, 0, &[])),
        ("PRIORITY", &[], frame(2, 0, 1, &[0, 0, 0, 3, 1])),
        ("unknown", &[], frame(0x0b, 0, 0, &[])),
        ("empty DATA", &open, frame(0, 0, 1, &[])),
        ("WINDOW_UPDATE", &[], frame(8, 0, 0, &[0, 0, 0, 1])),
    ];
    for (what, before, again) in cases {
        let reason = floods(&proxy, before, |_| again.clone());
        assert_eq!(reason, Some(Reason::ENHANCE_YOUR_CALM), "{what}");
    }
}

/// CVE-2023-44487.
#[test]
fn streams_that_are_reset_at_once_are_counted() {
    let (backend, proxy) = started("");
    let reason = floods(&proxy, &[], |at| {
        let stream = 2 * at + 1;
        [frame(1, 5, stream, GET), frame(3, 0, stream, &[0, 0, 0, 8])].concat()
    });
    assert_eq!(reason, Some(Reason::ENHANCE_YOUR_CALM));
    assert!(backend.connections() < 2_000);
}

/// CVE-2025-8671: resets of ours that the client provokes.
#[test]
fn streams_that_we_have_to_reset_are_counted() {
    let (_backend, proxy) = started("");
    let reason = floods(&proxy, &[], |at| {
        let stream = 2 * at + 1;
        [frame(1, 4, stream, GET), frame(8, 0, stream, &[0; 4])].concat()
    });
    assert!(reason.is_some());
}

/// CVE-2024-27316 and its like, with and without bytes in the frames.
#[test]
fn heads_without_end_are_cut_off() {
    let (_backend, proxy) = started("");
    for piece in [&b""[..], b"\x00\x01x\x01y"] {
        let reason = floods(&proxy, &frame(1, 0, 1, GET), |_| frame(9, 0, 1, piece));
        assert!(reason.is_some(), "{piece:?}");
    }
}

/// CVE-2026-49975: few bytes on the wire that become many fields.
#[test]
fn fields_that_grow_when_they_are_decoded_are_bounded() {
    let (_backend, proxy) = started("");
    let mut client = Frames::connect(proxy.address(), &[]);
    // One entry of the dynamic table, named again and again.
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

#[test]
fn a_window_that_stays_shut_ends_its_stream() {
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
fn a_connection_that_says_nothing_is_closed() {
    let (_backend, proxy) = started("timeouts: { client_header: 200ms, client_idle: 200ms }");
    let mut client = Frames::connect(proxy.address(), &[]);
    assert_eq!(client.goodbye(), Some(Reason::NO_ERROR));
    assert!(client.is_silent_for(Duration::from_millis(1)) || client.read().is_none());
}
