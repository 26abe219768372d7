//! `limits.connections` applies to all workers together, however the connections are distributed.

use std::time::Duration;

use crate::support::{Backend, Client, Gate, Proxy, Response};

const WORKERS: usize = 2;

const BUSY: &str = "GET /busy HTTP/1.1\r\nHost: test\r\n\r\n";

/// A balancer with this limit of connections, in front of a backend that responds to `/busy` when the gate opens.
fn crowded(connections: usize) -> (Backend, Proxy, Gate) {
    let gate = Gate::default();
    let its = gate.clone();
    let backend = Backend::start(move |request| match request.start() {
        "GET /busy" => Response::ok("busy").after(&its),
        _ => Response::ok("free"),
    });
    let config = format!(
        "workers: {WORKERS}\nlimits: {{ connections: {connections} }}\nhealth_check: {{ kind: none }}"
    );
    let proxy = Proxy::before(&[&backend]).config(&config).start();
    (backend, proxy, gate)
}

fn busy(backend: &Backend) -> usize {
    backend.requests(|request| request.start() == "GET /busy").len()
}

/// Workers that accept at the same moment may each accept the last connection, but no more.
#[test]
fn the_limit_holds_over_all_workers() {
    const LIMIT: usize = 8;
    let (backend, proxy, gate) = crowded(LIMIT);
    let busy_client = || {
        let mut client = proxy.client();
        client.send(BUSY);
        client
    };
    let mut clients: Vec<Client> = (0..LIMIT).map(|_| busy_client()).collect();
    // From now on there is no idle connection to evict.
    backend.wait_for_requests(LIMIT);
    let _more: Vec<Client> = (0..4 * LIMIT).map(|_| busy_client()).collect();
    // Excess connections would have been accepted by now.
    assert!(clients[0].is_silent_for(Duration::from_millis(300)));
    let let_in = busy(&backend);
    assert!(
        (LIMIT..LIMIT + WORKERS).contains(&let_in),
        "{let_in} for a limit of {LIMIT}"
    );
    gate.open();
    for client in &mut clients {
        assert_eq!(client.read().text(), "busy", "who was let in is served");
    }
}

/// A worker that accepts a connection must find room for it, even if all its own connections are busy.
#[test]
fn an_idle_connection_of_any_worker_is_evicted() {
    for first in 0..4 {
        for second in first + 1..4 {
            let (backend, proxy, gate) = crowded(4);
            let mut clients: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
            for client in &mut clients {
                assert_eq!(client.get("/").text(), "free");
            }
            clients[first].send(BUSY);
            clients[second].send(BUSY);
            backend.wait_for_requests(6);
            for _ in 0..3 {
                assert_eq!(proxy.get("/new").text(), "free", "{first} and {second} are busy");
            }
            gate.open();
            assert_eq!(clients[first].read().text(), "busy");
            assert_eq!(clients[second].read().text(), "busy");
        }
    }
}
