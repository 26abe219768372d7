//! Hedging: a second attempt while the first one waits. The first good response wins; the other attempt is canceled.

use evenkeel::internals::clock;
use h2::Reason;

use crate::operators::admin;
use crate::support::http2_backend::{Http2Backend, Seen};
use crate::support::metrics::{metric, wait_for_metric};
use crate::support::reload::reloaded;
use crate::support::{Backend, Bare, DEADLINE, Gate, Proxy, Request, Response, refusing_address};

const GET: &str = "GET /x HTTP/1.1\r\nHost: test\r\n\r\n";
const HEDGED: &str = "workers: 1\nhealth_check: { kind: none }\nretry: { hedge: { after: 50ms } }";

fn any(_: &Request) -> bool {
    true
}

/// A backend that sends this response once the gate is open.
fn waiting(gate: &Gate, response: &Response) -> Backend {
    let response = response.clone().after(gate);
    Backend::start(move |_| response.clone())
}

/// A balancer in front of these two backends, asked so often that each of them was the first once; returns the responses.
fn ask_twice(one: &Backend, other: &Backend, config: &str) -> (Proxy, Vec<(u16, String)>) {
    let proxy = Proxy::before(&[one, other]).config(config).start();
    let responses = (0..2).map(|_| {
        let got = proxy.client().send(GET).read();
        (got.status(), got.text())
    });
    let responses = responses.collect();
    (proxy, responses)
}

#[test]
fn another_backend_responds_in_place_of_one_that_takes_long() {
    let gate = Gate::default();
    let slow = waiting(&gate, &Response::ok("slow"));
    let good = Backend::saying("good");
    let (proxy, responses) = ask_twice(&slow, &good, HEDGED);
    assert_eq!(responses, vec![(200, "good".to_owned()); 2]);
    let lines = proxy.access_lines(2);
    let hedged = lines.iter().find(|line| line["attempts"] == 2).expect("one was");
    assert_eq!(hedged["backend"], good.url());
    assert_eq!(hedged["retries"].as_array().map(Vec::len), Some(1));
    assert_eq!(hedged["retries"][0]["backend"], slow.url());
    assert_eq!(hedged["retries"][0]["reason"], "hedge");
    gate.open();
}

#[test]
fn the_first_attempt_may_win_after_all() {
    let (first, second) = (Gate::default(), Gate::default());
    let one = waiting(&first, &Response::ok("one"));
    let other = waiting(&second, &Response::ok("other"));
    let proxy = Proxy::before(&[&one, &other]).config(HEDGED).start();
    let mut client = proxy.client();
    client.send(GET);
    one.wait_for_requests(1);
    other.wait_for_requests(1);
    first.open();
    assert_eq!(client.read().text(), "one");
    let line = proxy.access_line("/x");
    assert_eq!(line["backend"], one.url());
    assert_eq!(line["retries"][0]["backend"], other.url());
    assert_eq!(line["retries"][0]["reason"], "hedge");
    second.open();
    // The connection of the other one was closed, not kept.
    assert_eq!(client.send(GET).read().status(), 200);
    assert_eq!(other.connections(), 2);
}

#[test]
fn an_error_response_does_not_win_while_the_other_attempt_runs() {
    for status in [500, 503] {
        let gate = Gate::default();
        let slow = waiting(&gate, &Response::ok("slow"));
        let bad = Backend::start(move |_| Response::status(status, "bad"));
        let proxy = Proxy::before(&[&slow, &bad]).config(HEDGED).start();
        let mut client = proxy.client();
        client.send(GET);
        bad.wait_for_requests(1);
        gate.open();
        assert_eq!(client.read().text(), "slow", "{status}");
    }
}

#[test]
fn an_attempt_that_fails_leaves_the_response_to_the_other_one() {
    let (fails, responds) = (Gate::default(), Gate::default());
    let failing = waiting(&fails, &Response::nothing().reset());
    let good = waiting(&responds, &Response::ok("good"));
    let proxy = Proxy::before(&[&failing, &good]).config(HEDGED).start();
    let mut client = proxy.client();
    client.send(GET);
    failing.wait_for_requests(1);
    good.wait_for_requests(1);
    fails.open();
    responds.open();
    assert_eq!(client.read().text(), "good");
    assert_eq!(good.requests(any).len(), 1, "the attempt that ran was enough");
}

