//! Message boundaries on both sides: no bytes of one message are ever treated as part of another (RFC 9112 §6.3, §9.3),
//! and a refused client can read the response (§9.6).

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::Duration;

use evenkeel::internals::clock;

use crate::support::{Backend, Bare, Proxy, Response};

/// One worker, because idle connections belong to workers; no probes, because they are requests too.
const CONFIG: &str = "workers: 1\nhealth_check: { kind: none }";

fn before(backends: &[&Backend]) -> Proxy {
    Proxy::before(backends).config(CONFIG).start()
}

fn before_bare(backend: &Bare) -> Proxy {
    Proxy::before(&[]).backend(&backend.url()).config(CONFIG).start()
}

/// F4, F18: each of these bodies ends where its framing says, and the bytes after it are the next request.
#[test]
fn requests_in_one_segment_are_separated() {
    let chunks = "Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nGET\r\n2\r\n /\r\n0\r\nX-Sum: 1\r\n\r\n";
    for (framed, body) in [
        ("Content-Length: 5\r\n\r\nGET /".to_owned(), "GET /"),
        (chunks.to_owned(), "GET /"),
        ("Content-Length: 0\r\n\r\n".to_owned(), ""),
        ("\r\n".to_owned(), ""),
    ] {
        for method in ["GET", "POST", "DELETE", "HEAD", "OPTIONS"] {
            let backend = Backend::start(|request| match request.start() {
                "HEAD /one" => Response::raw("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"),
                start => Response::ok(start),
            });
            let proxy = before(&[&backend]);
            let mut client = proxy.client();
            client.send(format!(
                "{method} /one HTTP/1.1\r\nHost: test\r\n{framed}GET /two HTTP/1.1\r\nHost: test\r\n\r\n\
                 GET /three HTTP/1.1\r\nHost: test\r\n\r\n"
            ));
            if method == "HEAD" {
                assert_eq!(client.read_head().field("content-length"), Some("3"));
            } else {
                assert_eq!(client.read().text(), format!("{method} /one"));
            }
            assert_eq!(client.read().text(), "GET /two", "{method} {framed:?}");
            assert_eq!(client.read().text(), "GET /three", "{method} {framed:?}");
            let requests = backend.requests(|_| true);
            assert_eq!(requests.len(), 3, "{method} {framed:?}");
            assert_eq!(requests[0].body, body.as_bytes(), "{method} {framed:?}");
        }
    }
}

/// F18: independent of how the bytes are segmented.
#[test]
fn requests_in_single_bytes_are_separated() {
    let backend = Backend::start(|request| Response::ok(request.start()));
    let proxy = before(&[&backend]);
    let mut client = proxy.client();
    let all = "POST /one HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\n\
               \r\nGET /two HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nab";
    for byte in all.bytes() {
        client.send([byte]);
    }
    assert_eq!(client.read().text(), "POST /one");
    assert_eq!(client.read().text(), "GET /two");
    let requests = backend.requests(|_| true);
    assert_eq!(
        (&requests[0].body[..], &requests[1].body[..]),
        (&b"GET /"[..], &b"ab"[..])
    );
}

/// F6: a request whose body has broken framing is refused, and the bytes after it are not parsed.
#[test]
fn nothing_is_parsed_after_a_broken_body() {
    for body in [
        "5\nhello\n0\n\n",
        "5;a\nX\r\nhello\r\n0\r\n\r\n",
        "5\r\r;ABCD\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFF1\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nContent-Length : 5\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\n\r\n",
    ] {
        let backend = Backend::saying("");
        let proxy = before(&[&backend]);
        let mut client = proxy.client();
        client.send(format!(
            "POST /one HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{body}\
             GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"
        ));
        let received = client.read();
        assert_eq!(received.status(), 400, "{body:?}");
        assert_eq!(received.field("connection"), Some("close"), "{body:?}");
        assert!(client.read_to_end().is_empty(), "{body:?}");
        // The backend receives a request that breaks off; it must not look complete.
        assert!(backend.requests(|_| true).is_empty(), "{body:?}");
    }
}

