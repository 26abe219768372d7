//! What each of the `timeouts` ends, and what it does not end.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use evenkeel::internals::clock;
use socket2::{Domain, Socket, Type};

use crate::support::ability::skip;
use crate::support::{Backend, Bare, DEADLINE, Gate, Proxy, Response};

/// More than the socket buffers between two parties hold, in bytes.
const LARGE: usize = 32 << 20;

/// Most connections that are tried until a backlog is full.
const MOST_WAITING: usize = 16;

fn config(timeouts: &str) -> String {
    format!("timeouts: {{ {timeouts} }}\nhealth_check: {{ kind: none }}\nworkers: 1")
}

/// A balancer with this backend only and these timeouts.
fn balancer_for(backend: &Bare, timeouts: &str) -> Proxy {
    Proxy::before(&[])
        .backend(&backend.url())
        .config(&config(timeouts))
        .start()
}

fn before(backends: &[&Backend], timeouts: &str) -> Proxy {
    Proxy::before(backends).config(&config(timeouts)).start()
}

/// An address that neither accepts nor refuses connections, with the sockets that keep it so; `None` if the kernel
/// accepts all.
fn full_backlog() -> Option<(SocketAddr, Socket, Vec<TcpStream>)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be made");
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&anywhere.into()).expect("a port is free");
    socket.listen(0).expect("the socket can listen");
    let address = socket.local_addr().ok()?.as_socket()?;
    let mut waiting = Vec::new();
    while waiting.len() < MOST_WAITING {
        match TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            Ok(stream) => waiting.push(stream),
            Err(_) => return Some((address, socket, waiting)),
        }
    }
    None
}

#[test]
fn connect_bounds_how_long_a_connection_takes() {
    let Some((address, _socket, _waiting)) = full_backlog() else {
        skip("no backlog is ever full here");
        return;
    };
    let full = format!("http://{address}");
    let proxy = Proxy::before(&[])
        .backend(&full)
        .config(&config("connect: 1500ms"))
        .start();
    let began = clock::now();
    assert_eq!(proxy.get("/x").status(), 503);
    assert!(
        began.elapsed() >= Duration::from_millis(1500),
        "not the default of 1s"
    );
    assert_eq!(proxy.access_line("/x")["error"], "connect_failed");

    let good = Backend::saying("good");
    let proxy = Proxy::before(&[&good])
        .backend(&full)
        .config(&config("connect: 300ms"))
        .start();
    let post = "POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc";
    for _ in 0..2 {
        assert_eq!(proxy.client().send(post).read().text(), "good");
    }
}

#[test]
fn client_idle_closes_a_connection_between_requests() {
    let backend = Backend::saying("a");
    let proxy = before(&[&backend], "client_idle: 300ms");
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "a");
    assert_eq!(client.get("/").text(), "a");
    let began = clock::now();
    assert!(client.read_to_end().is_empty());
    // The response arrived before the balancer began to wait, so very little of the time may be missing here.
    assert!(began.elapsed() >= Duration::from_millis(250));
}

#[test]
fn request_bounds_all_attempts_together() {
    let gate = Gate::default();
    let silent = || {
        let its = gate.clone();
        Backend::start(move |_| Response::ok("").after(&its))
    };
    let (first, second) = (silent(), silent());
    let proxy = before(&[&first, &second], "first_byte: 1500ms, request: 2s");
    let began = clock::now();
    assert_eq!(proxy.get("/x").status(), 504);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1950), "{took:?}");
    assert!(took < Duration::from_millis(2900), "{took:?}");
    let line = proxy.access_line("/x");
    assert_eq!(
        (&line["attempts"], &line["error"]),
        (&2.into(), &"backend_timeout".into())
    );
    for backend in [&first, &second] {
        assert_eq!(backend.requests(|_| true).len(), 1);
    }
    let metrics = proxy.get_admin("/metrics").text();
    for (kind, count) in [("request", 1), ("first_byte", 0)] {
        let line = format!("evenkeel_timeouts_total{{kind=\"{kind}\"}} {count}");
        assert!(metrics.lines().any(|known| known == line), "{line} in {metrics}");
    }
    gate.open();
}

#[test]
fn progress_ends_a_request_whose_body_stops() {
    let backend = Bare::start();
    let proxy = balancer_for(&backend, "progress: 300ms");
    let mut client = proxy.client();
    client.send("POST /stops HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nabc");
    let mut held = backend.accept();
    held.head();
    assert_eq!(held.read(3), "abc");
    assert_eq!(client.read().status(), 408);
    client.read_to_end();
    held.wait_for_end();
    assert_eq!(proxy.access_line("/stops")["error"], "client_body_timeout");
}

