//! Requests that wait while no backend of their pool may take one: order, bounds, and what ends a wait.

mod adaptive;
mod restart;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use evenkeel::internals::clock;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::http2::Http2;
use crate::support::metrics::{metric, wait_for_metric};
use crate::support::{Backend, Client, Gate, Proxy, Request, Response, refusing_address};

const ONE: &str = "limits: { in_flight_per_backend: 1 }\nhealth_check: off\n";

/// A request for a path.
fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// A backend that responds to `/busy` when the gate opens, and to all else at once with the path.
fn gated(gate: &Gate) -> Backend {
    let its = gate.clone();
    Backend::start(move |request| match request.start() {
        "GET /busy" => Response::ok("busy").after(&its),
        start => Response::ok(start),
    })
}

fn is_busy(request: &Request) -> bool {
    request.start() == "GET /busy"
}

/// A client whose request has the only slot of the backend until the gate opens.
fn busy(proxy: &Proxy, backend: &Backend) -> Client {
    let mut client = proxy.client();
    client.send(get("/busy"));
    backend.wait_for_request(is_busy);
    client
}

/// Waits until this number of requests wait.
fn wait_for_depth(proxy: &Proxy, depth: usize) {
    wait_for_metric(proxy, "evenkeel_queue_depth{pool=\"default\"}", depth);
}

/// Sends requests that have to wait, one after the other.
fn join(proxy: &Proxy, paths: &[&str]) -> Vec<Client> {
    let mut clients = Vec::new();
    for (depth, path) in (1..).zip(paths) {
        let mut client = proxy.client();
        client.send(get(path));
        wait_for_depth(proxy, depth);
        clients.push(client);
    }
    clients
}

#[test]
fn the_status_has_the_depth_the_waits_and_the_adaptive_limit() {
    let gate = Gate::default();
    let backend = gated(&gate);
    let proxy = Proxy::before(&[&backend])
        .config("limits: { in_flight_per_backend: 1, adaptive: observe }\nhealth_check: off")
        .start();
    let pool = || -> Value {
        let status: Value = serde_json::from_str(&proxy.get_admin("/api/v1/status").text()).unwrap();
        status["pools"][0].clone()
    };
    let idle = pool();
    assert_eq!(
        idle["queue"],
        serde_json::json!({ "depth": 0, "waited_ms": null })
    );
    assert_eq!(idle["backends"][0]["adaptive_limit"], Value::Null);
    let mut first = busy(&proxy, &backend);
    let mut waiting = join(&proxy, &["/a"]);
    assert_eq!(pool()["queue"]["depth"], 1);
    gate.open();
    first.read();
    waiting[0].read();
    let after = pool();
    assert_eq!(after["queue"]["depth"], 0);
    assert!(after["queue"]["waited_ms"].as_f64().unwrap() > 0.0, "{after}");
    assert!(
        after["backends"][0]["adaptive_limit"].as_u64().unwrap() > 0,
        "{after}"
    );
}

#[test]
fn those_who_wait_go_on_in_the_order_of_their_arrival() {
    let gate = Gate::default();
    let backend = gated(&gate);
    // Their clients may be served by different workers.
    let proxy = Proxy::before(&[&backend])
        .config(ONE)
        .config("workers: 2")
        .start();
    let mut first = busy(&proxy, &backend);
    let paths = ["/a", "/b", "/c", "/d", "/e", "/f"];
    let mut clients = join(&proxy, &paths);
    gate.open();
    assert_eq!(first.read().text(), "busy");
    for (client, path) in clients.iter_mut().zip(paths) {
        assert_eq!(client.read().text(), format!("GET {path}"));
    }
    let order = backend.requests(|request| !is_busy(request));
    let order: Vec<_> = order.iter().map(Request::start).map(str::to_owned).collect();
    assert_eq!(order, paths.map(|path| format!("GET {path}")));
    assert_eq!(metric(&proxy, "evenkeel_queue_wait_duration_seconds_count"), 6.0);
}

#[test]
fn who_comes_to_a_full_queue_gets_503_at_once() {
    let gate = Gate::default();
    let backend = gated(&gate);
    let config = format!("{ONE}queue: {{ size: 1, timeout: 60s }}");
    let proxy = Proxy::before(&[&backend]).config(&config).start();
    let mut first = busy(&proxy, &backend);
    let mut waiting = join(&proxy, &["/waits"]);
    let full = proxy.get("/full");
    assert_eq!((full.status(), full.field("retry-after")), (503, Some("1")));
    let line = proxy.access_line("/full");
    assert_eq!(line["error"], "queue_full");
    assert_eq!(line["detail"], "queue.size is 1, and as many requests wait");
    assert_eq!(
        metric(&proxy, "evenkeel_queue_dropped_total{reason=\"full\"}"),
        1.0
    );
    gate.open();
    assert_eq!(first.read().status(), 200);
    assert_eq!(waiting[0].read().status(), 200);
}

