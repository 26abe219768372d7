//! PROXY headers: which senders are trusted, what follows the header, and what backends receive.

use rustix::process::Signal;

use crate::support::metrics::metric;
use crate::support::{Backend, Bare, Builder, Client, Held, Proxy, Request, Response, http2, wait_until};

const QUIET: &str = "workers: 1\nhealth_check: { kind: none }";
const TRUSTING: &str = "trusted_proxies: [127.0.0.0/8]";
const LINE: &str = "PROXY TCP4 192.0.2.7 192.0.2.1 50123 80\r\n";
const REQUEST: &str = "GET /x HTTP/1.1\r\nHost: test\r\n\r\n";

/// The signature of every version 2 header.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A version 2 header for 192.0.2.7:50123.
fn binary() -> Vec<u8> {
    binary_of(0x21, 0x11, b"\xc0\x00\x02\x07\xc0\x00\x02\x01\xc3\xcb\x00\x50")
}

fn binary_of(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).expect("it is short").to_be_bytes();
    [SIGNATURE, &[command, family], &length, block].concat()
}

/// A balancer whose listener requires PROXY headers.
fn proxied(backends: &[&Backend]) -> Builder {
    let before = Proxy::before(backends).config(QUIET).config(TRUSTING);
    before.listener("proxy_protocol: true")
}

fn rejected(proxy: &Proxy) -> u64 {
    metric(proxy, "evenkeel_proxy_headers_rejected_total") as u64
}

fn client_of(request: &Request) -> Option<&str> {
    request.field("x-forwarded-for")
}

#[test]
fn a_header_sets_the_client() {
    let backend = Backend::saying("");
    let proxy = proxied(&[&backend]).start();
    let six = [&[0; 15][..], &[7], &[0; 15], &[1], b"\xc3\xcb\x00\x50"].concat();
    let own = "";
    for (path, header, client, forwarded) in [
        ("/v1", LINE.as_bytes().to_vec(), "192.0.2.7:50123", "192.0.2.7"),
        ("/v2", binary(), "192.0.2.7:50123", "192.0.2.7"),
        ("/six", binary_of(0x21, 0x21, &six), "[::7]:50123", "::7"),
        ("/unknown", b"PROXY UNKNOWN\r\n".to_vec(), own, "127.0.0.1"),
        ("/unspecified", binary_of(0x21, 0, b""), own, "127.0.0.1"),
        ("/local", binary_of(0x20, 0, b""), own, "127.0.0.1"),
    ] {
        let mut one = proxy.client();
        one.send(header);
        assert_eq!(one.get(path).status(), 200, "{path}");
        assert_eq!(one.get(path).status(), 200, "{path}, again");
        let address = one.address().to_string();
        let client = if client == own { &address } else { client };
        assert_eq!(proxy.access_line(path)["client_ip"], client, "{path}");
        let request = backend.wait_for_request(|request| request.start() == format!("GET {path}"));
        assert_eq!(client_of(&request), Some(forwarded), "{path}");
    }
    assert_eq!(rejected(&proxy), 0);
}

/// A Unix socket address of another machine: the client has no address.
#[test]
fn a_client_on_the_senders_unix_socket_has_no_address() {
    let backend = Backend::saying("");
    let proxy = proxied(&[&backend]).start();
    proxy.client().send(binary_of(0x21, 0x31, &[0; 216])).get("/x");
    assert_eq!(proxy.access_line("/x")["client_ip"], "unix:");
    assert_eq!(client_of(&backend.requests(|_| true)[0]), None);
}

/// However header and request are segmented, both are complete: no byte is lost, none belongs to the other.
#[test]
fn header_and_requests_arrive_in_any_segments() {
    let backend = Backend::saying("");
    let proxy = proxied(&[&backend]).start();
    for header in [LINE.as_bytes().to_vec(), binary()] {
        let all = [&header, REQUEST.as_bytes(), REQUEST.as_bytes()].concat();
        for cut in 0..=header.len() + 1 {
            let mut client = proxy.client();
            client.send(&all[..cut]);
            client.send(&all[cut..]);
            assert_eq!(client.read().status(), 200, "cut at {cut}");
            assert_eq!(client.read().status(), 200, "cut at {cut}, pipelined");
        }
        let mut client = proxy.client();
        for byte in all {
            client.send([byte]);
        }
        assert_eq!((client.read().status(), client.read().status()), (200, 200));
    }
    let lines = proxy.access_lines(2);
    assert!(
        lines.iter().all(|line| line["client_ip"] == "192.0.2.7:50123"),
        "{lines:?}"
    );
}