#[test]
fn progress_ends_a_request_that_the_backend_does_not_read() {
    let backend = Bare::start();
    let proxy = balancer_for(&backend, "progress: 300ms, first_byte: 30s, request: 30s");
    let mut client = TcpStream::connect(proxy.address()).expect("the balancer listens");
    client
        .set_write_timeout(Some(DEADLINE))
        .expect("a timeout can be set");
    let head = format!("POST /untaken HTTP/1.1\r\nHost: test\r\nContent-Length: {LARGE}\r\n\r\n");
    client
        .write_all(head.as_bytes())
        .expect("the balancer takes a head");
    let _held = backend.accept();
    // The balancer reads no more than it can forward, and then closes: the result of sending proves nothing.
    drop(client.write_all(&vec![b'a'; LARGE]));
    let line = proxy.access_line("/untaken");
    assert_eq!(
        (&line["status"], &line["error"]),
        (&504.into(), &"backend_timeout".into())
    );
}

#[test]
fn progress_ends_a_response_that_the_client_does_not_read() {
    let text = "a".repeat(LARGE);
    let backend = Backend::start(move |_| Response::ok(&text));
    let proxy = before(&[&backend], "progress: 300ms");
    let mut client = proxy.client();
    client.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(proxy.access_line("/large")["error"], "client_stalled");
    assert!(client.read_to_end().len() < LARGE);
}

#[test]
fn progress_ends_a_response_of_known_length_that_stops() {
    let gate = Gate::default();
    let response = Response::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").wait(&gate);
    let backend = Backend::start(move |_| response.clone());
    let proxy = before(&[&backend], "progress: 300ms");
    let mut client = proxy.client();
    client.send("GET /stops HTTP/1.1\r\nHost: test\r\n\r\n");
    let error = client.try_read().expect_err("the response is truncated");
    assert_ne!(error.kind(), ErrorKind::WouldBlock, "it is closed");
    assert_eq!(proxy.access_line("/stops")["error"], "response_stalled");
    gate.open();
}

#[test]
fn uploads_that_move_are_bounded_by_no_total() {
    let backend = Backend::saying("all");
    let proxy = before(&[&backend], "progress: 1s, first_byte: 1s, request: 1s");
    let mut client = proxy.client();
    client.send("POST /long HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n");
    let began = clock::now();
    for _ in 0..9 {
        client.send("a");
        assert!(client.is_silent_for(Duration::from_millis(200)));
    }
    assert!(
        began.elapsed() > Duration::from_millis(1500),
        "longer than any bound"
    );
    client.send("a");
    assert_eq!(client.read().text(), "all");
    let request = backend.wait_for_request(|request| request.start() == "POST /long");
    assert_eq!(request.body, b"aaaaaaaaaa");
}

#[test]
fn stream_idle_and_not_progress_bounds_a_pause_of_a_chunked_response() {
    let gate = Gate::default();
    let first = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let response = Response::raw(first).wait(&gate).send("3\r\ndef\r\n0\r\n\r\n");
    let backend = Backend::start(move |_| response.clone());
    let proxy = before(&[&backend], "progress: 200ms, stream_idle: 8s");
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    client.read_until(|bytes| bytes.ends_with(b"abc\r\n"));
    assert!(client.is_silent_for(Duration::from_millis(800)));
    gate.open();
    assert_eq!(client.read().text(), "abcdef");
}

#[test]
fn stream_idle_ends_a_chunked_response_that_pauses_longer() {
    let gate = Gate::default();
    let first = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let response = Response::raw(first).wait(&gate);
    let backend = Backend::start(move |_| response.clone());
    let proxy = before(&[&backend], "progress: 30s, stream_idle: 300ms");
    let mut client = proxy.client();
    client.send("GET /pauses HTTP/1.1\r\nHost: test\r\n\r\n");
    let error = client.try_read().expect_err("the response is truncated");
    assert_ne!(error.kind(), ErrorKind::WouldBlock, "it is closed");
    assert_eq!(proxy.access_line("/pauses")["error"], "response_stalled");
    gate.open();
}

#[test]
fn tunnel_idle_ends_a_silent_tunnel() {
    let backend = Bare::start();
    let proxy = balancer_for(
        &backend,
        "tunnel_idle: 2s, progress: 200ms, first_byte: 1s, request: 1s",
    );
    let mut client = proxy.client();
    client.send(
        "GET /chat HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let mut held = backend.accept();
    held.head();
    held.send(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    );
    assert_eq!(client.read().status(), 101);
    // One active direction is enough, for longer than the bound.
    for _ in 0..8 {
        client.send("ping");
        assert_eq!(held.read(4), "ping");
        assert!(client.is_silent_for(Duration::from_millis(300)));
    }
    let began = clock::now();
    assert!(client.read_to_end().is_empty());
    assert!(
        began.elapsed() >= Duration::from_millis(500),
        "{:?}",
        began.elapsed()
    );
    held.wait_for_end();
    assert_eq!(proxy.access_line("/chat")["error"], "tunnel_idle");
}

#[test]
fn backend_idle_closes_an_idle_connection() {
    let backend = Bare::start();
    let proxy = balancer_for(&backend, "backend_idle: 300ms");
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut held = backend.accept();
    held.head();
    let began = clock::now();
    held.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na");
    assert_eq!(client.read().text(), "a");
    held.wait_for_end();
    assert!(began.elapsed() >= Duration::from_millis(300));
}
