//! Slow start: the share of a backend that has come back grows.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Backend, Proxy, Request, Response};

const PATH: &str = "/work";

fn is_work(request: &Request) -> bool {
    request.start() == "GET /work"
}

fn effective_weights(proxy: &Proxy) -> Vec<f64> {
    let status: Value = serde_json::from_str(&proxy.get_admin("/api/v1/status").text()).unwrap();
    let backends = status["pools"][0]["backends"].as_array().unwrap();
    let weight = |backend: &Value| backend["effective_weight"].as_f64().unwrap();
    backends.iter().map(weight).collect()
}

/// Sends requests for `parts` spans of this length; returns the share of them that the first backend received in each.
fn shares(proxy: &Proxy, backends: [&Backend; 2], span: Duration, parts: usize) -> Vec<f64> {
    let is_done = AtomicBool::new(false);
    let count = || backends.map(|backend| backend.requests(is_work).len());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = proxy.client();
                while !is_done.load(Ordering::SeqCst) {
                    assert_eq!(client.get(PATH).status(), 200);
                    thread::sleep(Duration::from_millis(2));
                }
            });
        }
        let mut shares = Vec::new();
        let mut before = count();
        for _ in 0..parts {
            // The span is what the test is about.
            thread::sleep(span);
            let now = count();
            let [first, second] = [now[0] - before[0], now[1] - before[1]].map(|count| count as f64);
            shares.push(first / (first + second));
            before = now;
        }
        is_done.store(true, Ordering::SeqCst);
        shares
    })
}

#[test]
fn a_backend_that_comes_back_begins_with_a_small_part_of_its_share_and_reaches_the_whole() {
    for strategy in ["round_robin", "random"] {
        let first = Backend::saying("fine");
        let other = Backend::saying("fine");
        let address = first.address();
        let proxy = Proxy::before(&[&first, &other])
            .config(&format!("strategy: {strategy}\nslow_start: 4s"))
            .config("health_check: { interval: 50ms, down_interval: 50ms, healthy_after: 1 }")
            .start();
        proxy.wait_for_count(2, |line| line["msg"] == "Backend is up");
        assert_eq!(
            effective_weights(&proxy),
            [1.0, 1.0],
            "backends that start together have all at once"
        );
        first.stop();
        let mark = proxy.mark();
        proxy.wait_for_message(mark, "Backend is down");
        let first = Backend::start_on(address, Response::nothing(), |_| Response::ok("fine"));
        proxy.wait_for_message(mark, "Backend is up");
        let at_begin = effective_weights(&proxy);
        assert!((0.1..0.6).contains(&at_begin[0]), "{at_begin:?}");
        let shares = shares(&proxy, [&first, &other], Duration::from_secs(1), 6);
        // Even shares are a half: never more than one and a half of that, and less at the begin.
        assert!(
            shares.iter().all(|share| *share <= 0.75),
            "{strategy}: {shares:?}"
        );
        assert!(shares[0] < 0.4 && shares[0] < shares[5], "{strategy}: {shares:?}");
        assert!((0.4..0.6).contains(&shares[5]), "{strategy}: {shares:?}");
        assert_eq!(effective_weights(&proxy), [1.0, 1.0]);
    }
}

#[test]
fn a_backend_that_is_added_to_a_running_pool_starts_slowly() {
    let backends = ["one", "two", "three"].map(Backend::saying);
    let [one, two, three] = &backends;
    let config = |backends: &[&Backend]| {
        Proxy::before(backends)
            .config("slow_start: 1h\nhealth_check: off")
            .text()
    };
    let proxy = Proxy::before(&[one, two])
        .config("slow_start: 1h\nhealth_check: off")
        .start();
    let mark = proxy.mark();
    proxy.write_config(&config(&[one, two, three]));
    proxy.signal(rustix::process::Signal::HUP);
    proxy.wait_for_message(mark, "reloaded");
    assert_eq!(effective_weights(&proxy), [1.0, 1.0, 0.1]);
    let mut client = proxy.client();
    // The weights are 20, 20 and 2.
    for _ in 0..42 {
        assert_eq!(client.get(PATH).status(), 200);
    }
    let received = backends.each_ref().map(|backend| backend.requests(is_work).len());
    assert_eq!(received, [20, 20, 2]);
}
