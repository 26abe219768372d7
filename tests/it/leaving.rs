//! Clients that leave while their request is served, and clients that close only their sending side.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::authority::{Authority, Folder};
use crate::support::tls::{Connected, Tls};
use crate::support::{Backend, Bare, Client, DEADLINE, Gate, Held, Proxy, Response};

const CONFIG: &str = "workers: 1\nhealth_check: { kind: none }";
const GET: &str = "GET /x HTTP/1.1\r\nHost: test\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";
/// The beginning of an event stream.
const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nfirst";
/// Long enough that the client's next action is clearly later than its request: there is no event to wait for.
const LATER: Duration = Duration::from_millis(400);

fn before(backend: &Bare) -> Proxy {
    Proxy::before(&[]).backend(&backend.url()).config(CONFIG).start()
}

/// Sends a request and waits until the backend has it.
fn waiting(proxy: &Proxy, backend: &Bare, request: &str) -> (Client, Held) {
    let mut client = proxy.client();
    client.send(request);
    let mut held = backend.accept();
    held.head();
    (client, held)
}

/// Expects that the request is abandoned at the backend and in the log.
#[track_caller]
fn assert_abandoned(proxy: &Proxy, held: &mut Held) {
    held.wait_for_end();
    let line = proxy.access_line("/x");
    assert_eq!(
        (&line["status"], &line["error"]),
        (&499.into(), &"client_gone".into()),
        "{line}"
    );
}

#[test]
fn a_request_is_abandoned_if_its_client_closes_at_once() {
    let backend = Bare::start();
    let proxy = before(&backend);
    let (client, mut held) = waiting(&proxy, &backend, GET);
    drop(client);
    assert_abandoned(&proxy, &mut held);
}

#[test]
fn a_request_is_abandoned_if_its_client_closes_while_waiting() {
    for request in [
        GET.to_owned(),
        "POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody".to_owned(),
        // Bytes that it pipelines may be the beginning of its next request.
        format!("{GET}{GET}GET /"),
    ] {
        let backend = Bare::start();
        let proxy = before(&backend);
        let (mut client, mut held) = waiting(&proxy, &backend, &request);
        std::thread::sleep(LATER);
        client.finish_sending();
        assert_abandoned(&proxy, &mut held);
        assert!(client.read_to_end().is_empty(), "{request:?}");
    }
}

