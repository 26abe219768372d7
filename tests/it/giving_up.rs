//! Requests in flight at a backend that is marked down: they go to another backend where that is safe, and wait otherwise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::operators::admin;
use crate::support::{Backend, Client, Gate, Proxy, Request, Response};

const GET: &str = "GET /x HTTP/1.1\r\nHost: test\r\n\r\n";
const POST: &str = "POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n";
const CONFIG: &str = "workers: 1\nhealth_check: { path: /health, interval: 50ms, unhealthy_after: 1 }";

fn is_meant(request: &Request) -> bool {
    request.start().ends_with(" /x")
}

/// A backend that holds its requests until a gate opens, and that can become unhealthy.
struct Hanging {
    backend: Backend,
    gate: Gate,
    is_unhealthy: Arc<AtomicBool>,
}

impl Hanging {
    fn start() -> Self {
        let (gate, is_unhealthy) = (Gate::default(), Arc::new(AtomicBool::new(false)));
        let (its_gate, its_health) = (gate.clone(), Arc::clone(&is_unhealthy));
        let backend = Backend::start(move |request| match is_meant(request) {
            true => Response::ok("late").after(&its_gate),
            false if its_health.load(Ordering::SeqCst) => Response::status(500, ""),
            false => Response::ok(""),
        });
        Self {
            backend,
            gate,
            is_unhealthy,
        }
    }

    /// Lets its checks fail, and waits until it is marked down.
    fn go_down(&self, proxy: &Proxy) {
        let mark = proxy.mark();
        self.is_unhealthy.store(true, Ordering::SeqCst);
        proxy.wait_for_message(mark, "backend is down");
    }

    /// Sends requests until one of them waits here; returns its client.
    fn wait_with(&self, proxy: &Proxy, request: &str) -> Client {
        let answered = || proxy.count_so_far(|line| line["path"] == "/x");
        for _ in 0..2 {
            let before = answered();
            let mut client = proxy.client();
            client.send(request);
            if self.backend.requests(is_meant).is_empty() {
                // It went to the other one, or is on its way here.
                let is_here = || !self.backend.requests(is_meant).is_empty();
                while !is_here() && answered() == before {
                    std::thread::yield_now();
                }
            }
            if !self.backend.requests(is_meant).is_empty() {
                return client;
            }
        }
        panic!("round robin asks each in turn");
    }
}

#[test]
fn an_idempotent_request_goes_to_another_backend_when_its_own_is_marked_down() {
    let (hanging, good) = (Hanging::start(), Backend::saying("good"));
    let proxy = Proxy::before(&[&hanging.backend, &good]).config(CONFIG).start();
    let mut client = hanging.wait_with(&proxy, GET);
    hanging.go_down(&proxy);
    assert_eq!(client.read().text(), "good");
    let line = proxy.wait_for_line(|line| line["path"] == "/x" && line["attempts"] == 2);
    assert_eq!(line["retries"][0]["backend"], hanging.backend.url());
    assert_eq!(line["retries"][0]["reason"], "backend_down");
    hanging.gate.open();
}

#[test]
fn a_request_that_must_not_be_sent_twice_waits_on() {
    let (hanging, good) = (Hanging::start(), Backend::saying("good"));
    let proxy = Proxy::before(&[&hanging.backend, &good]).config(CONFIG).start();
    let mut client = hanging.wait_with(&proxy, POST);
    hanging.go_down(&proxy);
    let sent = good.requests(is_meant).len();
    // A request after the change has been served: the worker has seen it.
    assert_eq!(proxy.client().send(GET).read().text(), "good");
    hanging.gate.open();
    assert_eq!(client.read().text(), "late");
    assert_eq!(good.requests(is_meant).len(), sent + 1);
}

#[test]
fn a_request_at_the_only_backend_waits_on() {
    let hanging = Hanging::start();
    let proxy = Proxy::before(&[&hanging.backend]).config(CONFIG).start();
    let mut client = hanging.wait_with(&proxy, GET);
    hanging.go_down(&proxy);
    hanging.gate.open();
    assert_eq!(client.read().text(), "late");
}

#[test]
fn without_retries_a_request_waits_on() {
    let (hanging, good) = (Hanging::start(), Backend::saying("good"));
    let proxy = Proxy::before(&[&hanging.backend, &good])
        .config(CONFIG)
        .config("retry: off")
        .start();
    let mut client = hanging.wait_with(&proxy, GET);
    hanging.go_down(&proxy);
    assert_eq!(proxy.client().send(GET).read().text(), "good");
    hanging.gate.open();
    assert_eq!(client.read().text(), "late");
}

#[test]
fn a_request_goes_to_a_backend_that_came_back_after_it_was_sent() {
    let (hanging, good) = (Hanging::start(), Backend::saying("good"));
    let backends = format!(
        "backends: ['{}', {{ url: '{}', name: good, backup: true, drain: true }}]",
        hanging.backend.url(),
        good.url()
    );
    let proxy = Proxy::before(&[]).config(&backends).config(CONFIG).start();
    let mut client = hanging.wait_with(&proxy, GET);
    let (status, _) = admin(&proxy, "POST /api/v1/pools/default/backends/good/ready", "");
    assert_eq!(status, 200);
    hanging.go_down(&proxy);
    assert_eq!(client.read().text(), "good");
    hanging.gate.open();
}
