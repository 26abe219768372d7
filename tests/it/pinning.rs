//! Schemes that authenticate the connection and not the request (NTLM, Negotiate; RFC 4559 §6): from the first
//! challenge on, a client connection and a backend connection belong together, and neither carries requests of another
//! client.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use evenkeel::internals::clock;

use crate::support::http2::{Http2, request};
use crate::support::{Backend, Bare, Builder, Client, DEADLINE, Proxy, Request, Response};

const CONFIG: &str = "workers: 1\nhealth_check: { kind: none }";

/// The backend's response to a request without credentials, and to the first message of a handshake.
const REFUSAL: &str = "HTTP/1.1 401 S\r\nWWW-Authenticate: NTLM\r\nContent-Length: 2\r\n\r\nno";
const CHALLENGE: &str =
    "HTTP/1.1 401 S\r\nWWW-Authenticate: NTLM TlRMTVNTUAACAAAA\r\nContent-Length: 0\r\n\r\n";

/// The client's messages.
const FIRST: &str = "Authorization: NTLM TlRMTVNTUAABAAAA\r\n";
const LAST: &str = "Authorization: NTLM TlRMTVNTUAADAAAA\r\n";

/// The state of each connection's handshake.
type Handshakes = Arc<Mutex<HashMap<usize, Progress>>>;

#[derive(Clone, Copy, PartialEq)]
enum Progress {
    Challenged,
    Authenticated,
}

/// The response of a server that stores the user per connection.
fn response(handshakes: &Handshakes, request: &Request, name: &str) -> Response {
    let mut handshakes = handshakes.lock().unwrap_or_else(PoisonError::into_inner);
    let progress = handshakes.get(&request.connection).copied();
    let authorization = request.field("authorization").unwrap_or_default();
    match (progress, authorization) {
        (_, "NTLM TlRMTVNTUAABAAAA") => {
            handshakes.insert(request.connection, Progress::Challenged);
            Response::raw(CHALLENGE)
        }
        (Some(Progress::Challenged), "NTLM TlRMTVNTUAADAAAA") => {
            handshakes.insert(request.connection, Progress::Authenticated);
            Response::ok(name)
        }
        (Some(Progress::Authenticated), "") => Response::ok(name),
        _ => Response::raw(REFUSAL),
    }
}

fn ntlm(name: &'static str) -> Backend {
    let handshakes = Handshakes::default();
    Backend::start(move |request| response(&handshakes, request, name))
}

/// Sends a request with these header lines; returns status and body.
fn ask(client: &mut Client, path: &str, lines: &str) -> (u16, String) {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n"));
    let received = client.read();
    (received.status(), received.text())
}

/// Sends the three messages; returns the last response's text.
#[track_caller]
fn authenticate(client: &mut Client) -> String {
    assert_eq!(ask(client, "/x", ""), (401, "no".to_owned()));
    assert_eq!(ask(client, "/x", FIRST), (401, String::new()));
    let (status, text) = ask(client, "/x", LAST);
    assert_eq!(status, 200, "the handshake comes to its end");
    text
}

fn before(backends: &[&Backend]) -> Builder {
    Proxy::before(backends).config(CONFIG)
}