#[test]
fn a_longer_header_with_additions_is_skipped_to_its_end() {
    let backend = Backend::saying("");
    let proxy = proxied(&[&backend]).start();
    let block = [&binary()[16..], b"\x04\x0b\xb8", &[b'G'; 3000]].concat();
    let mut client = proxy.client();
    assert_eq!(client.send(binary_of(0x21, 0x11, &block)).get("/x").status(), 200);
}

#[test]
fn http2_follows_a_header_too() {
    let backend = Backend::saying("hello");
    let proxy = proxied(&[&backend]).start();
    let mut client = proxy.client();
    // The preface, empty settings, and a GET on stream 1.
    let request = http2::frame(1, 5, 1, http2::GET);
    let settings = http2::frame(4, 0, 0, b"");
    client.send(
        [
            LINE.as_bytes(),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            &settings,
            &request,
        ]
        .concat(),
    );
    client.read_until(|bytes| bytes.windows(5).any(|window| window == b"hello"));
    let request = backend.wait_for_request(|_| true);
    assert_eq!(client_of(&request), Some("192.0.2.7"));
}

/// I7: no response, and no byte reaches a backend.
#[test]
fn an_invalid_header_closes_the_connection_without_a_response() {
    let backend = Backend::saying("");
    let proxy = proxied(&[&backend]).start();
    let into_the_request = binary_of(0x21, 0x11, &binary()[16..])
        .into_iter()
        .enumerate()
        // More bytes than there are before the request.
        .map(|(at, byte)| if at == 15 { byte + 50 } else { byte })
        .collect::<Vec<u8>>();
    let mut count = 0;
    for header in [
        b"".to_vec(),
        b"\x16\x03\x01\x02\x00\x01".to_vec(),
        b"PROXY TCP4 192.0.2.7 192.0.2.1 050123 80\r\n".to_vec(),
        b"PROXY TCP4 ::7 ::1 50123 80\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 192.0.2.1 50123 65536\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 192.0.2.1 50123 80\n".to_vec(),
        b"PROXY UNKNOWN\rX: \r\n".to_vec(),
        format!("PROXY UNKNOWN {}\r\n", "x".repeat(100)).into_bytes(),
        format!("\r\n{LINE}").into_bytes(),
        binary_of(0x22, 0x11, b""),
        binary_of(0x21, 0x11, b"short"),
        binary_of(0x21, 0, &[0; 5000]),
        into_the_request,
    ] {
        let mut client = proxy.client();
        client.send(
            [
                &header,
                REQUEST.as_bytes(),
                REQUEST.as_bytes(),
                REQUEST.as_bytes(),
            ]
            .concat(),
        );
        let got = client.read_to_end();
        assert!(got.is_empty(), "{header:?}: {:?}", String::from_utf8_lossy(&got));
        count += 1;
        assert_eq!(rejected(&proxy), count, "{header:?}");
    }
    assert!(backend.requests(|_| true).is_empty());
    assert_eq!(proxy.count_so_far(|line| line["msg"] == "Request completed"), 0);
}

#[test]
fn an_incomplete_or_missing_header_closes_the_connection() {
    let backend = Backend::saying("");
    let proxy = proxied(&[&backend])
        .config("timeouts: { client_header: 200ms }")
        .start();
    for part in [&b""[..], b"PROXY TCP4 192.0.2.7", &binary()[..20]] {
        let mut client = proxy.client();
        client.send(part);
        assert!(client.read_to_end().is_empty(), "{part:?}");
    }
    assert_eq!(rejected(&proxy), 3);
    let mut client = proxy.client();
    client.send(&LINE[..20]).finish_sending();
    assert!(client.read_to_end().is_empty());
    assert_eq!(rejected(&proxy), 4);
    // A client that only checks whether the port is open is not counted.
    let mut client = proxy.client();
    client.finish_sending();
    assert!(client.read_to_end().is_empty());
    assert_eq!(rejected(&proxy), 4);
}