#[test]
fn when_both_attempts_fail_the_request_is_retried_or_fails_as_usual() {
    let gate = Gate::default();
    let (address, _socket) = refusing_address();
    let bad = waiting(&gate, &Response::status(503, "bad"));
    let proxy = Proxy::before(&[&bad])
        .backend(&format!("http://{address}"))
        .config(HEDGED)
        .start();
    let mut client = proxy.client();
    client.send(GET);
    bad.wait_for_requests(1);
    gate.open();
    let got = client.read();
    assert_eq!((got.status(), got.text().as_str()), (503, "bad"));
}

#[test]
fn requests_that_must_not_be_sent_twice_or_have_a_body_are_not_hedged() {
    for request in [
        "POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n",
        "PUT /x HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\na",
    ] {
        let gate = Gate::default();
        let slow = waiting(&gate, &Response::ok("slow"));
        let other = Backend::saying("other");
        let proxy = Proxy::before(&[&slow, &other]).config(HEDGED).start();
        let mut client = proxy.client();
        client.send(request);
        slow.wait_for_requests(1);
        // Much longer than a hedge would wait.
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert_eq!(other.requests(any).len(), 0, "{request}");
        gate.open();
        assert_eq!(client.read().text(), "slow");
    }
}

#[test]
fn hedges_are_limited_by_the_retry_budget() {
    let gate = Gate::default();
    let (slow, good) = (waiting(&gate, &Response::ok("slow")), Backend::saying("good"));
    let proxy = Proxy::before(&[&slow, &good])
        .config("workers: 1\nhealth_check: { kind: none }\nretry: { hedge: { after: 1ms } }")
        .config("timeouts: { first_byte: 100ms }\nstrategy: random")
        .start();
    let mut clients: Vec<_> = (0..400).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send(GET);
    }
    for client in &mut clients {
        client.read();
    }
    let hedges = metric(&proxy, "evenkeel_hedges_total");
    assert!(hedges > 20.0, "{hedges}");
    // 100 at start, 80 for 400 requests, 10 a second.
    assert!(hedges < 250.0, "{hedges}");
    gate.open();
}