#[test]
fn a_wait_ends_with_503_after_the_timeout() {
    let gate = Gate::default();
    let backend = gated(&gate);
    let config = format!("{ONE}queue: {{ timeout: 300ms }}");
    let proxy = Proxy::before(&[&backend]).config(&config).start();
    let mut first = busy(&proxy, &backend);
    let start = clock::now();
    let late = proxy.get("/late");
    assert!(
        start.elapsed() >= Duration::from_millis(290),
        "{:?}",
        start.elapsed()
    );
    assert_eq!((late.status(), late.field("retry-after")), (503, Some("1")));
    let line = proxy.access_line("/late");
    assert_eq!(line["error"], "queue_timeout");
    assert_eq!(line["detail"], "ran out: queue.timeout is 300ms");
    assert_eq!(line["attempts"], 0);
    gate.open();
    assert_eq!(first.read().status(), 200);
    assert!(
        backend
            .requests(|request| request.start() == "GET /late")
            .is_empty()
    );
}

#[test]
fn a_client_that_leaves_gives_up_its_place() {
    let gate = Gate::default();
    let backend = gated(&gate);
    let proxy = Proxy::before(&[&backend]).config(ONE).start();
    let mut first = busy(&proxy, &backend);
    let mut clients = join(&proxy, &["/left", "/stays"]);
    drop(clients.remove(0));
    let line = proxy.access_line("/left");
    assert_eq!(
        (&line["status"], &line["error"]),
        (&Value::from(499), &Value::from("client_gone"))
    );
    wait_for_depth(&proxy, 1);
    gate.open();
    assert_eq!(first.read().status(), 200);
    assert_eq!(clients[0].read().text(), "GET /stays");
    assert!(
        backend
            .requests(|request| request.start() == "GET /left")
            .is_empty()
    );
    assert_eq!(
        metric(&proxy, "evenkeel_queue_dropped_total{reason=\"client_left\"}"),
        1.0
    );
}

/// Its body was not read yet, because no backend takes it.
#[test]
fn a_client_that_leaves_behind_its_body_is_noticed() {
    let gate = Gate::default();
    let backend = gated(&gate);
    let proxy = Proxy::before(&[&backend]).config(ONE).start();
    let mut first = busy(&proxy, &backend);
    let mut client = proxy.client();
    client.send("POST /left HTTP/1.1\r\nHost: test\r\nContent-Length: 30000\r\n\r\n");
    wait_for_depth(&proxy, 1);
    client.send([b'a'; 1000]);
    drop(client);
    assert_eq!(proxy.access_line("/left")["status"], 499);
    wait_for_depth(&proxy, 0);
    gate.open();
    assert_eq!(first.read().status(), 200);
}

#[test]
fn streams_of_http2_wait_and_leave_too() {
    let gate = Gate::default();
    let backend = gated(&gate);
    let proxy = Proxy::before(&[&backend]).config(ONE).start();
    let mut first = busy(&proxy, &backend);
    let client = Http2::connect(proxy.address());
    let (left, _) = client.send("GET", "/left", true);
    client.run_beside(|| wait_for_depth(&proxy, 1));
    let (stays, _) = client.send("GET", "/stays", true);
    client.run_beside(|| wait_for_depth(&proxy, 2));
    drop(left);
    client.run_beside(|| proxy.access_line("/left"));
    assert_eq!(proxy.access_line("/left")["status"], 499);
    gate.open();
    assert_eq!(first.read().status(), 200);
    assert_eq!(client.read(stays).unwrap().text(), "GET /stays");
}

/// Nobody can make two workers take the last slot together.
#[test]
fn workers_together_keep_the_limit_exactly() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let its = (Arc::clone(&running), Arc::clone(&most));
    let backend = Backend::start(move |_| {
        let now = its.0.fetch_add(1, Ordering::SeqCst) + 1;
        its.1.fetch_max(now, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(1));
        its.0.fetch_sub(1, Ordering::SeqCst);
        Response::ok("")
    });
    let proxy = Proxy::before(&[&backend])
        .config("limits: { in_flight_per_backend: 3 }\nhealth_check: off\nworkers: 2")
        .start();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = proxy.client();
                for _ in 0..25 {
                    // On a slow machine it is an overload.
                    assert!([200, 503].contains(&client.get("/x").status()));
                }
            });
        }
    });
    assert_eq!(most.load(Ordering::SeqCst), 3);
    assert!(
        metric(&proxy, "evenkeel_queue_wait_duration_seconds_count") > 0.0,
        "some waited"
    );
}

