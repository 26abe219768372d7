//! F12: bytes after an upgrade request reach its backend only after the 101, and reach no other connection.

use crate::support::{Backend, Gate, Proxy, Response};

/// A handshake, followed by bytes that are a request to a backend that did not upgrade.
const EAGER: &str = "GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\
                     GET /inside HTTP/1.1\r\nHost: a\r\n\r\n";

fn start(backend: &Backend) -> Proxy {
    Proxy::before(&[backend])
        .config("workers: 1\nhealth_check: { kind: none }")
        .start()
}

#[test]
fn bytes_after_an_upgrade_request_wait_for_the_101() {
    let gate = Gate::default();
    let its = gate.clone();
    let backend = Backend::start(move |request| match request.start() {
        "GET /tunnel" => Response::raw(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nfirst",
        )
        .after(&its),
        "GET /inside" => Response::raw("second"),
        other => Response::ok(other),
    });
    let proxy = start(&backend);
    let mut client = proxy.client();
    client.send(EAGER);
    let tunnel = backend.wait_for_request(|request| request.start() == "GET /tunnel");
    // The only worker has served this one, so it has processed the earlier bytes.
    assert_eq!(proxy.get("/canary").text(), "GET /canary");
    assert_eq!(
        backend.requests(|request| request.start() == "GET /inside").len(),
        0
    );
    gate.open();
    assert_eq!(client.read().status(), 101);
    client.read_until(|bytes| bytes == b"firstsecond");
    let inside = backend.wait_for_request(|request| request.start() == "GET /inside");
    assert_eq!((inside.connection, inside.turn), (tunnel.connection, 1));
    client.finish_sending();
    assert_eq!(proxy.get("/canary").text(), "GET /canary");
    let canaries = backend.requests(|request| request.start() == "GET /canary");
    assert_eq!(canaries.len(), 2);
    assert!(
        canaries
            .iter()
            .all(|canary| canary.connection != tunnel.connection)
    );
    assert_eq!(proxy.access_line("/tunnel")["status"], 101);
}

#[test]
fn a_101_to_another_request_opens_no_tunnel() {
    for fields in [
        "Connection: upgrade\r\n",
        "Connection: upgrade\r\nUpgrade: h2c\r\n",
        "Connection: upgrade\r\nUpgrade: websocket, h2c\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: gzip\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: x\r\n",
    ] {
        let switch = format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n");
        let backend = Backend::start(move |request| match request.start() {
            "GET /tunnel" => Response::raw(&switch),
            other => Response::ok(other),
        });
        let proxy = start(&backend);
        let mut client = proxy.client();
        assert_eq!(client.send(EAGER).read().status(), 502, "{fields}");
        assert!(client.read_to_end().is_empty(), "{fields}");
        assert_eq!(proxy.get("/canary").text(), "GET /canary");
        assert_eq!(
            backend.requests(|request| request.start() == "GET /inside").len(),
            0
        );
        assert_eq!(backend.connections(), 2, "{fields}");
    }
}