#[test]
fn a_backend_that_serves_one_connection_at_a_time_gets_to_the_connection_of_a_hedge() {
    let gate = Gate::default();
    let slow = waiting(&gate, &Response::ok("slow"));
    let single = Bare::start();
    let proxy = Proxy::before(&[])
        .backend(&single.url())
        .backend(&slow.url())
        .config(HEDGED)
        .start();
    let (mut first, mut hedged) = (proxy.client(), proxy.client());
    first.send("POST /first HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
    let mut held = single.accept();
    held.head();
    hedged.send(GET);
    wait_for_metric(&proxy, "evenkeel_hedges_total", 1);
    held.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(first.read().status(), 200);
    // It is kept for the next request, and the backend would wait for that.
    held.wait_for_end();
    let mut other = single.accept();
    other.head();
    other.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhedge");
    assert_eq!(hedged.read().text(), "hedge");
    gate.open();
}

#[test]
fn a_hedge_waits_for_its_response_no_longer_than_the_first_attempt() {
    let slow = Bare::start();
    let hedge = Bare::start();
    let proxy = Proxy::before(&[])
        .backend(&slow.url())
        .backend(&hedge.url())
        .config(HEDGED)
        .config("timeouts: { connect: 60s, first_byte: 1s }")
        .start();
    let mut client = proxy.client();
    client.send(GET);
    let mut held = slow.accept();
    held.head();
    let mut other = hedge.accept();
    other.head();
    let began = clock::now();
    // Both fail by `first_byte`, and no third backend is left.
    assert_eq!(client.read().status(), 504);
    assert!(began.elapsed() < DEADLINE / 2, "{:?}", began.elapsed());
    other.wait_for_end();
}

#[test]
fn a_quantile_is_learnt_from_the_responses_of_the_backend() {
    let gate = Gate::default();
    let backends = [(); 2].map(|()| {
        let gate = gate.clone();
        Backend::start(move |request| match request.start() {
            "GET /slow" if request.turn > 0 => Response::ok("slow").after(&gate),
            _ => Response::ok("fast"),
        })
    });
    let proxy = Proxy::before(&[&backends[0], &backends[1]])
        .config("workers: 1\nhealth_check: { kind: none }\nretry: { hedge: { after: p99 } }")
        .start();
    let mut client = proxy.client();
    for _ in 0..200 {
        assert_eq!(client.get("/x").text(), "fast");
    }
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    for backend in &backends {
        backend.wait_for_requests_where(1, |request| request.start() == "GET /slow");
    }
    gate.open();
    assert_eq!(client.read().status(), 200);
}

#[test]
fn a_stream_that_lost_is_reset_with_cancel() {
    let slow = Http2Backend::start();
    let good = Backend::saying("good");
    let proxy = Proxy::before(&[])
        .backend(&slow.url())
        .backend(&good.url())
        .config(HEDGED)
        .start();
    for _ in 0..2 {
        assert_eq!(proxy.client().get("/hold").text(), "good");
    }
    slow.wait_for("the reset", |all| {
        all.contains(&Seen::Reset(Some(Reason::CANCEL))).then_some(())
    });
}

#[test]
fn a_hedge_goes_to_a_backend_that_is_eligible_when_it_begins() {
    const AFTER: std::time::Duration = std::time::Duration::from_secs(1);
    let gate = Gate::default();
    // On a machine that is busy, the hedge may begin before the backends have changed.
    let is_in_time = (0..10).any(|_| {
        let slow = waiting(&gate, &Response::ok("slow"));
        let [before, after] = ["before", "after"].map(Backend::saying);
        let backends = format!(
            "backends: ['{}', {{ url: '{}', name: before, backup: true }}, {{ url: '{}', name: after, backup: true, drain: true }}]",
            slow.url(),
            before.url(),
            after.url()
        );
        let proxy = Proxy::before(&[])
            .config(&backends)
            .config("workers: 1\nhealth_check: { kind: none }\nretry: { hedge: { after: 1s } }")
            .start();
        let mut client = proxy.client();
        let sent = clock::now();
        client.send(GET);
        slow.wait_for_requests(1);
        for action in ["before/drain", "after/ready"] {
            let (status, _) = admin(&proxy, &format!("POST /api/v1/pools/default/backends/{action}"), "");
            assert_eq!(status, 200, "{action}");
        }
        let is_in_time = sent.elapsed() < AFTER;
        if is_in_time {
            assert_eq!(client.read().text(), "after");
            assert_eq!(before.requests(any).len(), 0);
        }
        is_in_time
    });
    assert!(is_in_time);
    gate.open();
}

/// The cookie names the backend by the settings that the hedge began with.
#[test]
fn the_response_of_a_hedge_goes_on_with_the_settings_that_it_began_with() {
    const AFTER: std::time::Duration = std::time::Duration::from_secs(1);
    let gate = Gate::default();
    // On a machine that is busy, the hedge may begin before the reload.
    let is_in_time = (0..10).any(|_| {
        let slow = waiting(&gate, &Response::ok("slow"));
        let other = Backend::saying("other");
        let config = |more: &str| {
            let (slow, other) = (slow.url(), other.url());
            Proxy::before(&[]).config(&format!(
                "workers: 1\nhealth_check: {{ kind: none }}\nretry: {{ hedge: {{ after: 1s }} }}\n\
                 pools: {{ web: {{ {more} backends: ['{slow}', {{ url: '{other}', backup: true }}] }} }}\n\
                 routes: [{{ pool: web }}]"
            ))
        };
        let proxy = config("").start();
        let mut client = proxy.client();
        let sent = clock::now();
        client.send(GET);
        slow.wait_for_requests(1);
        let sticky = "sticky: { cookie: lb, secret: correct-horse-battery },";
        reloaded(&proxy, &config(sticky));
        let is_in_time = sent.elapsed() < AFTER;
        if is_in_time {
            let response = client.read();
            assert_eq!(response.text(), "other");
            let cookie = response.field("set-cookie");
            assert!(
                cookie.is_some_and(|cookie| cookie.starts_with("lb=")),
                "{cookie:?}"
            );
        }
        is_in_time
    });
    assert!(is_in_time);
    gate.open();
}