#[test]
fn a_three_message_handshake_authenticates_the_whole_connection() {
    let (a, b) = (ntlm("a"), ntlm("b"));
    let proxy = before(&[&a, &b]).start();
    let mut client = proxy.client();
    let name = authenticate(&mut client);
    for _ in 0..5 {
        assert_eq!(ask(&mut client, "/y", ""), (200, name.clone()));
    }
    client.send("POST /y HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.read().status(), 200);
    let backend = if name == "a" { &a } else { &b };
    assert_eq!(backend.connections(), 1);
    assert_eq!(
        (a.connections(), b.connections()),
        if name == "a" { (1, 0) } else { (0, 1) }
    );
}

#[test]
fn a_pinned_connection_carries_no_other_client() {
    let backend = ntlm("a");
    let proxy = before(&[&backend]).start();
    let mut first = proxy.client();
    authenticate(&mut first);
    let mut second = proxy.client();
    assert_eq!(ask(&mut second, "/other", "").0, 401);
    assert_eq!(ask(&mut first, "/x", "").0, 200);
    assert_eq!(authenticate(&mut second), "a");
    drop(first);
    // Its backend connection closes with it: a third client must not get an authenticated one.
    for _ in 0..5 {
        assert_eq!(ask(&mut proxy.client(), "/other", "").0, 401);
    }
    let of = |path: &str| {
        let requests = backend.requests(|request| request.start().ends_with(path));
        requests
            .iter()
            .map(|request| request.connection)
            .collect::<Vec<_>>()
    };
    let pinned = of("/x");
    assert!(
        of("/other")[1..]
            .iter()
            .all(|connection| !pinned.contains(connection))
    );
}

/// The client gets a 401, as it would without the balancer, and authenticates again.
#[test]
fn the_end_of_a_pinned_connection_ends_its_authentication() {
    let handshakes = Handshakes::default();
    let backend = Backend::start(move |request| {
        let response = response(&handshakes, request, "a");
        match request.start() {
            "GET /end" => response.close(),
            _ => response,
        }
    });
    let proxy = before(&[&backend]).start();
    let mut client = proxy.client();
    for _ in 0..2 {
        authenticate(&mut client);
        assert_eq!(ask(&mut client, "/x", "").0, 200);
        assert_eq!(ask(&mut client, "/end", "").0, 200);
    }
    assert_eq!(ask(&mut client, "/x", "").0, 401);
}

#[test]
fn a_pinned_backend_that_goes_down_is_replaced() {
    let (a, b) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
    let start = |is_up: &Arc<AtomicBool>, name: &'static str| {
        let (is_up, handshakes) = (Arc::clone(is_up), Handshakes::default());
        Backend::start(move |request| match request.start() {
            "GET /health" if is_up.load(Ordering::SeqCst) => Response::ok(""),
            "GET /health" => Response::status(500, ""),
            _ => response(&handshakes, request, name),
        })
    };
    let backends = (start(&a, "a"), start(&b, "b"));
    let proxy = Proxy::before(&[&backends.0, &backends.1])
        .config("workers: 1\nhealth_check: { path: /health, interval: 50ms, unhealthy_after: 1 }")
        .start();
    let mut client = proxy.client();
    let name = authenticate(&mut client);
    let mark = proxy.mark();
    let (down, other) = if name == "a" { (&a, "b") } else { (&b, "a") };
    down.store(false, Ordering::SeqCst);
    proxy.wait_for_message(mark, "Backend is down");
    assert_eq!(authenticate(&mut client), other);
    assert_eq!(ask(&mut client, "/x", ""), (200, other.to_owned()));
}

/// A balancer with a separate pool for `/other`.
fn with_two_pools(pinned: &Backend, other: &Backend) -> Proxy {
    let pools = format!(
        "pools:\n  pinned: {{ backends: [\"{}\"], health_check: {{ kind: none }} }}\n  \
         other: {{ backends: [\"{}\"], health_check: {{ kind: none }} }}\n\
         routes: [{{ path_prefix: /other, pool: other }}, {{ pool: pinned }}]",
        pinned.url(),
        other.url()
    );
    Proxy::before(&[]).config("workers: 1").config(&pools).start()
}

/// A request to another pool uses another connection; the pinned one is kept.
#[test]
fn requests_to_other_pools_keep_the_pinned_connection() {
    let (pinned, other) = (ntlm("a"), Backend::saying("other"));
    let proxy = with_two_pools(&pinned, &other);
    let mut client = proxy.client();
    authenticate(&mut client);
    for _ in 0..3 {
        assert_eq!(ask(&mut client, "/other", ""), (200, "other".to_owned()));
        assert_eq!(ask(&mut client, "/x", ""), (200, "a".to_owned()));
    }
    assert_eq!(pinned.connections(), 1);
}

