//! What a backend receives of a request.

use crate::support::http2::{Http2, request};
use crate::support::http2_backend::{Http2Backend, Seen};
use crate::support::{Backend, Proxy, Request, Response};

/// Sends one request and returns what the backend received.
fn forwarded(config: &str, request: &str) -> Request {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend]).config(config).start();
    assert_eq!(proxy.client().send(request).read().status(), 200);
    // Probes use the path `/` and have no body; every request of these tests has its own path.
    backend.wait_for_request(|request| request.start().contains("/x"))
}

#[test]
fn host_and_headers_pass_and_hop_by_hop_headers_do_not() {
    let got = forwarded(
        "",
        "GET /x?a=%20b HTTP/1.1\r\nHost: Example.test:81\r\nX-One: 1\r\nX-ONE: 2\r\nConnection: x-hop\r\n\
         X-Hop: 3\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nUpgrade: foo\r\n\r\n",
    );
    assert_eq!(got.start(), "GET /x?a=%20b");
    assert_eq!(got.field("host"), Some("Example.test:81"));
    assert!(got.head.contains("X-One: 1\r\n"), "{}", got.head);
    let lower = got.head.to_lowercase();
    assert!(lower.contains("x-one: 2\r\n"), "{}", got.head);
    for gone in ["x-hop", "keep-alive:", "proxy-connection", "upgrade"] {
        assert!(!lower.contains(gone), "{gone} in {}", got.head);
    }
}

#[test]
fn forwarding_headers_of_a_client_are_replaced() {
    let got = forwarded(
        "",
        "GET /x HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
         X_Forwarded_For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Request-Id: mine\r\n\r\n",
    );
    assert!(!got.head.contains("6.6.6.6"), "{}", got.head);
    assert_eq!(got.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(got.field("x-forwarded-proto"), Some("http"));
    assert_eq!(got.field("x-forwarded-host"), Some("test"));
    let id = got.field("x-request-id").expect("an id is made");
    assert_ne!(id, "mine");
    assert!(got.field("via").is_some(), "{}", got.head);
}

#[test]
fn forwarding_headers_of_a_trusted_proxy_are_kept_and_extended() {
    let got = forwarded(
        "trusted_proxies: [127.0.0.0/8]",
        "GET /x HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 6.6.6.6\r\nX-Request-Id: mine\r\n\r\n",
    );
    assert_eq!(got.field("x-forwarded-for"), Some("6.6.6.6, 127.0.0.1"));
    assert_eq!(got.field("x-request-id"), Some("mine"));
}

#[test]
fn dot_segments_are_resolved_and_other_bytes_of_the_path_kept() {
    let got = forwarded("", "GET /a/%2e%2E/./x//B%2Fc HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(got.start(), "GET /x//B%2Fc");
}

#[test]
fn bodies_with_a_length_and_in_chunks_arrive_whole() {
    let length = forwarded(
        "",
        "POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc",
    );
    assert_eq!(length.body, b"abc");
    let chunked = forwarded(
        "",
        "POST /x HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2;ext=1\r\nab\r\n1\r\nc\r\n0\r\nT: 1\r\n\r\n",
    );
    assert_eq!(chunked.body, b"abc");
    let raw = String::from_utf8_lossy(&chunked.raw_body).into_owned();
    assert!(!raw.contains("ext"), "{raw:?}");
}

#[test]
fn large_bodies_stream_both_ways() {
    let backend = Backend::start(|_| {
        let text = "b".repeat(4 << 20);
        Response::ok(&text)
    });
    let proxy = Proxy::before(&[&backend]).start();
    let mut client = proxy.client();
    let body = "a".repeat(4 << 20);
    let length = body.len();
    client.send(format!(
        "PUT /x HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"
    ));
    let received = client.send(&body).read();
    assert_eq!(received.body.len(), length);
    let got = backend.wait_for_request(|request| request.start() == "PUT /x");
    assert_eq!(got.body, body.as_bytes());
}

#[test]
fn connections_to_a_backend_are_reused() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend]).config("workers: 1").start();
    for _ in 0..5 {
        assert_eq!(proxy.get("/x").status(), 200);
    }
    let meant = backend.requests(|request| request.start() == "GET /x");
    assert_eq!(meant.len(), 5);
    assert!(
        meant
            .iter()
            .all(|request| request.connection == meant[0].connection)
    );
    assert!(meant[4].turn > meant[0].turn);
    assert!(backend.connections() >= 1);
}