#[test]
fn a_later_request_is_abandoned_if_its_client_closes() {
    let backend = Bare::start();
    let proxy = before(&backend);
    let mut client = proxy.client();
    client.send("GET /before HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut held = backend.accept();
    held.head();
    held.send(OK);
    assert_eq!(client.read().text(), "done");
    client.send(GET);
    held.head();
    drop(client);
    assert_abandoned(&proxy, &mut held);
}

#[test]
fn a_request_is_abandoned_if_its_client_closes_while_the_response_streams() {
    let backend = Bare::start();
    let proxy = before(&backend);
    let (mut client, mut held) = waiting(&proxy, &backend, GET);
    held.send(EVENTS);
    client.read_until(|bytes| memchr::memmem::find(bytes, b"first").is_some());
    drop(client);
    assert_abandoned(&proxy, &mut held);
}

/// A TLS listener in front of a backend, and a client that trusts its certificate.
fn secured(backend: &Bare, key: &str) -> (Proxy, Tls, Folder) {
    let (folder, authority) = (Folder::new(), Authority::new());
    folder.put("a", &authority.sign_for(&["a.test"]));
    let files = format!(
        "certificates: [{{ cert: \"{}\", key: \"{}\" }}]",
        folder.file("a.pem"),
        folder.file("a.key")
    );
    let proxy = Proxy::before(&[])
        .listener(&format!("tls: {{ {files} }}{key}"))
        .backend(&backend.url())
        .config(CONFIG)
        .start();
    (proxy, Tls::trusting(&authority), folder)
}

#[test]
fn a_request_is_abandoned_if_its_client_closes_under_tls() {
    let backend = Bare::start();
    let (proxy, tls, _folder) = secured(&backend, "");
    let ask = || -> (Connected, Held) {
        let mut client = tls.connect(proxy.address(), "a.test");
        client.send(GET);
        let mut held = backend.accept();
        held.head();
        (client, held)
    };
    let (mut client, mut held) = ask();
    client.announce_end();
    drop(client);
    assert_abandoned(&proxy, &mut held);
    let (mut client, mut held) = ask();
    std::thread::sleep(LATER);
    client.announce_end();
    held.wait_for_end();
    proxy.wait_for_count(2, |line| line["error"] == "client_gone");
    drop(client);
}

/// A client that sends everything and closes its sending side, as `printf … | nc -N` does, waits for its response.
#[test]
fn a_client_that_half_closes_with_its_request_is_served() {
    for (request, body) in [
        (GET.to_owned(), ""),
        (
            "POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody".to_owned(),
            "body",
        ),
        (
            "POST /x HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
                .to_owned(),
            "4\r\nbody\r\n0\r\n\r\n",
        ),
    ] {
        let backend = Bare::start();
        let proxy = before(&backend);
        let mut client = proxy.client();
        client.send_and_finish(&request);
        let mut held = backend.accept();
        held.head();
        assert_eq!(held.read(body.len()), body);
        assert!(held.is_silent_for(LATER), "the request is not given up");
        held.send(OK);
        let received = client.read();
        assert_eq!(
            (received.status(), received.text().as_str()),
            (200, "done"),
            "{request:?}"
        );
        assert!(client.read_to_end().is_empty());
        assert_eq!(proxy.access_line("/x")["status"], 200);
    }
}

#[test]
fn a_client_that_half_closes_shortly_after_its_request_is_served() {
    let backend = Bare::start();
    let proxy = before(&backend);
    let (mut client, mut held) = waiting(&proxy, &backend, GET);
    client.finish_sending();
    assert!(held.is_silent_for(LATER), "the request is not given up");
    held.send(OK);
    assert_eq!(client.read().text(), "done");
    assert_eq!(proxy.access_line("/x")["status"], 200);
}

#[test]
fn pipelined_requests_before_a_half_close_are_all_served() {
    let backend = Bare::start();
    let proxy = before(&backend);
    let mut client = proxy.client();
    client.send_and_finish(&format!("{GET}GET /next HTTP/1.1\r\nHost: test\r\n\r\n"));
    let mut held = backend.accept();
    for _ in 0..2 {
        held.head();
        assert!(held.is_silent_for(LATER), "the request is not given up");
        held.send(OK);
        assert_eq!(client.read().text(), "done");
    }
    assert!(client.read_to_end().is_empty());
    assert_eq!(proxy.access_line("/next")["status"], 200);
}

#[test]
fn an_event_stream_reaches_a_client_that_half_closed_with_its_request() {
    let backend = Bare::start();
    let proxy = before(&backend);
    let mut client = proxy.client();
    client.send_and_finish(GET);
    let mut held = backend.accept();
    held.head();
    held.send(EVENTS);
    assert!(held.is_silent_for(LATER), "the request is not given up");
    held.send("last");
    drop(held);
    let text = client.read();
    assert_eq!(text.text(), "firstlast");
    assert_eq!(proxy.access_line("/x")["status"], 200);
}

#[test]
fn a_half_closed_client_is_served_by_the_next_backend() {
    // Two names for one backend, so that it does not matter which is tried first.
    let backend = Bare::start();
    let proxy = Proxy::before(&[])
        .backend(&backend.url())
        .backend(&backend.url().replace("127.0.0.1", "localhost"))
        .config(CONFIG)
        .start();
    let mut client = proxy.client();
    client.send_and_finish(GET);
    let mut held = backend.accept();
    held.head();
    assert!(held.is_silent_for(LATER), "the request is not given up");
    drop(held);
    let mut held = backend.accept();
    held.head();
    assert!(held.is_silent_for(LATER), "the request is not given up");
    held.send(OK);
    assert_eq!(client.read().text(), "done");
}

#[test]
fn a_client_that_half_closes_under_tls_with_its_request_is_served() {
    let backend = Bare::start();
    let (proxy, tls, _folder) = secured(&backend, "");
    let mut client = tls.connect(proxy.address(), "a.test");
    client.send(GET);
    client.announce_end();
    let mut held = backend.accept();
    held.head();
    assert!(held.is_silent_for(LATER), "the request is not given up");
    held.send(OK);
    assert!(client.read_to_end("").unwrap().ends_with("done"));
    assert_eq!(proxy.access_line("/x")["status"], 200);
}

/// A local response that replaces a response not yet begun begins in the same way.
#[test]
fn a_half_closed_client_gets_a_complete_local_response() {
    let backend = Bare::start();
    let proxy = before(&backend);
    let mut client = proxy.client();
    client.send_and_finish(&GET.replace("GET", "DELETE"));
    let mut held = backend.accept();
    held.head();
    assert!(held.is_silent_for(LATER), "the request is not given up");
    held.send("nonsense\r\n\r\n");
    let received = client.read();
    assert!(received.head.starts_with("HTTP/1.1 502 "), "{}", received.head);
    assert!(client.read_to_end().is_empty());
}

#[test]
fn client_half_close_serve_serves_clients_that_half_close_later() {
    let backend = Bare::start();
    let proxy = Proxy::before(&[])
        .listener("client_half_close: serve")
        .backend(&backend.url())
        .config(CONFIG)
        .start();
    let (mut client, mut held) = waiting(&proxy, &backend, GET);
    std::thread::sleep(LATER);
    client.finish_sending();
    assert!(held.is_silent_for(LATER), "the request is not given up");
    held.send(EVENTS);
    client.read_until(|bytes| memchr::memmem::find(bytes, b"first").is_some());
    drop(held);
    assert!(client.read().text() == "first");
    assert_eq!(proxy.access_line("/x")["status"], 200);
    let (client, mut held) = waiting(&proxy, &backend, &GET.replace("/x", "/left"));
    drop(client);
    held.wait_for_end();
    assert_eq!(proxy.access_line("/left")["error"], "client_gone");
}

#[test]
fn clients_that_left_use_no_capacity_of_a_backend() {
    let gate = Gate::default();
    let its = gate.clone();
    let backend = Backend::start(move |request| match request.start() {
        "GET /x" => Response::raw(EVENTS).wait(&its),
        _ => Response::ok("free"),
    });
    let proxy = Proxy::before(&[&backend])
        .config(CONFIG)
        .config("limits: { in_flight_per_backend: 5 }")
        .start();
    for _ in 0..5 {
        let mut client = proxy.client();
        client.send(GET);
        client.read_until(|bytes| memchr::memmem::find(bytes, b"first").is_some());
    }
    proxy.wait_for_count(5, |line| line["error"] == "client_gone");
    assert_eq!(proxy.get("/").text(), "free");
    gate.open();
}

#[test]
fn clients_that_left_hold_no_shared_connection() {
    let gate = Gate::default();
    let its = gate.clone();
    let backend = Backend::start(move |request| match request.start() {
        "GET /x" => Response::ok("late").after(&its),
        _ => Response::ok("free"),
    });
    let proxy = Proxy::before(&[&backend])
        .config(CONFIG)
        .config("limits: { connections: 20 }")
        .start();
    let clients: Vec<Client> = (0..20)
        .map(|number| {
            let mut client = proxy.client();
            client.send(GET);
            backend.wait_for_requests_where(number + 1, |request| request.start() == "GET /x");
            client
        })
        .collect();
    drop(clients);
    assert_eq!(proxy.get("/").text(), "free");
    proxy.wait_for_count(20, |line| line["error"] == "client_gone");
    gate.open();
}

#[test]
fn a_client_that_left_does_not_delay_a_stop() {
    let backend = Bare::start();
    let proxy = before(&backend);
    let (client, mut held) = waiting(&proxy, &backend, GET);
    let mark = proxy.mark();
    proxy.signal(Signal::TERM);
    proxy.wait_for_message(mark, "stopping");
    let began = evenkeel::internals::clock::now();
    drop(client);
    assert!(proxy.wait().success());
    held.wait_for_end();
    // `timeouts.drain` is 30 s.
    assert!(began.elapsed() < DEADLINE.min(Duration::from_secs(20)));
    assert_eq!(proxy.access_line("/x")["error"], "client_gone");
}
