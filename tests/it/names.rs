//! A backend's name changes its address. Each balancer sees its own `/etc/hosts`, in a user and mount namespace. Where
//! these are not permitted, the tests are skipped, except with `CI=true`.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use rustix::process::Signal;

use crate::support::ability::can_unshare;
use crate::support::http2_backend::FramesBackend;
use crate::support::{Bare, Proxy};

const NAME: &str = "moved.test";
const BEFORE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const AFTER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A hosts file with the address of [`NAME`]; removed when dropped.
struct Hosts(PathBuf);

impl Hosts {
    /// `None` where no process may have a hosts file of its own.
    fn new(test: &str) -> Option<Self> {
        if !can_unshare(&["-rm"]) {
            return None;
        }
        let path = std::env::temp_dir().join(format!("evenkeel-hosts-{test}-{}", std::process::id()));
        let hosts = Self(path);
        hosts.point_to(BEFORE);
        Some(hosts)
    }

    fn point_to(&self, address: Ipv4Addr) {
        fs::write(&self.0, format!("{address} {NAME}\n")).expect("the file can be written");
    }

    /// Starts a balancer that finds its only backend by name.
    fn start(&self, scheme: &str, port: u16) -> Proxy {
        let proxy = Proxy::before(&[]).backend(&format!("{scheme}://{NAME}:{port}"));
        let proxy = proxy.config("workers: 1\nhealth_check: { kind: none }\nretry: { attempts: 1 }");
        proxy.hosts(&self.0).start()
    }

    /// Changes the address, and waits until a reload has reached the balancer.
    fn move_name(&self, proxy: &Proxy) {
        self.point_to(AFTER);
        let mark = proxy.mark();
        proxy.signal(Signal::HUP);
        proxy.wait_for_message(mark, "Backend addresses changed");
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

/// Listeners on one port of both addresses.
fn listeners() -> (TcpListener, TcpListener, u16) {
    loop {
        let before = TcpListener::bind((BEFORE, 0)).expect("a port is free");
        let port = before.local_addr().expect("it has an address").port();
        if let Ok(after) = TcpListener::bind((AFTER, port)) {
            return (before, after, port);
        }
    }
}

#[test]
fn connections_to_a_removed_address_are_closed_and_requests_use_the_new_one() {
    let Some(hosts) = Hosts::new("http1") else { return };
    let (before, after, port) = listeners();
    let (before, after) = (Bare::on(before), Bare::on(after));
    let proxy = hosts.start("http", port);
    let mut clients = [proxy.client(), proxy.client(), proxy.client()];
    let [mut idle, mut busy] = [0, 1].map(|client: usize| {
        clients[client].send(GET);
        before.accept()
    });
    clients[2].send(UPGRADE);
    let mut tunnel = before.accept();
    tunnel.head();
    tunnel.send(SWITCH);
    assert_eq!(clients[2].read().status(), 101);
    busy.head();
    busy.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlo");
    idle.head();
    idle.send(OK);
    assert_eq!(clients[0].read().text(), "ok");

    hosts.move_name(&proxy);
    assert_eq!(
        idle.wait_for_end(),
        "",
        "closed, although nobody asks for anything"
    );
    busy.send("ng");
    assert_eq!(clients[1].read().text(), "long");
    clients[0].send(GET);
    let mut moved = after.accept();
    moved.head();
    moved.send(OK);
    assert_eq!(clients[0].read().text(), "ok");
    assert_eq!(busy.wait_for_end(), "", "closed after its request");
    clients[2].send("to the old one");
    assert_eq!(tunnel.read(14), "to the old one");
}

#[test]
fn shared_connections_to_a_removed_address_are_drained() {
    let Some(hosts) = Hosts::new("http2") else { return };
    let (before, after, port) = listeners();
    let (before, after) = (FramesBackend::on(before), FramesBackend::on(after));
    let proxy = hosts.start("h2c", port);
    let mut clients = [proxy.client(), proxy.client()];
    clients[0].send(GET);
    let mut old = before.accept(&[]);
    let running = old.whole_request();

    hosts.move_name(&proxy);
    clients[1].send(GET);
    let mut new = after.accept(&[]);
    let stream = new.whole_request();
    new.response(stream, 200, "new");
    assert_eq!(clients[1].read().text(), "new");
    old.response(running, 200, "old");
    assert_eq!(clients[0].read().text(), "old");
    assert_eq!(old.goodbye(), Some(h2::Reason::NO_ERROR));
}
