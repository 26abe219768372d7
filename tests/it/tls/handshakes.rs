//! Failed handshakes, and many at once.

use std::net::TcpStream;
use std::thread;

use super::{Bench, wait_for_failures};
use crate::support::{Backend, Proxy};

fn start(bench: &Bench, backend: &Backend, config: &str) -> Proxy {
    bench.put("a", &["a.test"]);
    bench.before(backend, &["a"]).config(config).start()
}

#[test]
fn plain_http_on_a_tls_port_gets_an_explanation() {
    let bench = Bench::new();
    let backend = Backend::saying("");
    let proxy = start(&bench, &backend, "");
    let mut client = proxy.client();
    let got = client.get("/");
    assert_eq!(
        (got.status(), got.text().as_str()),
        (400, "400 Bad Request: plain_http\n")
    );
    assert_eq!(got.field("connection"), Some("close"));
    assert_eq!(client.read_to_end(), b"");
    let line = proxy.wait_for_line(|line| line["error"] == "plain_http");
    assert_eq!(
        (&line["status"], &line["path"]),
        (&400.into(), &serde_json::Value::Null)
    );
    assert!(line["bytes_received"].as_u64().unwrap() > 0, "{line}");
    wait_for_failures(&proxy, "not_tls", 1);
}

#[test]
fn bytes_that_are_neither_tls_nor_http_close_the_connection() {
    let bench = Bench::new();
    let backend = Backend::saying("");
    let proxy = start(&bench, &backend, "");
    let mut client = proxy.client();
    client.send(b"\x00\x01\x02\x03\x04\x05\x06\x07");
    let rest = client.read_to_end();
    assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
    wait_for_failures(&proxy, "not_tls", 1);
}

#[test]
fn a_handshake_is_bounded_in_time() {
    let bench = Bench::new();
    let backend = Backend::saying("");
    let proxy = start(&bench, &backend, "timeouts: { client_header: 200ms }");
    let mut silent = proxy.client();
    let mut slow = proxy.client();
    slow.send(b"\x16\x03\x01\x02\x00\x01");
    assert_eq!((silent.read_to_end(), slow.read_to_end()), (vec![], vec![]));
    wait_for_failures(&proxy, "timeout", 2);
}

#[test]
fn clients_that_leave_or_reject_our_certificate_are_counted() {
    let bench = Bench::new();
    let backend = Backend::saying("");
    let proxy = start(&bench, &backend, "");
    drop(TcpStream::connect(proxy.address()).unwrap());
    wait_for_failures(&proxy, "client_left", 1);
    let stranger = crate::support::tls::Tls::trusting(&Bench::new().authority);
    assert!(stranger.try_connect(proxy.address(), "a.test").is_err());
    wait_for_failures(&proxy, "refused_by_client", 1);
}

#[test]
fn many_simultaneous_handshakes_succeed_while_others_stall() {
    let bench = Bench::new();
    let backend = Backend::saying("hello");
    let proxy = start(&bench, &backend, "workers: 1");
    let silent: Vec<_> = (0..50).map(|_| proxy.client()).collect();
    let begun: Vec<_> = (0..50)
        .map(|_| {
            let mut client = proxy.client();
            client.send(b"\x16\x03\x01\x02\x00\x01");
            client
        })
        .collect();
    let mut open = bench.client().connect(proxy.address(), "a.test");
    thread::scope(|scope| {
        for _ in 0..40 {
            let client = bench.client();
            let address = proxy.address();
            scope.spawn(move || assert_eq!(client.get(address, "a.test", "a.test").body, "hello"));
        }
        for _ in 0..20 {
            assert_eq!(open.get("a.test", "/").status, 200);
        }
    });
    drop((silent, begun));
}

/// A handshake does not start HTTP/2 by itself.
#[test]
fn the_http2_preface_after_a_handshake_is_bounded_in_time() {
    let bench = Bench::new();
    let backend = Backend::saying("");
    let proxy = start(&bench, &backend, "timeouts: { client_header: 200ms }");
    let mut client = bench.client_h2().connect(proxy.address(), "a.test");
    let end = client.read_to_end("PRI * HT").unwrap_err();
    assert!(end.kind() != std::io::ErrorKind::WouldBlock, "{end}");
}
