//! Limits on slow clients that send or read in small pieces.

use std::time::Duration;

use evenkeel::internals::clock;

use super::{before, fields, with_fields};
use crate::support::{Backend, Client, Proxy, Response};

/// Interval of a client's actions.
const PACE: Duration = Duration::from_millis(20);

/// Waits for one interval, on a connection that receives nothing.
fn pause(pacer: &mut Client) {
    assert!(
        pacer.is_silent_for(PACE),
        "nothing is sent to a client that asks nothing"
    );
}

/// R1: the bound applies to the whole head, not to each byte.
#[test]
fn a_head_in_single_bytes_has_no_extra_time() {
    let backend = Backend::saying("a");
    let proxy = Proxy::before(&[&backend])
        .config("timeouts: { client_header: 1s }\nhealth_check: { kind: none }")
        .start();
    let head = with_fields(&fields(50, 100));
    // The first head of a connection, and a later one.
    for asked_before in [false, true] {
        let mut client = proxy.client();
        if asked_before {
            assert_eq!(client.get("/first").text(), "a");
        }
        let began = clock::now();
        let cut = head
            .bytes()
            .position(|byte| !client.send([byte]).is_silent_for(PACE));
        assert!(
            cut.is_some_and(|at| at < head.len() - 1),
            "no whole head was sent"
        );
        assert!(
            began.elapsed() >= Duration::from_millis(950),
            "{:?}",
            began.elapsed()
        );
        assert_eq!(client.read().status(), 408);
        assert!(client.read_to_end().is_empty());
    }
    assert_eq!(backend.requests(|request| request.start() == "GET /x").len(), 0);
    let is_late =
        |line: &&serde_json::Value| line["error"] == "client_header_timeout" && line["path"] == "/x";
    assert_eq!(proxy.access_lines(3).iter().filter(is_late).count(), 2);
}

/// R1: bytes count once. At seven tenths of the rate a body is too slow; counted twice it would be fast enough.
#[test]
fn a_body_at_seven_tenths_of_the_minimum_rate_is_too_slow() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend])
        .config("limits: { min_body_rate: 10KiB }\ntimeouts: { progress: 1s }")
        .start();
    for framing in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
        let mut client = proxy.client();
        client.send(format!("POST /slow HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n"));
        let payload = "b".repeat(140);
        let piece = match framing {
            "Transfer-Encoding: chunked" => format!("8c\r\n{payload}\r\n"),
            _ => payload,
        };
        let was_cut = (0..200).any(|_| !client.send(&piece).is_silent_for(PACE));
        assert!(was_cut, "{framing}");
        assert_eq!(client.read().status(), 408, "{framing}");
    }
    proxy.wait_for_line(|line| line["error"] == "client_body_timeout");
}

/// More than the socket buffers between two parties hold, in bytes.
const LARGE: usize = 32 << 20;

fn large_responses(limits: &str) -> (Backend, Proxy) {
    let text = "a".repeat(LARGE);
    let backend = Backend::start(move |request| match request.start() {
        "GET /large" => Response::ok(&text),
        _ => Response::ok(""),
    });
    let proxy = Proxy::before(&[&backend])
        .config(&format!("limits: {{ {limits} }}\ntimeouts: {{ progress: 1s }}"))
        .start();
    (backend, proxy)
}

/// R1: the same rate applies to a client that reads a response.
#[test]
fn a_response_that_is_read_below_the_minimum_rate_is_ended() {
    let (_backend, proxy) = large_responses("min_body_rate: 2MiB");
    let (mut client, mut pacer) = (proxy.client(), proxy.client());
    client.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut paces = 0;
    // At most 16 KiB each, which is well below the rate.
    while paces < 300 && client.read_some() > 0 {
        pause(&mut pacer);
        paces += 1;
        if paces % 10 == 0 && proxy.count_so_far(|line| line["path"] == "/large") > 0 {
            break;
        }
    }
    let line = proxy.access_line("/large");
    assert_eq!(
        (&line["error"], &line["status"]),
        (&"client_stalled".into(), &499.into())
    );
    assert!(
        line["bytes_sent"]
            .as_u64()
            .is_some_and(|sent| sent < LARGE as u64),
        "{line}"
    );
}

#[test]
fn a_response_that_is_read_fast_enough_passes() {
    let (_backend, proxy) = large_responses("min_body_rate: 2MiB");
    assert_eq!(proxy.get("/large").body.len(), LARGE);
    assert!(proxy.access_line("/large").get("error").is_none());
}

/// I5: headers that are dropped later still count.
#[test]
fn headers_that_are_not_forwarded_count_too() {
    for line in [
        "X-Forwarded-For: 6.6.6.6\r\n",
        "X_Forwarded_For: 6.6.6.6\r\n",
        "Keep-Alive: timeout=5\r\n",
        "Connection: x\r\n",
        "X: named by Connection\r\n",
        "TE: trailers\r\n",
    ] {
        // `Host` is one of them.
        let (_backend, proxy) = before("fields: 5", Response::ok("a"));
        let ask = |count| {
            let request = with_fields(&line.repeat(count));
            proxy.client().send(request).read().status()
        };
        assert_eq!((ask(4), ask(5)), (200, 431), "{line}");
        let responded = |count| {
            let lines = line.repeat(count);
            let response = Response::raw(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n{lines}\r\na"));
            before("fields: 5", response).1.get("/x").status()
        };
        assert_eq!((responded(4), responded(5)), (200, 502), "{line}");
    }
}

/// I5, with the default limits.
#[test]
fn huge_heads_are_refused() {
    let long = "a".repeat(1 << 20);
    for (request, status) in [
        (with_fields(&fields(99, 10)), 200),
        (with_fields(&fields(100, 10)), 431),
        (with_fields(&"A: b\r\n".repeat(10_000)), 431),
        (with_fields(&format!("{}: b\r\n", &long[..64 << 10])), 431),
        (with_fields(&format!("A: {long}\r\n")), 431),
        (with_fields(&fields(4, 10_000)), 431),
        (
            format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", &long[..100_000]),
            414,
        ),
        (format!("GET /?{long} HTTP/1.1\r\nHost: test\r\n\r\n"), 414),
        (format!("{long} / HTTP/1.1\r\nHost: test\r\n\r\n"), 501),
    ] {
        let (backend, proxy) = before("", Response::ok(""));
        let mut client = proxy.client();
        // It refuses more bytes than it reads, so the result of sending proves nothing.
        let sending = client.send_beside(request.into_bytes());
        assert_eq!(client.read().status(), status);
        drop(client);
        drop(sending.join());
        assert_eq!(backend.requests(|_| true).len(), usize::from(status == 200));
    }
}
