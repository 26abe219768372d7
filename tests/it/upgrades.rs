//! Upgrades (RFC 9110 §7.8): only `websocket`, only after the backend's 101, and earlier bytes of the client are held
//! back. A connection without a successful upgrade stays HTTP.

use std::time::Duration;

use crate::support::{Backend, Bare, Client, DEADLINE, Held, Proxy, Response};

/// How long a test waits for something that must not come.
const MOMENT: Duration = Duration::from_millis(200);

const CONFIG: &str = "workers: 1\nhealth_check: { kind: none }";

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// An upgrade request with these header lines.
fn asking(lines: &str) -> String {
    format!(
        "GET /chat HTTP/1.1\r\nHost: test\r\n{lines}Sec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

fn to_websocket() -> String {
    asking("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n")
}

fn before(backend: &Bare) -> Proxy {
    Proxy::before(&[]).backend(&backend.url()).config(CONFIG).start()
}

/// Both ends of a tunnel.
fn tunnel(backend: &Bare, proxy: &Proxy) -> (Client, Held) {
    let mut client = proxy.client();
    client.send(to_websocket());
    let mut held = backend.accept();
    held.head();
    held.send(SWITCH);
    assert_eq!(client.read().status(), 101);
    (client, held)
}

/// F12; RFC 9110 §7.8.
#[test]
fn bytes_of_the_new_protocol_wait_for_the_101() {
    let backend = Bare::start();
    let proxy = before(&backend);
    let mut client = proxy.client();
    client.send(to_websocket() + "early");
    let mut held = backend.accept();
    let head = held.head().to_lowercase();
    assert!(
        head.contains("connection: upgrade\r\n") && head.contains("upgrade: websocket\r\n"),
        "{head}"
    );
    assert!(held.is_silent_for(MOMENT), "nobody has switched yet");
    held.send(format!("{SWITCH}hello"));
    let received = client.read();
    assert_eq!(received.status(), 101);
    assert_eq!(received.field("upgrade"), Some("websocket"));
    assert_eq!(received.field("connection"), Some("upgrade"));
    client.read_until(|bytes| bytes == b"hello");
    assert_eq!(held.read(5), "early");
    drop(client);
    held.wait_for_end();
    drop(held);
    assert_eq!(proxy.access_line("/chat")["status"], 101);
}

/// RFC 9112 §6.3 (1): it ends at its empty line, whatever it announces. Servers that always send chunks do this.
#[test]
fn a_101_with_a_transfer_encoding_switches() {
    let backend = Bare::start();
    let proxy = before(&backend);
    let mut client = proxy.client();
    client.send(to_websocket());
    let mut held = backend.accept();
    held.head();
    let switch = SWITCH.replacen("\r\n", "\r\nTransfer-Encoding: chunked\r\n", 1);
    held.send(format!("{switch}hello"));
    let received = client.read();
    assert_eq!(
        (received.status(), received.field("transfer-encoding")),
        (101, None)
    );
    client.read_until(|bytes| bytes == b"hello");
    client.send("there");
    assert_eq!(held.read(5), "there");
}

/// A length of 0 means no body; no backend gets a length beside an upgrade.
#[test]
fn an_upgrade_with_a_length_of_0_has_no_body() {
    let backend = Bare::start();
    let proxy = before(&backend);
    let mut client = proxy.client();
    client.send(asking(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n",
    ));
    let mut held = backend.accept();
    let head = held.head().to_lowercase();
    assert!(
        head.contains("upgrade: websocket\r\n") && !head.contains("content-length"),
        "{head}"
    );
    held.send(SWITCH);
    assert_eq!(client.read().status(), 101);
    client.send("there");
    assert_eq!(held.read(5), "there");
}

/// F12, F13: only a single `websocket` is forwarded, and no settings that belong to h2c.
#[test]
fn other_protocols_are_not_forwarded() {
    let backend = Backend::saying("plain");
    let proxy = Proxy::before(&[&backend]).config(CONFIG).start();
    let asked = [
        "Connection: Upgrade\r\nUpgrade: foo\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket/13\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n",
        "Upgrade: websocket\r\n",
        "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
    ];
    let mut client = proxy.client();
    for lines in asked {
        let received = client.send(asking(lines)).read();
        assert_eq!((received.status(), received.text().as_str()), (200, "plain"));
    }
    let requests = backend.requests(|_| true);
    assert_eq!(requests.len(), asked.len());
    for request in requests {
        for name in ["connection", "upgrade", "http2-settings"] {
            assert_eq!(request.field(name), None, "{}", request.head);
        }
    }
}

/// P4, F12: bytes after such a 101 are no response.
#[test]
fn an_unrequested_101_is_502() {
    for request in [
        "GET /chat HTTP/1.1\r\nHost: test\r\n\r\n".to_owned(),
        asking("Connection: Upgrade\r\nUpgrade: foo\r\n"),
        asking("Upgrade: websocket\r\n"),
    ] {
        let backend = Bare::start();
        let proxy = before(&backend);
        let mut client = proxy.client();
        client.send(&request);
        let mut held = backend.accept();
        held.head();
        held.send(format!(
            "{SWITCH}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
        ));
        assert_eq!(client.read().status(), 502, "{request}");
        held.wait_for_end();
        assert_eq!(proxy.access_line("/chat")["error"], "unexpected_upgrade");
        client.send("GET /next HTTP/1.1\r\nHost: test\r\n\r\n");
        let mut held = backend.accept();
        assert!(held.head().starts_with("GET /next "), "{request}");
        held.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext");
        assert_eq!(client.read().text(), "next", "{request}");
    }
}

#[test]
fn a_101_to_another_protocol_than_requested_is_502() {
    for upgrade in ["", "Upgrade: foo\r\n", "Upgrade: websocket\r\nUpgrade: foo\r\n"] {
        let backend = Bare::start();
        let proxy = before(&backend);
        let mut client = proxy.client();
        client.send(to_websocket() + "GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n");
        let mut held = backend.accept();
        held.head();
        held.send(format!("HTTP/1.1 101 S\r\nConnection: upgrade\r\n{upgrade}\r\n"));
        assert_eq!(client.read().status(), 502, "{upgrade}");
        assert!(client.read_to_end().is_empty(), "{upgrade}");
        assert_eq!(held.wait_for_end(), "", "{upgrade}");
    }
}

/// F12: a refused upgrade is an ordinary response, and the last one of the client's connection.
#[test]
fn an_upgrade_that_the_backend_refuses_stays_http() {
    for (status, text) in [(200, "plain"), (403, "no"), (426, "later")] {
        let backend = Bare::start();
        let proxy = before(&backend);
        let mut client = proxy.client();
        client.send(to_websocket() + "GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n");
        let mut held = backend.accept();
        held.head();
        let length = text.len();
        held.send(format!(
            "HTTP/1.1 {status} S\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: {length}\r\n\r\n{text}"
        ));
        let received = client.read();
        assert_eq!((received.status(), received.text().as_str()), (status, text));
        assert_eq!(received.field("connection"), Some("close"));
        assert_eq!(received.field("upgrade"), None);
        assert!(client.read_to_end().is_empty());
        // The backend has received a complete request and sent a complete response: its connection is reusable.
        assert!(held.is_silent_for(MOMENT), "nothing of what the client had sent");
    }
}

/// F12; the body would be a body to one side and the new protocol to the other.
#[test]
fn an_upgrade_with_a_body_is_refused() {
    for framing in ["Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n"] {
        let backend = Backend::saying("");
        let proxy = Proxy::before(&[&backend]).config(CONFIG).start();
        let mut client = proxy.client();
        let lines = format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{framing}");
        let received = client.send(asking(&lines)).read();
        assert_eq!(received.status(), 400, "{framing}");
        assert_eq!(received.field("connection"), Some("close"), "{framing}");
        client.read_to_end();
        assert_eq!(backend.connections(), 0, "{framing}");
        assert_eq!(proxy.access_lines(1)[0]["error"], "upgrade_with_body");
    }
}

/// A peer whose machine is gone sends no FIN: while nothing moves, only keepalive probes detect that.
#[test]
fn both_connections_of_a_tunnel_are_kept_alive() {
    let backend = Bare::start();
    let proxy = before(&backend);
    let (client, held) = tunnel(&backend, &proxy);
    let [client, listener] = [client.address().port(), proxy.address().port()];
    wait_until_probed([listener, client]);
    wait_until_probed(held.ports());
}

/// Waits until the keepalive timer runs on the connection with these ports, its own first.
fn wait_until_probed([own, other]: [u16; 2]) {
    let began = evenkeel::internals::clock::now();
    let (own, other) = (format!(":{own:04X}"), format!(":{other:04X}"));
    let is_probed = |row: &str| {
        let row: Vec<&str> = row.split_whitespace().collect();
        row[1].ends_with(&own) && row[2].ends_with(&other) && row[5].starts_with("02:")
    };
    loop {
        let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel tells");
        if table.lines().skip(1).any(is_probed) {
            return;
        }
        assert!(
            began.elapsed() < DEADLINE,
            "no probes from {own} to {other}:\n{table}"
        );
        std::thread::yield_now();
    }
}

/// P9: one direction ends, the other continues.
#[test]
fn the_client_may_finish_first() {
    let backend = Bare::start();
    let proxy = before(&backend);
    let (mut client, mut held) = tunnel(&backend, &proxy);
    client.send("last words").finish_sending();
    assert_eq!(held.wait_for_end(), "last words", "the end is passed on");
    for _ in 0..3 {
        held.send("more");
    }
    client.read_until(|bytes| bytes == b"moremoremore");
    drop(held);
    assert_eq!(client.read_to_end(), b"moremoremore");
    let line = proxy.access_line("/chat");
    assert!(line.get("error").is_none(), "{line}");
}

/// P9.
#[test]
fn the_backend_may_finish_first() {
    let backend = Bare::start();
    let proxy = before(&backend);
    let (mut client, mut held) = tunnel(&backend, &proxy);
    held.send("last words").finish_sending();
    assert_eq!(client.read_to_end(), b"last words", "the end is passed on");
    client.send("more");
    assert_eq!(held.read(4), "more");
    drop(client);
    assert_eq!(held.wait_for_end(), "");
    let line = proxy.access_line("/chat");
    assert!(line.get("error").is_none(), "{line}");
}

/// P9: the client had no data and closed its sending side before the 101.
#[test]
fn an_end_before_the_101_is_forwarded() {
    let backend = Bare::start();
    let proxy = before(&backend);
    let mut client = proxy.client();
    client.send(to_websocket() + "all").finish_sending();
    let mut held = backend.accept();
    held.head();
    held.send(SWITCH);
    assert_eq!(held.wait_for_end(), "all");
    held.send("answer").finish_sending();
    assert_eq!(client.read().status(), 101);
    assert_eq!(client.read_to_end(), b"answer");
}

#[test]
fn a_reset_of_either_side_ends_the_other() {
    let backend = Bare::start();
    let proxy = before(&backend);
    let (client, mut held) = tunnel(&backend, &proxy);
    client.reset();
    held.wait_for_end();
    let (mut client, held) = tunnel(&backend, &proxy);
    held.reset();
    assert!(client.read_to_end().is_empty());
}

#[test]
fn a_tunnel_carries_any_bytes_both_ways() {
    let backend = Bare::start();
    let proxy = before(&backend);
    let (mut client, mut held) = tunnel(&backend, &proxy);
    // Bytes that would end a message or begin another one have no meaning in a tunnel.
    let odd = "\0\r\n\r\nGET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n0\r\n\r\n";
    assert_eq!(held.send(odd).send("!").read(0), "");
    client.read_until(|bytes| bytes.ends_with(b"!"));
    client.send(odd);
    assert_eq!(held.read(odd.len()), odd);
    let large = "x".repeat(1 << 20);
    let writer = std::thread::spawn({
        let large = large.clone();
        move || {
            client.send(&large);
            client
        }
    });
    assert_eq!(held.read(large.len()), large);
    drop(writer.join());
}

/// F14: 501 and no tunnel, whatever bytes follow it.
#[test]
fn connect_is_refused_and_its_connection_closed() {
    for target in ["test:443", "127.0.0.1:80", "/", "*", "http://test/"] {
        let backend = Backend::start(|_| Response::ok(""));
        let proxy = Proxy::before(&[&backend]).config(CONFIG).start();
        let mut client = proxy.client();
        client.send(format!(
            "CONNECT {target} HTTP/1.1\r\nHost: test:443\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"
        ));
        let received = client.read();
        assert_eq!(received.status(), 501, "{target}");
        assert_eq!(received.field("connection"), Some("close"), "{target}");
        assert!(client.read_to_end().is_empty(), "{target}");
        assert_eq!(backend.connections(), 0, "{target}");
        assert_eq!(proxy.access_lines(1)[0]["error"], "connect_method");
    }
}