/// RFC 9110 §7.6.2: OPTIONS and TRACE with Max-Forwards serve to find the proxies on the path.
#[test]
fn max_forwards_of_options_and_trace_is_decremented() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend])
        .config("health_check: { kind: none }")
        .start();
    let by_http2 = Http2::connect(proxy.address());
    let mut client = proxy.client();
    for (method, came, left) in [
        ("OPTIONS", "1", "0"),
        ("TRACE", "10", "9"),
        ("OPTIONS", "007", "6"),
        ("OPTIONS", "99999999999999999999999", "2147483647"),
        // Its meaning for other methods is unknown to us.
        ("GET", "0", "0"),
        ("GET", "x", "x"),
    ] {
        client.send(format!(
            "{method} /x HTTP/1.1\r\nHost: test\r\nMax-Forwards: {came}\r\nConnection: Max-Forwards\r\n\r\n"
        ));
        assert_eq!(client.read().status(), 200);
        let mut asked = request(method, "/x");
        asked.headers_mut().insert("max-forwards", came.parse().unwrap());
        assert_eq!(by_http2.ask(asked, b"").unwrap().head.status(), 200);
        let requests = backend.requests(|_| true);
        // A client may have any other header of its own removed.
        let first = (method != "GET").then_some(left);
        let last = requests.len() - 2;
        let values: Vec<_> = requests[last..]
            .iter()
            .map(|got| got.field("max-forwards"))
            .collect();
        assert_eq!(values, [first, Some(left)], "{method} {came}");
    }
}

#[test]
fn max_forwards_is_decremented_for_http2_backends() {
    let backend = Http2Backend::start();
    let proxy = Proxy::before(&[])
        .backend(&backend.url())
        .config("health_check: { kind: none }")
        .start();
    let mut client = proxy.client();
    client.send("OPTIONS /x HTTP/1.1\r\nHost: test\r\nMax-Forwards: 3\r\n\r\n");
    assert_eq!(client.read().status(), 200);
    let fields = backend.wait_for("the request", |seen| {
        seen.iter().find_map(|event| match event {
            Seen::Request(_, fields) => Some(fields.clone()),
            _ => None,
        })
    });
    let mut values = fields.iter().filter(|(name, _)| name == "max-forwards");
    assert_eq!(
        values.next().map(|(_, value)| value.as_str()),
        Some("2"),
        "{fields:?}"
    );
    assert_eq!(values.next(), None);
}

/// RFC 9110 §7.6.2: we are the final recipient.
#[test]
fn options_and_trace_with_max_forwards_0_get_a_local_response() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend])
        .config("health_check: { kind: none }")
        .start();
    let by_http2 = Http2::connect(proxy.address());
    let mut client = proxy.client();
    for (method, value, status) in [
        ("OPTIONS", "0", 200),
        ("OPTIONS", "00", 200),
        ("TRACE", "0", 405),
        ("OPTIONS", "x", 400),
        ("OPTIONS", "-1", 400),
        ("TRACE", "", 400),
        ("TRACE", "1, 1", 400),
    ] {
        client.send(format!(
            "{method} /x HTTP/1.1\r\nHost: test\r\nCookie: secret\r\nMax-Forwards: {value}\r\n\r\n"
        ));
        let received = client.read();
        assert_eq!(received.status(), status, "{method} {value:?}");
        assert!(!received.text().contains("secret"));
        let (allow, length) = (received.field("allow"), received.body.len());
        assert_eq!(allow, (status == 405).then_some("OPTIONS"), "{method} {value:?}");
        assert_eq!(length == 0, status == 200, "{method} {value:?}");
        if status == 400 {
            assert!(received.text().starts_with("400 Bad Request: bad_max_forwards\n"));
            client.read_to_end();
            client = proxy.client();
        }
        let mut asked = request(method, "/x");
        asked.headers_mut().insert("max-forwards", value.parse().unwrap());
        let got = by_http2.ask(asked, b"").unwrap();
        assert_eq!(got.head.status(), status, "{method} {value:?}");
        assert_eq!(got.field("allow"), allow, "{method} {value:?}");
    }
    client.send("OPTIONS * HTTP/1.1\r\nHost: test\r\nMax-Forwards: 0\r\n\r\n");
    assert_eq!(client.read().status(), 200);
    client.send("OPTIONS /x HTTP/1.1\r\nHost: test\r\nMax-Forwards: 1\r\nMax-Forwards: 1\r\n\r\n");
    assert_eq!(client.read().status(), 400);
    assert_eq!(backend.requests(|_| true).len(), 0);
}
