//! Local resources that are missing for a connect are not the backend's fault: no local port, no address of its family,
//! no file descriptor.

use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::network::{take_ports, with_few_ports};
use crate::support::{Backend, Proxy, Response};

/// One failed probe marks a backend down, and probes are frequent.
const CONFIG: &str = "workers: 1\nhealth_check: { path: /probe, interval: 200ms, unhealthy_after: 1 }";

const GET: &str = "GET /x HTTP/1.1\r\nHost: test\r\n\r\n";
const POST: &str = "POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\na";

/// A backend that closes each connection after one request, so that each request uses a port.
fn closing() -> Backend {
    Backend::start(|_| Response::raw("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\na"))
}

/// The backends as the admin API shows them.
fn backends(proxy: &Proxy) -> Vec<Value> {
    let status: Value = serde_json::from_slice(&proxy.get_admin("/api/v1/status").body).unwrap();
    status["pools"][0]["backends"].as_array().unwrap().clone()
}

fn ask(proxy: &Proxy, request: &str) -> (u16, Option<String>) {
    let received = proxy.client().send(request).read();
    (
        received.status(),
        received.field("retry-after").map(str::to_owned),
    )
}

#[test]
fn without_local_ports_the_request_fails_at_once_and_no_backend_is_blamed() {
    with_few_ports(|| {
        let both = [closing(), closing()];
        let proxy = Proxy::before(&[&both[0], &both[1]]).config(CONFIG).start();
        assert_eq!(ask(&proxy, GET).0, 200);
        // Without ports no backend can be probed for the first time.
        for backend in &both {
            backend.wait_for_request(|request| request.start() == "GET /probe");
        }
        let taken = both.each_ref().map(|backend| take_ports(backend.address()));
        for request in [GET, POST].repeat(10) {
            let told = ask(&proxy, request);
            assert_eq!(told, (503, Some("1".to_owned())));
            // Several probes are due while no port is free.
            thread::sleep(Duration::from_millis(50));
        }
        drop(taken);
        for request in [GET, POST, GET, POST] {
            assert_eq!(ask(&proxy, request).0, 200, "well again at once");
        }
        let lines = proxy.access_lines(25);
        let refused: Vec<&Value> = lines.iter().filter(|line| line["status"] == 503).collect();
        assert_eq!(refused.len(), 20);
        for line in &refused {
            assert_eq!(
                (&line["error"], &line["attempts"], &line["retries"][0]["reason"]),
                (&"no_local_port".into(), &2.into(), &"no_local_port".into()),
                "{line}"
            );
        }
        let soonest = refused.iter().filter_map(|line| line["latency_ms"].as_f64());
        assert!(soonest.fold(f64::MAX, f64::min) <= 10.0);
        assert_eq!(proxy.count_so_far(|line| line["msg"] == "Backend is down"), 0);
        for backend in backends(&proxy) {
            assert_eq!(
                (&backend["state"], &backend["failures"]),
                (&"up".into(), &0.into()),
                "{backend}"
            );
        }
    });
}

/// Ports are used up per backend address.
#[test]
fn without_local_ports_for_one_backend_the_others_are_used() {
    with_few_ports(|| {
        let both = [closing(), closing()];
        let proxy = Proxy::before(&[&both[0], &both[1]]).config(CONFIG).start();
        assert_eq!(ask(&proxy, GET).0, 200);
        let _taken = take_ports(both[0].address());
        for request in [GET, POST].repeat(5) {
            assert_eq!(ask(&proxy, request).0, 200);
            thread::sleep(Duration::from_millis(50));
        }
        let lines = proxy.access_lines(11);
        let retried = lines.iter().filter(|line| line["attempts"] == 2);
        assert_eq!(retried.count(), 5);
        assert_eq!(proxy.count_so_far(|line| line["msg"] == "Backend is down"), 0);
    });
}

/// The kernel reports the same error for an address family that this machine does not have: it does not go away, so the
/// backend is down.
#[test]
fn a_backend_of_a_missing_address_family_is_down() {
    with_few_ports(|| {
        let good = closing();
        let proxy = Proxy::before(&[&good])
            .backend("http://[::1]:9")
            .config(CONFIG)
            .start();
        let line = proxy.wait_for_line(|line| line["msg"] == "Backend is down");
        assert_eq!(line["backend"], "http://[::1]:9");
        assert_eq!(proxy.get("/x").status(), 200);
    });
}