/// F16: the response is forwarded, the rest of the request is not, and neither connection is reused.
#[test]
fn a_response_before_the_end_of_the_request_closes_both_connections() {
    let backend = Bare::start();
    let proxy = before_bare(&backend);
    let mut client = proxy.client();
    client.send("POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 50\r\n\r\nfirst");
    let mut held = backend.accept();
    held.head();
    assert_eq!(held.read(5), "first");
    held.send("HTTP/1.1 413 S\r\nContent-Length: 2\r\n\r\nno");
    let received = client.read();
    assert_eq!((received.status(), received.text().as_str()), (413, "no"));
    assert_eq!(received.field("connection"), Some("close"));
    client.send("GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(client.read_to_end().is_empty());
    assert_eq!(held.wait_for_end(), "", "no more of it is sent, and nothing else");
    let mut next = proxy.client();
    next.send("GET /next HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(
        backend.accept().head().starts_with("GET /next "),
        "on a connection of its own"
    );
}

/// P1, P3: bytes that belong to no response.
#[test]
fn bytes_after_a_response_close_its_connection() {
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    for (method, response, text) in [
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", "a"),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
            "a",
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", ""),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 45\r\n\r\n",
            "",
        ),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 45\r\n\r\n", ""),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "",
        ),
    ] {
        let bytes = format!("{response}{poison}");
        let backend = Backend::start(move |_| Response::raw(&bytes));
        let proxy = before(&[&backend]);
        let mut client = proxy.client();
        for _ in 0..3 {
            client.send(format!("{method} /x HTTP/1.1\r\nHost: test\r\n\r\n"));
            let received = if method == "HEAD" {
                client.read_head()
            } else {
                client.read()
            };
            assert_eq!(received.text(), text, "{response:?}");
        }
        let connections: Vec<usize> = backend
            .requests(|_| true)
            .iter()
            .map(|request| request.connection)
            .collect();
        assert_eq!(connections, [0, 1, 2], "{response:?}");
    }
}

/// P3; RFC 9112 §6.3 (1): the client gets no body, and the backend connection is not reused.
#[test]
fn a_204_that_announces_a_body_has_none() {
    let backend =
        Backend::start(|_| Response::raw("HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc"));
    let proxy = before(&[&backend]);
    let mut client = proxy.client();
    for _ in 0..2 {
        let received = client.get("/x");
        assert_eq!((received.status(), received.field("content-length")), (204, None));
    }
    assert_eq!(backend.connections(), 2);
}

/// P5: an ambiguous backend response is never forwarded as a 200.
#[test]
fn an_ambiguous_response_is_502() {
    let body = "5\r\nhello\r\n0\r\n\r\n";
    for head in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n chunked\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999999\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: gzip\r\n",
        "HTTP/1.1 200 OK\r\nX: a\rTransfer-Encoding: chunked\r\n",
        "HTTP/1.1 200 OK\r\nX : a\r\n",
        "HTTP/1.1 200 OK\r\n: a\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0\r\n",
        "HTTP/2 200 OK\r\n",
        "HTTP/1.1 99 OK\r\n",
        "\r\nHTTP/1.1 200 OK\r\n",
    ] {
        let backend = Bare::start();
        let proxy = before_bare(&backend);
        let mut client = proxy.client();
        client.send("GET /x HTTP/1.1\r\nHost: test\r\n\r\n");
        let mut held = backend.accept();
        held.head();
        held.send(format!("{head}\r\n{body}"));
        assert_eq!(client.read().status(), 502, "{head:?}");
        assert_eq!(proxy.access_line("/x")["error"], "malformed_response", "{head:?}");
        held.wait_for_end();
    }
}

/// P9: a client that has sent its whole request and closed its side still gets the response.
#[test]
fn a_client_that_finished_sending_gets_its_response() {
    let backend = Bare::start();
    let proxy = before_bare(&backend);
    let mut client = proxy.client();
    client
        .send("GET /x HTTP/1.1\r\nHost: test\r\n\r\n")
        .finish_sending();
    let mut held = backend.accept();
    held.head();
    assert!(
        held.is_silent_for(Duration::from_millis(100)),
        "the request is not given up"
    );
    held.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na");
    assert_eq!(client.read().text(), "a");
    assert!(client.read_to_end().is_empty());
    assert_eq!(proxy.access_line("/x")["status"], 200);
}

