//! Limits on what is retried, and how often.

use std::collections::HashSet;
use std::sync::Mutex;
use std::thread;

use evenkeel::internals::clock;

use super::Request;
use crate::support::{Backend, Proxy, Response};

fn is_meant(request: &Request) -> bool {
    request.start().ends_with(" /x")
}

/// A backend that refuses the test's requests and is healthy when probed.
fn refusing() -> Backend {
    Backend::start(|request| match is_meant(request) {
        true => Response::status(503, "busy"),
        false => Response::ok(""),
    })
}

/// Statuses and bodies of two requests with bodies of `size` bytes, in front of a backend that refuses and one that
/// does not.
fn outcomes(size: usize) -> Vec<(u16, String)> {
    let (bad, good) = (refusing(), Backend::saying("good"));
    let proxy = Proxy::before(&[&bad, &good])
        .config("retry: { replay_limit: 1KiB }")
        .start();
    let body = "b".repeat(size);
    let request = format!("POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: {size}\r\n\r\n{body}");
    let ask = || {
        let received = proxy.client().send(&request).read();
        (received.status(), received.text())
    };
    let mut outcomes = vec![ask(), ask()];
    assert_eq!(bad.requests(is_meant).len(), 1, "round robin asks each in turn");
    for request in good.requests(is_meant) {
        assert_eq!(request.body, body.as_bytes());
    }
    outcomes.sort();
    outcomes
}

#[test]
fn a_body_within_the_replay_limit_is_retried() {
    assert_eq!(
        outcomes(1024),
        [(200, "good".to_owned()), (200, "good".to_owned())]
    );
}

#[test]
fn a_body_above_the_replay_limit_is_not_retried() {
    assert_eq!(
        outcomes(1025),
        [(200, "good".to_owned()), (503, "busy".to_owned())]
    );
}

#[test]
fn a_pool_that_refuses_everything_gets_few_retries() {
    const REQUESTS: usize = 300;
    let backends = [refusing(), refusing(), refusing()];
    let proxy = Proxy::before(&[&backends[0], &backends[1], &backends[2]])
        .config("health_check: { kind: none }")
        .start();
    let started = clock::now();
    let mut client = proxy.client();
    for _ in 0..REQUESTS {
        assert_eq!(client.get("/x").status(), 503);
    }
    let seconds = started.elapsed().as_secs() as usize + 1;
    let attempts: usize = backends.iter().map(|it| it.requests(is_meant).len()).sum();
    let bound = REQUESTS + REQUESTS / 5 + 100 + 10 * seconds;
    assert!(bound < 3 * REQUESTS, "took {seconds} s: the bound says nothing");
    assert!(
        attempts <= bound,
        "{attempts} attempts, at most {bound} are allowed"
    );
    assert!(
        attempts > REQUESTS + 99,
        "{attempts} attempts: the full budget is used"
    );
}

/// A lone backend cuts each request once. What is sent again takes a token, and gives it back with its response.
#[test]
fn requests_that_succeed_after_a_wait_give_back_their_tokens() {
    const REQUESTS: usize = 40;
    let seen = Mutex::new(HashSet::new());
    let backend =
        Backend::start(
            move |request| match seen.lock().unwrap().insert(request.start().to_owned()) {
                true => Response::nothing().reset(),
                false => Response::ok("again"),
            },
        );
    let proxy = Proxy::before(&[&backend])
        .config("health_check: { kind: none }")
        .start();
    thread::scope(|scope| {
        for number in 0..REQUESTS {
            let proxy = &proxy;
            scope.spawn(move || assert_eq!(proxy.get(&format!("/{number}")).text(), "again"));
        }
    });
    let status: serde_json::Value =
        serde_json::from_str(&proxy.get_admin("/api/v1/status").text()).expect("JSON");
    // Less than a second has earned no more than 10 of the tokens, and the requests 8.
    assert_eq!(status["pools"][0]["retry_tokens"], 100);
}
