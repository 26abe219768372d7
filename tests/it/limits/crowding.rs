//! Limits on the number of connections and requests, and minimum rates.

use std::time::Duration;

use super::before;
use crate::support::{Backend, Client, Gate, Proxy, Response, refusing_address};

/// Interval at which a client sends in the tests of rates.
const PACE: Duration = Duration::from_millis(20);

/// Sends `piece` every [`PACE`] until a response comes, at most `times`; returns whether one came.
fn drips(client: &mut Client, piece: &str, times: usize) -> bool {
    (0..times).any(|_| !client.send(piece).is_silent_for(PACE))
}

/// A balancer with these limits, and a client that has begun to send a body of 1 MB.
fn sending(limits: &str) -> (Backend, Proxy, Client) {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend])
        .config(&format!("limits: {{ {limits} }}\ntimeouts: {{ progress: 1s }}"))
        .start();
    let mut client = proxy.client();
    client.send("POST /slow HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n");
    (backend, proxy, client)
}

#[test]
fn a_body_below_the_minimum_rate_is_ended_although_it_moves() {
    let (_backend, proxy, mut client) = sending("min_body_rate: 1KiB");
    assert!(drips(&mut client, "b", 400));
    assert_eq!(client.read().status(), 408);
    assert_eq!(proxy.access_line("/slow")["error"], "client_body_timeout");
}

#[test]
fn a_body_above_the_minimum_rate_passes() {
    let (_backend, _proxy, mut client) = sending("min_body_rate: 1KiB");
    assert!(!drips(&mut client, &"b".repeat(10_000), 99));
    assert_eq!(client.send("b".repeat(10_000)).read().status(), 200);
}

#[test]
fn without_a_minimum_rate_a_slow_body_passes() {
    let (_backend, _proxy, mut client) = sending("min_body_rate: none");
    assert!(!drips(&mut client, "b", 75));
    assert_eq!(client.send("b".repeat(1_000_000 - 75)).read().status(), 200);
}

/// A balancer with this limit of connections, in front of a backend that responds to `/busy` when the gate opens.
fn crowded(connections: usize) -> (Backend, Proxy, Gate) {
    let gate = Gate::default();
    let its = gate.clone();
    let backend = Backend::start(move |request| match request.start() {
        "GET /busy" => Response::ok("busy").after(&its),
        _ => Response::ok(""),
    });
    let proxy = Proxy::before(&[&backend])
        // Each worker has its own eviction queue: with one worker, the order is deterministic.
        .config(&format!("workers: 1\nlimits: {{ connections: {connections} }}"))
        .start();
    (backend, proxy, gate)
}

#[test]
fn the_longest_idle_connection_is_evicted_and_a_busy_one_is_not() {
    let (backend, proxy, gate) = crowded(3);
    let mut busy = proxy.client();
    busy.send("GET /busy HTTP/1.1\r\nHost: test\r\n\r\n");
    backend.wait_for_request(|request| request.start() == "GET /busy");
    let mut idle = proxy.client();
    assert_eq!(idle.get("/a").status(), 200);
    let mut others: Vec<Client> = Vec::new();
    for _ in 0..2 {
        let mut other = proxy.client();
        assert_eq!(other.get("/c").status(), 200);
        others.push(other);
    }
    assert!(idle.read_to_end().is_empty());
    gate.open();
    assert_eq!(busy.read().text(), "busy");
}

#[test]
fn a_connection_with_an_incomplete_head_is_evicted_too() {
    let (_backend, proxy, _gate) = crowded(3);
    let mut slow = proxy.client();
    assert_eq!(slow.get("/a").status(), 200);
    slow.send("GET /half HTTP/1.1\r\nHos");
    let mut others: Vec<Client> = Vec::new();
    for _ in 0..3 {
        let mut other = proxy.client();
        assert_eq!(other.get("/b").status(), 200);
        others.push(other);
    }
    assert_eq!(slow.read().status(), 408);
    slow.read_to_end();
    proxy.wait_for_line(|line| line["error"] == "evicted");
}

/// Who only connects does not take the place of who is served: 20 such clients, for 8 connections.
#[test]
fn clients_that_send_nothing_displace_each_other_and_no_idle_connection() {
    let (_backend, proxy, _gate) = crowded(8);
    let mut served: Vec<Client> = (0..3).map(|_| proxy.client()).collect();
    for client in &mut served {
        assert_eq!(client.get("/a").status(), 200);
    }
    let _silent: Vec<Client> = (0..20).map(|_| proxy.client()).collect();
    // Connections are accepted in their order: those before it have been.
    assert_eq!(proxy.client().get("/b").status(), 200);
    for client in &mut served {
        assert_eq!(client.get("/c").status(), 200);
    }
}