/// Reloads the config.
fn reload(proxy: &Proxy, config: &str) {
    proxy.write_config(config);
    let mark = proxy.mark();
    proxy.signal(Signal::HUP);
    proxy.wait_for_message(mark, "reloaded");
}

#[test]
fn a_backend_that_a_reload_brings_serves_those_who_wait() {
    let gate = Gate::default();
    let (full, other) = (gated(&gate), Backend::saying("other"));
    let proxy = Proxy::before(&[&full]).config(ONE).start();
    let mut first = busy(&proxy, &full);
    let mut clients = join(&proxy, &["/a", "/b"]);
    reload(&proxy, &Proxy::before(&[&other]).config(ONE).text());
    for client in &mut clients {
        assert_eq!(client.read().text(), "other");
    }
    gate.open();
    assert_eq!(first.read().text(), "busy", "it ends where it began");
}

#[test]
fn a_reload_that_removes_the_pool_ends_the_waits() {
    let gate = Gate::default();
    let (full, other) = (gated(&gate), Backend::saying("other"));
    let proxy = Proxy::before(&[&full]).config(ONE).start();
    let mut first = busy(&proxy, &full);
    let mut clients = join(&proxy, &["/a"]);
    let config = format!(
        "{ONE}pools: {{ another: {{ backends: [{}] }} }}\nroutes: [{{ pool: another }}]",
        other.url()
    );
    reload(&proxy, &Proxy::before(&[]).config(&config).text());
    assert_eq!(clients[0].read().status(), 503);
    assert_eq!(proxy.access_line("/a")["error"], "backends_full");
    gate.open();
    assert_eq!(first.read().status(), 200);
}

#[test]
fn a_wait_that_lasts_over_a_reload_keeps_the_settings_of_its_route() {
    let (gate, never) = (Gate::default(), Gate::default());
    let (busy_until, silent_until) = (gate.clone(), never.clone());
    let backend = Backend::start(move |request| match request.start() {
        "GET /busy" => Response::ok("busy").after(&busy_until),
        _ => Response::ok("late").after(&silent_until),
    });
    let routes = "{ path: /busy, pool: default }, { pool: default, timeouts: { first_byte: 200ms } }";
    let config = format!("{ONE}queue: {{ timeout: 60s }}\nroutes: [{routes}]\n");
    let config = || Proxy::before(&[&backend]).config(&config);
    let proxy = config().start();
    let mut first = busy(&proxy, &backend);
    let mut clients = join(&proxy, &["/slow"]);
    reload(&proxy, &config().text());
    gate.open();
    assert_eq!(first.read().text(), "busy");
    assert_eq!(clients[0].read().status(), 504);
    never.open();
}

#[test]
fn a_pool_that_never_had_a_backend_responds_at_once() {
    let (address, _socket) = refusing_address();
    for config in [
        "health_check: off",
        "health_check: { interval: 100ms, unhealthy_after: 1 }",
    ] {
        let config = format!("{config}\nqueue: {{ timeout: 60s }}");
        let proxy = Proxy::before(&[])
            .backend(&format!("http://{address}"))
            .config(&config)
            .start();
        let start = clock::now();
        for number in 0..20 {
            assert_eq!(proxy.get(&format!("/{number}")).status(), 503);
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        assert_eq!(metric(&proxy, "evenkeel_queue_depth{pool=\"default\"}"), 0.0);
    }
}

#[test]
fn without_a_queue_nobody_waits_for_a_lone_backend() {
    let backend = Backend::saying("a");
    let address = backend.address();
    let proxy = Proxy::before(&[&backend])
        .config("queue: off\nhealth_check: off")
        .start();
    assert_eq!(proxy.get("/x").status(), 200);
    backend.stop();
    assert_eq!(proxy.get("/down").status(), 503);
    let line = proxy.access_line("/down");
    assert_eq!(line["error"], "connect_failed");
    let _back = Backend::start_on(address, Response::nothing(), |_| Response::ok("b"));
    assert_eq!(proxy.get("/x").text(), "b");
}
