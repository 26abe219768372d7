//! Idle client connections use almost no memory and lose no bytes.

use std::time::Duration;

use evenkeel::internals::clock;
use rustix::process::Signal;

use crate::support::metrics::wait_for_metric;
use crate::support::{Backend, Client, Proxy};

/// This many connections that sent a request each and are parked.
fn parked(proxy: &Proxy, count: usize) -> Vec<Client> {
    let clients = (0..count).map(|_| {
        let mut client = proxy.client();
        assert_eq!(client.get("/").text(), "a");
        client
    });
    let clients = clients.collect();
    wait_for_metric(proxy, "evenkeel_connections_parked", count);
    clients
}

#[test]
fn a_parked_connection_is_served() {
    let backend = Backend::saying("a");
    let proxy = Proxy::before(&[&backend]).start();
    let mut clients = parked(&proxy, 20);
    wait_for_metric(&proxy, "evenkeel_connections_active", 20);
    for client in &mut clients {
        assert_eq!(client.get("/").text(), "a");
        assert_eq!(client.get("/").text(), "a");
    }
    wait_for_metric(&proxy, "evenkeel_connections_parked", 20);
    drop(clients);
    wait_for_metric(&proxy, "evenkeel_connections_active", 0);
}

#[test]
fn client_idle_closes_a_parked_connection() {
    let backend = Backend::saying("a");
    let proxy = Proxy::before(&[&backend])
        .config("timeouts: { client_idle: 2s }")
        .start();
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "a");
    let began = clock::now();
    assert!(client.read_to_end().is_empty());
    let took = began.elapsed();
    assert!(
        took >= Duration::from_millis(1950) && took < Duration::from_secs(4),
        "{took:?}"
    );
}

#[test]
fn a_parked_connection_makes_room_for_a_new_one() {
    let backend = Backend::saying("a");
    let proxy = Proxy::before(&[&backend])
        .config("workers: 1\nlimits: { connections: 2 }")
        .start();
    let mut clients = parked(&proxy, 2);
    assert_eq!(proxy.get("/").text(), "a");
    assert!(clients[0].read_to_end().is_empty(), "it has waited longest");
    assert_eq!(clients[1].get("/").text(), "a");
}

#[test]
fn a_request_in_transit_to_a_parked_connection_is_served_during_a_stop() {
    let backend = Backend::saying("a");
    let proxy = Proxy::before(&[&backend]).start();
    let mut clients = parked(&proxy, 2);
    let mark = proxy.mark();
    proxy.signal(Signal::TERM);
    proxy.wait_for_message(mark, "stopping");
    proxy.wait_until_refused();
    let received = clients[0].get("/");
    assert_eq!(
        (received.text().as_str(), received.field("connection")),
        ("a", Some("close"))
    );
    assert!(clients[1].read_to_end().is_empty());
    assert!(proxy.wait().success());
}

/// RFC 9112 §2.2: one empty line before a request is ignored, and how the bytes are split must not make two of it.
#[test]
fn two_empty_lines_before_a_request_are_refused_however_they_are_split() {
    let backend = Backend::saying("a");
    let proxy = Proxy::before(&[&backend]).start();
    let post = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nxx";
    for _ in 0..20 {
        let mut client = proxy.client();
        client.send(format!("{post}\r\n"));
        assert_eq!(client.read().text(), "a");
        client.send("\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(client.read().status(), 400);
    }
}

/// RFC 9112 §2.2: some clients send an empty line after a body. Half of one does not begin a request either.
#[test]
fn an_empty_line_after_a_body_does_not_shorten_client_idle() {
    let backend = Backend::saying("a");
    let proxy = Proxy::before(&[&backend])
        .config("timeouts: { client_idle: 2s }")
        .start();
    let post = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nxx";
    for line in ["\r\n", "\r"] {
        for is_late in [false, true] {
            let mut client = proxy.client();
            if is_late {
                client.send(post);
                assert_eq!(client.read().text(), "a");
                client.send(line);
            } else {
                client.send(format!("{post}{line}"));
                assert_eq!(client.read().text(), "a");
            }
            let began = clock::now();
            assert!(client.read_to_end().is_empty());
            let took = began.elapsed();
            assert!(
                took >= Duration::from_millis(1900) && took < Duration::from_secs(4),
                "{line:?} {is_late}: {took:?}"
            );
        }
    }
}

#[test]
fn a_connection_with_an_empty_line_after_a_body_is_parked_and_served() {
    let backend = Backend::saying("a");
    let proxy = Proxy::before(&[&backend]).start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nxx\r\n");
    assert_eq!(client.read().text(), "a");
    wait_for_metric(&proxy, "evenkeel_connections_parked", 1);
    assert_eq!(client.get("/").text(), "a");
}