#[test]
fn one_more_connection_of_a_client_than_the_limit_is_closed() {
    let (_backend, proxy) = before("connections_per_client: 2", Response::ok(""));
    let mut clients = [proxy.client(), proxy.client()];
    for client in &mut clients {
        assert_eq!(client.get("/a").status(), 200);
    }
    assert!(proxy.client().read_to_end().is_empty());
    for client in &mut clients {
        assert_eq!(client.get("/b").status(), 200);
    }
    let [_first, second] = clients;
    drop(second);
    // Its slot is free shortly after its end; no event reports when.
    assert!((0..2000).any(|_| proxy.client().is_silent_for(10 * PACE)));
}

#[test]
fn the_last_response_of_a_connection_contains_close() {
    let (_backend, proxy) = before("requests_per_connection: 3", Response::ok("a"));
    let mut client = proxy.client();
    for _ in 0..2 {
        assert_eq!(client.get("/x").field("connection"), None);
    }
    let last = client.get("/x");
    assert_eq!(
        (last.text().as_str(), last.field("connection")),
        ("a", Some("close"))
    );
    assert!(client.read_to_end().is_empty());
    assert_eq!(proxy.get("/x").status(), 200);
}

#[test]
fn full_backends_are_503_and_a_free_one_is_used_first() {
    let gate = Gate::default();
    let slow = |name: &'static str| {
        let its = gate.clone();
        Backend::start(move |request| match request.start() {
            "GET /busy" => Response::ok(name).after(&its),
            _ => Response::ok(name),
        })
    };
    let backends = [slow("a"), slow("b")];
    let proxy = Proxy::before(&[&backends[0], &backends[1]])
        .config("limits: { in_flight_per_backend: 1 }\nqueue: off\nhealth_check: { kind: none }")
        .start();
    let busy = "GET /busy HTTP/1.1\r\nHost: test\r\n\r\n";
    let mut first = proxy.client();
    first.send(busy);
    // Round robin begins with the first backend.
    backends[0].wait_for_request(|_| true);
    let mut other = proxy.client();
    for _ in 0..4 {
        assert_eq!(other.get("/free").text(), "b");
    }
    other.send(busy);
    backends[1].wait_for_request(|request| request.start() == "GET /busy");
    let full = proxy.get("/full");
    assert_eq!((full.status(), full.field("retry-after")), (503, Some("1")));
    assert_eq!(proxy.access_line("/full")["error"], "backends_full");
    gate.open();
    assert_eq!(first.read().text(), "a");
    assert_eq!(other.read().text(), "b");
    assert_eq!(other.get("/again").status(), 200);
}

/// A backend counts as busy only if it is eligible and full.
#[test]
fn backends_that_are_down_do_not_count_as_full() {
    let gate = Gate::default();
    let its = gate.clone();
    let slow = Backend::start(move |request| match request.start() {
        "GET /busy" => Response::ok("a").after(&its),
        _ => Response::ok("a"),
    });
    let (refusing, _socket) = refusing_address();
    let config = "limits: { in_flight_per_backend: 1 }\nqueue: off\nhealth_check: { unhealthy_after: 1 }";
    let proxy = Proxy::before(&[])
        .backend(&format!("http://{refusing}"))
        .config(config)
        .start();
    proxy.wait_for_line(|line| line["msg"] == "Backend is down");
    assert_eq!(proxy.get("/down").status(), 503);
    assert_eq!(proxy.access_line("/down")["error"], "no_backend");
    let proxy = Proxy::before(&[&slow])
        .backend(&format!("http://{refusing}"))
        .config(config)
        .start();
    proxy.wait_for_line(|line| line["msg"] == "Backend is down");
    let mut client = proxy.client();
    client.send("GET /busy HTTP/1.1\r\nHost: test\r\n\r\n");
    slow.wait_for_request(|request| request.start() == "GET /busy");
    assert_eq!(proxy.get("/full").status(), 503);
    let line = proxy.access_line("/full");
    assert_eq!(line["error"], "backends_full");
    assert_eq!(line["detail"], "limits.in_flight_per_backend is 1");
    gate.open();
    assert_eq!(client.read().text(), "a");
}

#[test]
fn as_many_connections_as_the_limit_are_kept_and_one_more_costs_one() {
    let backend = Backend::saying("a");
    let proxy = Proxy::before(&[&backend])
        .config("workers: 1\nlimits: { connections: 3 }")
        .start();
    let ask = |client: &mut Client| client.get("/").status();
    let mut clients: Vec<Client> = (0..3).map(|_| proxy.client()).collect();
    for client in &mut clients {
        assert_eq!(ask(client), 200);
    }
    assert!(
        clients[0].is_silent_for(Duration::from_millis(200)),
        "there is room for three"
    );
    assert_eq!(ask(&mut proxy.client()), 200);
    assert!(clients[0].read_to_end().is_empty(), "the longest idle makes room");
    assert_eq!([ask(&mut clients[1]), ask(&mut clients[2])], [200, 200]);
}
