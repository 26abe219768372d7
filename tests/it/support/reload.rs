//! Reloads over the admin API, and what runs meanwhile.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::{Bare, Builder, Client, Held, Proxy};

/// Reloads over the admin API; returns the status and the response.
pub(crate) fn reload(proxy: &Proxy, config: &Builder) -> (u16, Value) {
    proxy.write_config(&config.text());
    let admin = proxy.admin();
    let mut client = Client::connect(admin);
    client.send(format!("POST /api/v1/reload HTTP/1.1\r\nHost: {admin}\r\n\r\n"));
    let response = client.read();
    let body = serde_json::from_slice(&response.body).expect("JSON");
    (response.status(), body)
}

/// Reloads, which must succeed.
pub(crate) fn reloaded(proxy: &Proxy, config: &Builder) {
    let done = json!({ "reloaded": true });
    assert_eq!(reload(proxy, config), (200, done));
}

const SWITCH: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n";

/// Opens a WebSocket; returns both ends.
pub(crate) fn websocket(address: SocketAddr, backend: &Bare, path: &str) -> (Client, Held) {
    let mut client = Client::connect(address);
    client.send(format!(
        "GET {path} HTTP/1.1\r\nHost: test\r\n{SWITCH}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ));
    let mut held = backend.accept();
    held.head();
    held.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\n{SWITCH}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    ));
    assert_eq!(client.read().status(), 101);
    (client, held)
}

/// Ends the load when dropped, also by a panic.
pub(crate) struct EndOfLoad<'a>(pub(crate) &'a AtomicBool);

impl Drop for EndOfLoad<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