#[test]
fn a_header_from_an_untrusted_sender_closes_the_connection() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend])
        .config(QUIET)
        .config("trusted_proxies: [10.0.0.0/8]")
        .listener("proxy_protocol: true")
        .start();
    let mut client = proxy.client();
    assert!(client.read_to_end().is_empty());
    assert_eq!(rejected(&proxy), 1);
}

/// I1, I7: trust in the sender does not extend to its client.
#[test]
fn forwarding_headers_of_a_client_behind_a_header_are_ignored() {
    let backend = Backend::saying("");
    let proxy = proxied(&[&backend]).start();
    let spoofed =
        |path: &str| format!("GET {path} HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
    for (path, header, forwarded) in [
        ("/named", LINE, "192.0.2.7"),
        ("/unnamed", "PROXY UNKNOWN\r\n", "127.0.0.1"),
        // Another trusted proxy, in front of the one that sends the header.
        (
            "/chain",
            "PROXY TCP4 127.0.0.5 127.0.0.1 1 2\r\n",
            "6.6.6.6, 127.0.0.5",
        ),
    ] {
        let mut client = proxy.client();
        assert_eq!(client.send(header).send(spoofed(path)).read().status(), 200);
        let request = backend.wait_for_request(|request| request.start() == format!("GET {path}"));
        assert_eq!(client_of(&request), Some(forwarded), "{path}");
    }
}

#[test]
fn connections_are_counted_by_the_client_that_a_header_names() {
    let backend = Backend::saying("");
    let proxy = proxied(&[&backend])
        .config("limits: { connections_per_client: 1 }")
        .start();
    let connect = |header: &str| {
        let mut client = proxy.client();
        client.send(header);
        client
    };
    let mut first = connect(LINE);
    assert_eq!(first.get("/first").status(), 200);
    let mut second = connect("PROXY TCP4 192.0.2.8 192.0.2.1 50123 80\r\n");
    assert_eq!(second.get("/second").status(), 200, "another client");
    assert!(connect(LINE).read_to_end().is_empty(), "the same client");
    assert_eq!(rejected(&proxy), 0);
}

/// A balancer with a pool that sends headers, in front of a backend whose connections the test holds.
fn sending(backend: &Bare, version: &str) -> Proxy {
    let config = format!(
        "{QUIET}\n{TRUSTING}\npools: {{ a: {{ backends: ['{}'], send_proxy: {version} }} }}\nroutes: [{{ pool: a }}]",
        backend.url()
    );
    Proxy::before(&[]).config(&config).start()
}

fn response(held: &mut Held) {
    held.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn a_backend_receives_the_client_in_a_header() {
    let backend = Bare::start();
    let proxy = sending(&backend, "v1");
    let mut client = proxy.client();
    client.send(REQUEST);
    let mut held = backend.accept();
    let (from, to) = (client.address(), proxy.address());
    let line = format!(
        "PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\nGET /x",
        from.port(),
        to.port()
    );
    let head = held.head();
    assert!(head.starts_with(&line), "{head}");
    response(&mut held);
    assert_eq!(client.read().status(), 200);
    // As in the log: the client that a trusted proxy names, with unknown port.
    client.send("GET /y HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n");
    let mut held = backend.accept();
    let line = format!("PROXY TCP4 192.0.2.7 127.0.0.1 0 {}\r\nGET /y", to.port());
    let head = held.head();
    assert!(head.starts_with(&line), "{head}");
    response(&mut held);
    assert_eq!(client.read().status(), 200);
}

#[test]
fn the_binary_header_contains_the_same() {
    let backend = Bare::start();
    let proxy = sending(&backend, "v2");
    let mut client = proxy.client();
    client.send(REQUEST);
    let mut held = backend.accept();
    let header = held.read(24);
    assert_eq!(header, "\r\n\r\n\0\r\nQUIT\n!\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01");
    held.read(4);
    assert!(held.head().starts_with("GET /x"));
    response(&mut held);
    assert_eq!(client.read().status(), 200);
}

/// P7: a connection opened for one client carries no request of another.
#[test]
fn a_connection_opened_for_a_client_carries_one_request() {
    let backend = Bare::start();
    let proxy = sending(&backend, "v1");
    let mut clients: Vec<Client> = (0..2).map(|_| proxy.client()).collect();
    for round in 0..2 {
        for client in &mut clients {
            client.send(REQUEST);
            let mut held = backend.accept();
            let name = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} ", client.address().port());
            let head = held.head();
            assert!(head.starts_with(&name), "round {round}: {head}");
            response(&mut held);
            assert_eq!(client.read().status(), 200);
            assert_eq!(held.wait_for_end(), "", "it ends with its request");
        }
    }
}

/// P7: a connection opened without a header is not reused where one is required.
#[test]
fn after_a_reload_that_requires_headers_idle_connections_are_not_reused() {
    let backend = Bare::start();
    let with = |version: &str| {
        let url = backend.url();
        let pool = format!(
            "pools: {{ a: {{ backends: ['{url}'], send_proxy: {version} }} }}\nroutes: [{{ pool: a }}]"
        );
        Proxy::before(&[]).config(QUIET).config(&pool)
    };
    let proxy = with("off").start();
    let mut client = proxy.client();
    client.send(REQUEST);
    let mut idle = backend.accept();
    assert!(idle.head().starts_with("GET /x"));
    response(&mut idle);
    assert_eq!(client.read().status(), 200);
    let mark = proxy.mark();
    proxy.write_config(&with("v1").text());
    proxy.signal(Signal::HUP);
    proxy.wait_for_message(mark, "Reloaded");
    client.send(REQUEST);
    let mut held = backend.accept();
    assert!(held.head().starts_with("PROXY TCP4 127.0.0.1 "));
    response(&mut held);
    assert_eq!(client.read().status(), 200);
}

#[test]
fn a_probe_names_no_client() {
    for (version, header) in [("v1", "PROXY UNKNOWN\r\n"), ("v2", "\r\n\r\n\0\r\nQUIT\n \0\0\0")] {
        let backend = Bare::start();
        let config = format!(
            "pools: {{ a: {{ backends: ['{}'], send_proxy: {version} }} }}\nroutes: [{{ pool: a }}]",
            backend.url()
        );
        let _proxy = Proxy::before(&[]).config(&config).start();
        let mut held = backend.accept();
        assert_eq!(held.read(header.len()), header);
        assert!(held.head().starts_with("GET / HTTP/1.1\r\nHost: 127.0.0.1:"));
    }
}

/// A backend that is another balancer receives the same client, over HTTP/2 too, where connections are shared
/// otherwise.
#[test]
fn a_chain_of_two_balancers_keeps_the_client() {
    let backend =
        Backend::start(|request| Response::ok(request.field("x-forwarded-for").unwrap_or_default()));
    let inner = proxied(&[&backend]).start();
    for (scheme, version) in [("http", "v1"), ("http", "v2"), ("h2c", "v1"), ("h2c", "v2")] {
        let config = format!(
            "pools: {{ a: {{ backends: ['{scheme}://{}'], send_proxy: {version} }} }}\nroutes: [{{ pool: a }}]",
            inner.address()
        );
        let outer = Proxy::before(&[]).config(QUIET).config(TRUSTING).config(&config);
        let outer = outer.listener("proxy_protocol: true").start();
        let mut clients: Vec<Client> = (0..3).map(|_| outer.client()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(format!("PROXY TCP4 192.0.2.{number} 192.0.2.99 {number} 80\r\n"));
        }
        for _ in 0..2 {
            for (number, client) in clients.iter_mut().enumerate() {
                let path = format!("/{scheme}-{version}-{number}");
                assert_eq!(client.get(&path).text(), format!("192.0.2.{number}"), "{path}");
                let line = inner.access_line(&path);
                assert_eq!(line["client_ip"], format!("192.0.2.{number}:{number}"));
            }
        }
        // Each connection of the inner balancer has ended with its request.
        let is_over = || {
            inner
                .get_admin("/metrics")
                .text()
                .contains("evenkeel_connections_active 0\n")
        };
        wait_until("the connection is over", is_over);
    }
}
