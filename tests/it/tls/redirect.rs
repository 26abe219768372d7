//! `redirect_to_https`.

use std::net::SocketAddr;

use super::Bench;
use crate::support::http2::{Http2, request};
use crate::support::{Backend, Proxy};

/// A balancer with a plain listener that redirects, and a TLS listener.
fn start(bench: &Bench, backend: &Backend, value: &str) -> (Proxy, SocketAddr) {
    bench.put("a", &["a.test"]);
    let tls = bench.listener(&["a"], "");
    let listeners = format!("redirect_to_https: {value} }}, {{ address: 127.0.0.1:0, {tls}");
    let proxy = Proxy::before(&[backend]).listener(&listeners).start();
    let plain = proxy.address().to_string();
    let line = proxy.wait_for_line(|line| line["msg"] == "Listening" && line["address"] != plain.as_str());
    let secured = line["address"].as_str().unwrap().parse().unwrap();
    (proxy, secured)
}

#[test]
fn requests_are_redirected_to_the_same_url_over_https() {
    let bench = Bench::new();
    let backend = Backend::saying("hello");
    let (proxy, secured) = start(&bench, &backend, "true");
    let mut client = proxy.client();
    for (request, location) in [
        ("GET /a?b=c HTTP/1.1\r\nHost: a.test:80\r\n\r\n", "/a?b=c"),
        (
            "POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n",
            "/a",
        ),
        ("GET //b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", "//b.test/"),
    ] {
        let got = client.send(request).read();
        let expected = format!("https://a.test:{}{location}", secured.port());
        assert_eq!(
            (got.status(), got.field("location")),
            (308, Some(expected.as_str()))
        );
        assert_ne!(got.field("connection"), Some("close"), "it goes on");
    }
    let line = proxy.access_line("/a");
    assert_eq!(line["status"], 308);
    assert_eq!(
        (&line["backend"], &line["attempts"]),
        (&serde_json::Value::Null, &0.into())
    );
    assert!(line.get("error").is_none(), "{line}");
    let got = client
        .send("HEAD /h HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .read_head();
    assert!(got.head.starts_with("HTTP/1.1 308 "), "{}", got.head);
    assert_eq!(
        client
            .send("GET /x HTTP/1.0\r\nHost: a.test\r\n\r\n")
            .read()
            .status(),
        308
    );
    assert_eq!(client.read_to_end(), b"");
    assert_eq!(bench.client().get(secured, "a.test", "a.test").body, "hello");
}

#[test]
fn an_unread_body_closes_the_connection() {
    let bench = Bench::new();
    let backend = Backend::saying("");
    let (proxy, _) = start(&bench, &backend, "true");
    let mut client = proxy.client();
    client.send("POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello");
    let got = client.read();
    assert_eq!((got.status(), got.field("connection")), (308, Some("close")));
}

#[test]
fn streams_are_redirected_too() {
    let bench = Bench::new();
    let backend = Backend::saying("");
    let (proxy, _) = start(&bench, &backend, "443");
    let client = Http2::connect(proxy.address());
    for _ in 0..2 {
        let got = client.ask(request("GET", "/a?b"), b"").unwrap();
        assert_eq!(
            (got.head.status().as_u16(), got.field("location")),
            (308, Some("https://test/a?b"))
        );
    }
}

#[test]
fn acme_challenges_and_requests_forwarded_as_https_are_served() {
    let bench = Bench::new();
    let backend = Backend::saying("hello");
    bench.put("a", &["a.test"]);
    let proxy = Proxy::before(&[&backend])
        .listener("redirect_to_https: true")
        .config("trusted_proxies: [127.0.0.1]")
        .start();
    let mut client = proxy.client();
    assert_eq!(client.get("/.well-known/acme-challenge/x").text(), "hello");
    let got = client
        .send("GET /s HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n")
        .read();
    assert_eq!(got.text(), "hello");
    let got = client.get("/p");
    assert_eq!(
        (got.status(), got.field("location")),
        (308, Some("https://test/p"))
    );
}
