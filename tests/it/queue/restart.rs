//! The only backend of a pool restarts: its requests wait for it, and none of them fails.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use evenkeel::internals::clock;

use crate::support::http2::Http2;
use crate::support::metrics::metric;
use crate::support::{Backend, DEADLINE, Proxy, Response};

/// Time between two requests: 200 a second.
const GAP: Duration = Duration::from_millis(5);

fn start(address: Option<SocketAddr>, text: &'static str) -> Backend {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    Backend::start_on(address.unwrap_or(anywhere), Response::nothing(), move |_| {
        Response::ok(text)
    })
}

fn request(method: &str, number: usize) -> String {
    let body = if method == "POST" { "abc" } else { "" };
    let length = body.len();
    format!("{method} /{number} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// Sends requests at a constant rate while the only backend is down for this time. All of them must succeed.
fn restart(config: &str, method: &str, down: Duration) -> Proxy {
    let backend = start(None, "before");
    let address = backend.address();
    let proxy = Proxy::before(&[&backend]).config(config).start();
    let count = (down + Duration::from_millis(600)).as_millis() / GAP.as_millis();
    // Held while the backend stops and no request is under way: what it cuts is not the subject.
    let pause = Mutex::new(());
    let served = Mutex::new(0);
    let lock = |mutex| Mutex::lock(mutex).unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        let proxy = &proxy;
        let (pause, served) = (&pause, &served);
        scope.spawn(move || {
            for number in 0..count as usize {
                drop(pause.lock());
                scope.spawn(move || {
                    let response = proxy.client().send(request(method, number)).read();
                    assert_eq!(response.status(), 200, "request {number}: {}", response.text());
                    *served.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                });
                thread::sleep(GAP);
            }
        });
        thread::sleep(Duration::from_millis(200));
        let paused = pause.lock();
        let start_of_pause = clock::now();
        // Those that were sent are through when the count does not change any more.
        loop {
            let before = *lock(served);
            thread::sleep(Duration::from_millis(100));
            if *lock(served) == before && before > 0 {
                break;
            }
            assert!(start_of_pause.elapsed() < DEADLINE);
        }
        backend.stop();
        drop(paused);
        thread::sleep(down);
        let back = start(Some(address), "after");
        back.wait_for_requests(1);
        // Until all are served.
        let start = clock::now();
        while *lock(served) < count as usize {
            assert!(start.elapsed() < DEADLINE, "all are served");
            thread::sleep(Duration::from_millis(5));
        }
    });
    assert!(
        metric(&proxy, "evenkeel_queue_wait_duration_seconds_count") > 0.0,
        "some had to wait"
    );
    proxy
}

#[test]
fn no_get_fails_while_a_lone_backend_restarts() {
    restart("", "GET", Duration::from_millis(300));
    restart("health_check: off", "GET", Duration::from_secs(1));
}

#[test]
fn no_post_fails_while_a_lone_backend_restarts() {
    restart("", "POST", Duration::from_millis(300));
    restart("health_check: off", "POST", Duration::from_secs(1));
}

/// The checks take it down meanwhile: who waits lets them look for it more often.
#[test]
fn no_request_fails_while_checks_say_that_the_lone_backend_is_down() {
    let checks = "health_check: { interval: 1s }";
    let proxy = restart(checks, "GET", Duration::from_secs(3));
    let is_down = |line: &serde_json::Value| line["msg"] == "Backend is down";
    assert_eq!(proxy.count_so_far(is_down), 1);
}

/// No request came before: the checks have found it up.
#[test]
fn the_first_request_of_all_waits_for_a_backend_that_checks_have_found_up() {
    let backend = start(None, "before");
    let address = backend.address();
    let proxy = Proxy::before(&[&backend])
        .config("health_check: { interval: 100ms, unhealthy_after: 1, healthy_after: 1 }")
        .start();
    // A second check: the result of the first is known.
    backend.wait_for_requests(2);
    backend.stop();
    proxy.wait_for_line(|line| line["msg"] == "Backend is down");
    let mut client = proxy.client();
    client.send(request("POST", 1));
    super::wait_for_depth(&proxy, 1);
    let _back = start(Some(address), "after");
    assert_eq!(client.read().text(), "after");
    assert_eq!(proxy.access_line("/1")["attempts"], 1);
}