/// One connection of a trusted proxy may carry requests of many users: none may use a connection that another user
/// authenticated.
#[test]
fn connections_of_trusted_proxies_are_not_pinned() {
    let backend = ntlm("a");
    let proxy = before(&[&backend]).config("trusted_proxies: [127.0.0.1]").start();
    let mut client = proxy.client();
    for lines in ["", FIRST, LAST, ""] {
        assert_eq!(ask(&mut client, "/x", lines).0, 401);
    }
    assert_eq!(backend.connections(), 4);
}

/// Streams of one connection run concurrently and have no order in which a handshake could take place.
#[test]
fn http2_clients_are_not_pinned() {
    let backend = ntlm("a");
    let proxy = before(&[&backend]).start();
    let client = Http2::connect(proxy.address());
    for value in ["NTLM TlRMTVNTUAABAAAA", "NTLM TlRMTVNTUAADAAAA"] {
        let mut asked = request("GET", "/x");
        asked
            .headers_mut()
            .insert("authorization", value.parse().unwrap());
        assert_eq!(client.ask(asked, b"").unwrap().head.status(), 401);
    }
    assert_eq!(backend.connections(), 2);
}

/// A connection that begins with a PROXY header for a client carries one request, unless it is pinned to that client.
#[test]
fn a_pinned_connection_may_begin_with_a_proxy_header() {
    let backend = Bare::start();
    let proxy = Proxy::before(&[])
        .config(&format!(
            "{CONFIG}\npools: {{ a: {{ backends: ['{}'], send_proxy: v1 }} }}\nroutes: [{{ pool: a }}]",
            backend.url()
        ))
        .start();
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut held = backend.accept();
    assert!(held.head().starts_with("PROXY TCP4 127.0.0.1 "));
    held.send(REFUSAL);
    assert_eq!(client.read().status(), 401);
    client.send(format!("GET /y HTTP/1.1\r\nHost: test\r\n{FIRST}\r\n"));
    assert!(
        held.head().starts_with("GET /y "),
        "on the same connection, without another header"
    );
    held.send(CHALLENGE);
    assert_eq!(client.read().status(), 401);
    drop(client);
    held.wait_for_end();
}

/// The tunnel is for the client that authenticated the connection.
#[test]
fn an_upgrade_uses_the_pinned_connection() {
    let backend = Bare::start();
    let proxy = Proxy::before(&[]).backend(&backend.url()).config(CONFIG).start();
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut held = backend.accept();
    held.head();
    held.send(REFUSAL);
    assert_eq!(client.read().status(), 401);
    client.send("GET /chat HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert!(held.head().starts_with("GET /chat "));
    held.send("HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.read().status(), 101);
    client.send("there");
    assert_eq!(held.read(5), "there");
}

/// Idle connections are parked, which keeps only the client's socket.
#[test]
fn a_client_that_is_idle_keeps_its_pinned_connection() {
    let (pinned, other) = (ntlm("a"), Backend::saying("other"));
    let proxy = with_two_pools(&pinned, &other);
    let mut client = proxy.client();
    authenticate(&mut client);
    // It has been idle for less time than the other one.
    let mut idle = proxy.client();
    assert_eq!(ask(&mut idle, "/other", "").0, 200);
    let is_parked = |text: &str| text.lines().any(|line| line == "evenkeel_connections_parked 1");
    let began = clock::now();
    while !is_parked(&proxy.get_admin("/metrics").text()) {
        assert!(began.elapsed() < DEADLINE, "no connection is parked");
    }
    assert_eq!(ask(&mut client, "/x", ""), (200, "a".to_owned()));
    assert_eq!(pinned.connections(), 1);
}

#[test]
fn client_idle_closes_a_client_with_a_pinned_connection() {
    let backend = ntlm("a");
    let proxy = before(&[&backend])
        .config("timeouts: { client_idle: 1s }")
        .start();
    let mut client = proxy.client();
    authenticate(&mut client);
    assert!(client.read_to_end().is_empty());
}

#[test]
fn a_stop_closes_pinned_connections() {
    let backend = ntlm("a");
    let proxy = before(&[&backend]).start();
    let mut client = proxy.client();
    authenticate(&mut client);
    assert!(proxy.stop().success());
    assert!(client.read_to_end().is_empty());
}
