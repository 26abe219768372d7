//! A backend that is asked for twice what it can serve: the adaptive limit keeps its latency, and the queue drops the rest early.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use evenkeel::internals::clock;

use super::metric;
use crate::support::{Backend, Proxy, Response};

/// What the backend serves at the same time, and how long one takes: 200 requests a second.
const SLOTS: usize = 4;
const SERVICE: Duration = Duration::from_millis(20);

/// Clients that each have one request at a time. Many more than wait at any time.
const CLIENTS: usize = 40;

/// A backend that takes every request at once, and serves some of them at a time.
fn slow() -> Backend {
    let slots = Arc::new((Mutex::new(SLOTS), Condvar::new()));
    Backend::start(move |_| {
        let (free, is_free) = &*slots;
        let lock = || free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = is_free
            .wait_while(lock(), |free| *free == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        drop(free);
        thread::sleep(SERVICE);
        *lock() += 1;
        is_free.notify_one();
        Response::ok("")
    })
}

/// Status and latency of each request.
type Results = Vec<(u16, Duration)>;

/// Sends this many requests a second for this time, whether or not responses come. Returns those after the first second.
fn load(proxy: &Proxy, per_second: u32, seconds: u32) -> Results {
    let gap = Duration::from_secs(1) / per_second;
    let start = clock::now();
    let count = per_second * seconds;
    let ask = |client: usize| {
        let mut connection = proxy.client();
        let mut results = Results::new();
        for number in (client as u32..count).step_by(CLIENTS) {
            let due: Instant = start + gap * number;
            thread::sleep(due.saturating_duration_since(clock::now()));
            let response = connection.get("/x");
            if number >= per_second {
                results.push((response.status(), due.elapsed()));
            }
        }
        results
    };
    let ask = &ask;
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| scope.spawn(move || ask(client)))
            .collect();
        let results = clients.into_iter().map(|client| client.join().unwrap());
        results.flatten().collect()
    })
}

/// The number of successes and the 99th percentile of their latencies.
fn successes(results: &Results) -> (usize, Duration) {
    let served = results.iter().filter(|(status, _)| *status == 200);
    let mut latencies: Vec<Duration> = served.map(|(_, latency)| *latency).collect();
    latencies.sort_unstable();
    let p99 = latencies.get(latencies.len() * 99 / 100).copied();
    (latencies.len(), p99.unwrap_or_default())
}

/// Runs a balancer with these limits at twice the capacity of its backend. Returns whether most of what the backend can serve was
/// served, and fast.
fn is_fast_in_overload(limits: &str) -> bool {
    let backend = slow();
    let proxy = Proxy::before(&[&backend])
        .config(&format!("limits: {limits}\nhealth_check: off"))
        .start();
    let (_, base) = successes(&load(&proxy, 50, 2));
    let results = load(&proxy, 400, 5);
    let (served, p99) = successes(&results);
    let limit = metric(&proxy, "evenkeel_backend_adaptive_limit");
    eprintln!(
        "{served} of {} served, p99 {p99:?}, {base:?} without load, limit {limit}",
        results.len()
    );
    // Of 800 that it can serve in four seconds. Without a limit they wait for seconds.
    served >= 500 && served < results.len() && p99 < SERVICE * 10 && (1.0..=20.0).contains(&limit)
}

#[test]
fn at_twice_the_capacity_the_latency_stays_low_and_the_rest_gets_503() {
    // Other tests may use the machine meanwhile.
    assert!((0..4).any(|_| is_fast_in_overload("{ adaptive: on }")));
}

#[test]
fn a_limit_that_is_only_observed_is_reported_and_not_enforced() {
    let backend = slow();
    let proxy = Proxy::before(&[&backend])
        .config("limits: { adaptive: observe }\nhealth_check: off")
        .start();
    load(&proxy, 50, 2);
    let results = load(&proxy, 400, 2);
    assert!(results.iter().all(|(status, _)| *status == 200));
    let limit = metric(&proxy, "evenkeel_backend_adaptive_limit");
    assert!(limit >= 1.0, "{limit}");
    assert_eq!(metric(&proxy, "evenkeel_queue_wait_duration_seconds_count"), 0.0);
}