/// P10; RFC 9112 §9.6: an immediate close would send a reset that destroys the response.
#[test]
fn a_client_that_is_still_sending_can_read_why_it_was_refused() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend])
        .config(CONFIG)
        .config("limits: { body: 1KiB }")
        .start();
    for head in [
        "POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 200000\r\n\r\n",
        "POST /x HTTP/1.1\r\nContent-Length: 200000\r\n\r\n",
        "GET /\0",
    ] {
        let mut client = proxy.client();
        client.send(head);
        let refused = client.read_until(|bytes| bytes.ends_with(b"\n") && bytes.len() > 100);
        assert!(refused.starts_with(b"HTTP/1.1 4"), "{}", refused.escape_ascii());
        // The bytes are still read: none of these writes meets a reset.
        for _ in 0..20 {
            client.send([b'a'; 10_000]);
        }
        client.finish_sending();
        assert_eq!(client.read_to_end(), refused, "{head:?}");
    }
}

/// P10: but neither forever nor without bound.
#[test]
fn a_client_that_keeps_sending_after_a_refusal_is_disconnected() {
    let backend = Backend::saying("");
    let proxy = before(&[&backend]);
    let mut stream = TcpStream::connect(proxy.address()).expect("the listener accepts");
    stream
        .write_all(b"GET /\0")
        .expect("the balancer takes the bytes");
    let began = clock::now();
    let mut sent: usize = 0;
    while stream.write_all(&[b'a'; 10_000]).is_ok() {
        sent += 10_000;
        assert!(
            began.elapsed() < Duration::from_secs(10) && sent < 1 << 30,
            "{sent} bytes"
        );
    }
}

/// P11, R4: a client that does not read stops its backend; between them are only one bounded buffer and the kernel's
/// buffers.
#[test]
fn a_client_that_does_not_read_stops_its_backend() {
    const BOUND: usize = 64 << 20;
    let backend = Bare::start();
    let proxy = before_bare(&backend);
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut held = backend.accept();
    held.head();
    held.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BOUND}\r\n\r\n"));
    let sent = held.send_until_it_stops(BOUND);
    assert!(sent < BOUND, "{sent} bytes were taken and nobody had read one");
    drop(client);
}

/// P11, R4: the other direction.
#[test]
fn a_backend_that_does_not_read_stops_its_client() {
    const BOUND: usize = 64 << 20;
    let backend = Bare::start();
    let proxy = before_bare(&backend);
    let mut client = proxy.client();
    client.send(format!(
        "POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: {BOUND}\r\n\r\n"
    ));
    let held = backend.accept();
    let sent = client.send_until_it_stops(BOUND);
    assert!(sent < BOUND, "{sent} bytes were taken and nobody had read one");
    drop(held);
}

/// P2; RFC 9112 §8: if only the end of the connection ends a response, a truncated one ends with a reset.
#[test]
fn a_truncated_response_never_looks_complete_to_an_http_1_0_client() {
    for rest in ["", "zz\r\n"] {
        let backend = Bare::start();
        let proxy = before_bare(&backend);
        let mut client = proxy.client();
        client.send("GET /cut HTTP/1.0\r\n\r\n");
        let mut held = backend.accept();
        held.head();
        held.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        client.read_until(|bytes| bytes.ends_with(b"\r\n\r\nabc"));
        held.send(rest);
        drop(held);
        let error = client.try_read().expect_err("it was cut");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{rest:?}");
        assert_eq!(proxy.access_line("/cut")["error"], "response_truncated");
    }
}

/// P2: a reset in the middle has the same effect as an early end.
#[test]
fn a_response_that_is_reset_is_seen_as_truncated() {
    for head in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        let backend = Bare::start();
        let proxy = before_bare(&backend);
        let mut client = proxy.client();
        client.send("GET /reset HTTP/1.1\r\nHost: test\r\n\r\n");
        let mut held = backend.accept();
        held.head();
        held.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n3\r\nabc\r\n"));
        client.read_until(|bytes| bytes.windows(3).any(|window| window == b"abc"));
        held.reset();
        assert!(client.try_read().is_err(), "{head}");
        assert_eq!(
            proxy.access_line("/reset")["error"],
            "response_truncated",
            "{head}"
        );
    }
}