/// Each waiting request does not knock for itself.
#[test]
fn a_backend_that_is_down_gets_few_attempts() {
    let proxy = restart("health_check: off", "GET", Duration::from_secs(1));
    let attempts = metric(&proxy, "evenkeel_backend_attempts_total");
    let requests = metric(&proxy, "evenkeel_requests_total{class=\"2xx\"}");
    assert!(
        attempts <= 1.2 * requests + 20.0,
        "{attempts} attempts for {requests} requests"
    );
}

/// Each of them is tried before the request waits, and again after that.
#[test]
fn a_request_waits_until_one_of_two_backends_is_back() {
    for back in [0, 1] {
        let backends = [start(None, "before"), start(None, "before")];
        let address = backends[back].address();
        let proxy = Proxy::before(&[&backends[0], &backends[1]])
            .config("health_check: off")
            .start();
        assert_eq!(proxy.get("/x").status(), 200);
        backends.into_iter().for_each(Backend::stop);
        let mut clients: Vec<_> = (0..3)
            .map(|number| {
                let mut client = proxy.client();
                client.send(request("POST", number));
                super::wait_for_depth(&proxy, number + 1);
                client
            })
            .collect();
        // Several times in vain.
        let attempts = || metric(&proxy, "evenkeel_retries_total{reason=\"connect_failure\"}");
        let begun = clock::now();
        while attempts() < 8.0 {
            assert!(begun.elapsed() < DEADLINE);
            thread::sleep(Duration::from_millis(5));
        }
        let _back = start(Some(address), "after");
        for client in &mut clients {
            assert_eq!(client.read().text(), "after");
        }
    }
}

#[test]
fn a_stream_of_http2_waits_for_a_lone_backend() {
    let backend = start(None, "before");
    let address = backend.address();
    let proxy = Proxy::before(&[&backend]).config("health_check: off").start();
    let client = Http2::connect(proxy.address());
    assert_eq!(client.get("/x").text(), "before");
    backend.stop();
    let (response, _) = client.send("GET", "/waits", true);
    client.run_beside(|| super::wait_for_depth(&proxy, 1));
    let _back = start(Some(address), "after");
    assert_eq!(client.read(response).unwrap().text(), "after");
    let line = proxy.access_line("/waits");
    assert!(line["attempts"].as_u64() >= Some(2), "{line}");
    assert_eq!(line["retries"][0]["reason"], "connect_failure", "{line}");
}

/// A body that was not read yet needs no buffer to wait.
#[test]
fn a_long_body_waits_too() {
    let backend = start(None, "before");
    let address = backend.address();
    let proxy = Proxy::before(&[&backend]).config("health_check: off").start();
    assert_eq!(proxy.get("/x").text(), "before");
    backend.stop();
    let body: Vec<u8> = (0..1 << 20).map(|at| b'a' + (at % 26) as u8).collect();
    let mut client = proxy.client();
    let length = body.len();
    client.send(format!(
        "POST /long HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"
    ));
    let (first, second) = body.split_at(100);
    client.send(first);
    super::wait_for_depth(&proxy, 1);
    client.send(second);
    let back = start(Some(address), "after");
    assert_eq!(client.read().text(), "after");
    assert_eq!(back.requests(|request| request.body == body).len(), 1);
}

/// The request was sent, may be sent again, and its backend was the only one.
#[test]
fn a_get_that_was_cut_is_sent_again_after_the_restart() {
    let gate = crate::support::Gate::default();
    let its = gate.clone();
    let backend = Backend::start(move |_| Response::ok("never").after(&its));
    let address = backend.address();
    let proxy = Proxy::before(&[&backend]).config("health_check: off").start();
    let mut client = proxy.client();
    client.send(request("GET", 1));
    backend.wait_for_requests(1);
    // Its port refuses before the connection ends.
    backend.stop();
    gate.open();
    super::wait_for_depth(&proxy, 1);
    let _back = start(Some(address), "after");
    assert_eq!(client.read().text(), "after");
}
