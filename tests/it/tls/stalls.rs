//! `progress` bounds clients over TLS that stop reading as it bounds plain ones: what the TLS session holds has not left.

use super::Bench;
use crate::support::http2::frame;
use crate::support::metrics::wait_for_metric;
use crate::support::tls::Tls;
use crate::support::{Backend, Proxy, Response};

/// More than the socket buffers between two parties hold, in bytes.
const LARGE: usize = 32 << 20;
/// What the TLS session of the balancer holds at most, in bytes: the default of rustls.
const HELD: usize = 64 << 10;

/// A balancer whose backend responds to `/N` with N bytes.
fn balancer(bench: &Bench) -> (Backend, Proxy) {
    bench.put("a", &["a.test"]);
    let backend = Backend::start(|request| {
        let length = request
            .start()
            .split(['/', ' '])
            .find_map(|part| part.parse().ok());
        Response::ok(&"a".repeat(length.unwrap_or(0)))
    });
    let config =
        "timeouts: { progress: 300ms, client_idle: 300ms }\nhealth_check: { kind: none }\nworkers: 1";
    let proxy = bench.before(&backend, &["a"]).config(config).start();
    (backend, proxy)
}

#[test]
fn progress_ends_a_response_that_a_client_over_tls_does_not_read() {
    let bench = Bench::new();
    let (_backend, proxy) = balancer(&bench);
    // The kernel gives each connection other buffers: what one of them held may fit into those of all others.
    assert!(
        (0..5).any(|attempt| stalls_at_the_end(&bench, &proxy, LARGE + attempt)),
        "none of them filled the socket"
    );
}

/// Whether a response stalls whose end the balancer has read. Finds out with a response of `large` bytes how much that is.
fn stalls_at_the_end(bench: &Bench, proxy: &Proxy, large: usize) -> bool {
    let requested = |length: usize| {
        let path = format!("/{length}");
        let mut client = bench.client().connect(proxy.address(), "a.test");
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        proxy.access_line(&path)
    };
    let line = requested(large);
    assert_eq!(line["error"], "client_stalled");
    // The balancer reads responses of about this size to their end, and their last bytes wait in the TLS session or in the socket.
    let sent = line["bytes_sent"].as_u64().expect("a number") as usize;
    let mut lengths = (0..8).map(|step| sent - step * (HELD / 4) - large % LARGE);
    lengths.any(|length| requested(length)["error"] == "client_stalled")
}

#[test]
fn progress_ends_a_response_over_http2_that_a_client_over_tls_does_not_read() {
    let bench = Bench::new();
    let (_backend, proxy) = balancer(&bench);
    let tls = Tls::with(&bench.authority, None, &[b"h2"]);
    let mut client = tls.connect(proxy.address(), "a.test");
    assert_eq!(client.protocol(), Some(&b"h2"[..]));
    let path = format!("/{LARGE}");
    // `GET` over `https` from the static table, and windows that bound nothing (RFC 9113 §6.5.2, §6.9).
    let mut block = vec![0x82, 0x87, 0x04, path.len() as u8];
    block.extend_from_slice(path.as_bytes());
    block.extend_from_slice(b"\x41\x06a.test");
    let bytes = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]),
        frame(8, 0, 0, &[0x7f, 0, 0, 0]),
        frame(1, 5, 1, &block),
    ];
    client.send(bytes.concat());
    assert_eq!(proxy.access_line(&path)["error"], "client_stalled");
    // Nor does the connection stay, whose last frames cannot be sent.
    wait_for_metric(&proxy, "evenkeel_connections_active", 0);
    drop(client);
}
