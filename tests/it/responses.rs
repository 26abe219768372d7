//! Which responses of a backend reach the client, and what happens to broken ones.

use crate::support::http2::Http2;
use crate::support::{Backend, Gate, Proxy, Response};

/// A balancer in front of one backend with this response.
fn before(response: Response) -> (Backend, Proxy) {
    let backend = Backend::start(move |_| response.clone());
    let proxy = Proxy::before(&[&backend])
        .config("health_check: { kind: none }")
        .start();
    (backend, proxy)
}

#[test]
fn a_truncated_response_is_seen_as_truncated() {
    let cuts = [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
    ];
    for cut in cuts {
        let (_backend, proxy) = before(Response::raw(cut).close());
        let mut client = proxy.client();
        client.send("GET /cut HTTP/1.1\r\nHost: test\r\n\r\n");
        assert!(client.try_read().is_err(), "{cut:?}");
        assert!(proxy.access_line("/cut")["error"].is_string(), "{cut:?}");
    }
}

#[test]
fn a_malformed_response_is_502() {
    let broken = [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
        "hello\r\n\r\n",
    ];
    for bytes in broken {
        let (_backend, proxy) = before(Response::raw(bytes).close());
        assert_eq!(proxy.get("/").status(), 502, "{bytes:?}");
    }
}

#[test]
fn bytes_after_a_response_reach_no_client() {
    let extra =
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    let (backend, proxy) = before(Response::raw(extra));
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "a");
    }
    assert_eq!(backend.connections(), 3);
}

/// RFC 9110 §5.6.3: bad white space must be accepted. Some servers write each chunk size in a field of fixed width.
#[test]
fn white_space_in_chunk_lines_of_a_backend_is_accepted_and_dropped() {
    for chunk in [
        "5 ;a\r\nhello\r\n0\r\n",
        "5;\t\ta\r\nhello\r\n0\r\n",
        "5 ; a = \"b c\" ;\td\t=\te\r\nhello\r\n0 ;z\r\n",
        "2  \r\nhe\r\n3     \r\nllo\r\n0   \r\n",
    ] {
        let bytes = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}\r\n");
        let (backend, proxy) = before(Response::raw(bytes));
        let mut client = proxy.client();
        for _ in 0..2 {
            let received = client.get("/");
            assert_eq!(
                (received.status(), received.text().as_str()),
                (200, "hello"),
                "{chunk:?}"
            );
        }
        client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        let all = String::from_utf8_lossy(&client.read_to_end()).into_owned();
        let (_, body) = all.split_once("\r\n\r\n").unwrap_or_default();
        assert!(
            body.ends_with("0\r\n\r\n") && !body.contains([' ', '\t', ';']),
            "{all:?}"
        );
        assert_eq!(backend.connections(), 1, "its end is proved: {chunk:?}");
    }
}

/// A long response whose chunk sizes are all padded must not exceed the limit of extensions.
#[test]
fn padded_chunk_sizes_of_a_long_response_do_not_count_as_extensions() {
    let chunks = "1       \r\na\r\n".repeat(5000);
    let bytes = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0       \r\n\r\n");
    let (_backend, proxy) = before(Response::raw(bytes));
    assert_eq!(proxy.get("/").text().len(), 5000);
}

/// Longer than a body that passes through our own buffers.
const LONG: usize = 1 << 20;

#[test]
fn a_truncated_long_response_is_seen_as_truncated() {
    let cut = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\n{}",
        "b".repeat(LONG - 1)
    );
    let (_backend, proxy) = before(Response::raw(&cut).close());
    let mut client = proxy.client();
    client.send("GET /cut HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(client.try_read().is_err());
    assert_eq!(proxy.access_line("/cut")["error"], "response_truncated");
}

#[test]
fn bytes_after_a_long_response_reach_no_client() {
    let body = "b".repeat(LONG);
    let extra = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\n{body}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    );
    let (backend, proxy) = before(Response::raw(&extra));
    let mut client = proxy.client();
    for _ in 0..3 {
        assert!(client.get("/").text() == body);
    }
    assert_eq!(backend.connections(), 3);
}

#[test]
fn responses_without_a_body_keep_the_connection() {
    let backend = Backend::start(|request| match request.start() {
        "HEAD /a" => Response::raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        "GET /b" => Response::raw("HTTP/1.1 204 No Content\r\n\r\n"),
        "GET /c" => Response::raw("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        _ => Response::ok("end"),
    });
    let proxy = Proxy::before(&[&backend]).start();
    let mut client = proxy.client();
    let head = client.send("HEAD /a HTTP/1.1\r\nHost: test\r\n\r\n").read_head();
    assert_eq!((head.status(), head.field("content-length")), (200, Some("5")));
    assert_eq!(client.get("/b").status(), 204);
    assert_eq!(client.get("/c").status(), 304);
    assert_eq!(client.get("/d").text(), "end");
}

/// RFC 9112 §6.3 (1). Whether a last chunk follows is unknown, so the connection is not reused.
#[test]
fn a_204_with_a_transfer_encoding_ends_at_its_empty_line_and_closes_its_connection() {
    for rest in ["", "0\r\n\r\n", "6\r\npoison\r\n0\r\n\r\n"] {
        let bytes = format!("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n{rest}");
        let (backend, proxy) = before(Response::raw(bytes));
        let mut client = proxy.client();
        for _ in 0..2 {
            let received = client.get("/a");
            assert_eq!(
                (received.status(), received.field("x-a")),
                (204, Some("b")),
                "{rest:?}"
            );
            assert_eq!(received.field("transfer-encoding"), None, "{rest:?}");
        }
        assert_eq!(backend.connections(), 2, "{rest:?}");
        let got = Http2::connect(proxy.address()).get("/b");
        assert_eq!(
            (got.head.status().as_u16(), got.text(), got.field("x-a")),
            (204, "", Some("b")),
            "{rest:?}"
        );
    }
}

#[test]
fn interim_responses_are_forwarded() {
    let hints =
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";
    let (_backend, proxy) = before(Response::raw(hints));
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 103);
    assert_eq!(client.read().text(), "a");
}

#[test]
fn a_response_begins_before_it_ends() {
    let gate = Gate::default();
    let first = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
    let (_backend, proxy) = before(Response::raw(first).wait(&gate).send("6\r\nsecond\r\n0\r\n\r\n"));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    client.read_until(|bytes| bytes.windows(5).any(|window| window == b"first"));
    gate.open();
    assert_eq!(client.read().text(), "firstsecond");
}

#[test]
fn a_refusal_before_the_body_was_sent_reaches_the_client() {
    let (_backend, proxy) = before(Response::status(413, "too large").early());
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n");
    assert_eq!(client.read().status(), 413);
}

#[test]
fn bytes_after_a_refused_upgrade_are_no_request() {
    let (backend, proxy) = before(Response::ok("no"));
    let mut client = proxy.client();
    client.send(
        "GET /ws HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n",
    );
    assert_eq!(client.read().text(), "no");
    assert!(
        client.read_to_end().is_empty(),
        "RFC 9110 7.8: the connection is closed"
    );
    assert!(
        backend
            .requests(|request| request.start().contains("smuggled"))
            .is_empty()
    );
}
