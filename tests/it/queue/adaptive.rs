//! A backend that is asked for twice what it can serve: the adaptive limit keeps its latency, and the queue drops the rest early.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use evenkeel::internals::clock;
use rustix::process::Signal;

use crate::support::metrics::metric;
use crate::support::{Backend, Proxy, Response};

/// What the backend serves at the same time, and how long one takes: 200 requests a second.
const SLOTS: usize = 4;
const SERVICE: Duration = Duration::from_millis(20);

/// Clients that each have one request at a time. Many more than wait at any time.
const CLIENTS: usize = 40;

/// Requests at the backend at the same time that no limit would allow which has learnt anything: it begins at 16.
const MANY: usize = 24;

/// A backend that takes every request at once, and serves some of them at a time.
struct Slow {
    backend: Backend,
    /// The requests that it has now.
    has: Arc<AtomicUsize>,
    /// The most that it had at the same time since that was asked for last.
    most: Arc<AtomicUsize>,
}

impl Slow {
    fn start() -> Self {
        let [has, most] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let (its, its_most) = (Arc::clone(&has), Arc::clone(&most));
        let slots = Arc::new((Mutex::new(SLOTS), Condvar::new()));
        let backend = Backend::start(move |_| {
            its_most.fetch_max(1 + its.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
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
            its.fetch_sub(1, Ordering::SeqCst);
            Response::ok("")
        });
        Self { backend, has, most }
    }

    /// The most requests that it had at the same time since this was asked for last.
    fn take_most(&self) -> usize {
        self.most.swap(self.has.load(Ordering::SeqCst), Ordering::SeqCst)
    }
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

/// Runs a balancer with the adaptive limit at twice the capacity of its backend. Returns whether most of what the backend can serve
/// was served, and fast.
fn is_fast_in_overload() -> bool {
    let slow = Slow::start();
    let proxy = Proxy::before(&[&slow.backend])
        .config("limits: { adaptive: on }\nhealth_check: off")
        .start();
    let (_, base) = successes(&load(&proxy, 50, 2));
    // The limit is found within the first second.
    load(&proxy, 400, 1);
    slow.take_most();
    let results = load(&proxy, 400, 5);
    let most = slow.take_most();
    let (served, p99) = successes(&results);
    let limit = metric(&proxy, "evenkeel_backend_adaptive_limit");
    eprintln!(
        "{served} of {} served, p99 {p99:?}, {base:?} without load, limit {limit}, at most {most} at the same time",
        results.len()
    );
    // Whatever else the machine does:
    let is_expected = |(status, _): &(u16, Duration)| matches!(status, 200 | 503);
    assert!(results.iter().all(is_expected), "{results:?}");
    assert!(served < results.len(), "none was refused");
    assert!((1..=MANY).contains(&most), "{most} at the same time");
    // Of 800 that it can serve in four seconds. Without a limit they wait for seconds.
    served >= 500 && p99 < SERVICE * 10
}

#[test]
fn at_twice_the_capacity_the_latency_stays_low_and_the_rest_gets_503() {
    // Other tests may use the machine meanwhile.
    assert!((0..4).any(|_| is_fast_in_overload()));
}

#[test]
fn a_limit_that_is_only_observed_is_reported_and_not_enforced() {
    let slow = Slow::start();
    let proxy = Proxy::before(&[&slow.backend])
        .config("limits: { adaptive: observe }\nhealth_check: off")
        .start();
    load(&proxy, 50, 2);
    let results = load(&proxy, 400, 3);
    assert!(results.iter().all(|(status, _)| *status == 200));
    let (limit, most) = (
        metric(&proxy, "evenkeel_backend_adaptive_limit"),
        slow.take_most(),
    );
    // It had all that the clients sent, and the limit that was found for it is far below that.
    assert!(most > MANY, "{most}");
    assert!((1.0..=MANY as f64).contains(&limit), "{limit}");
    assert_eq!(metric(&proxy, "evenkeel_queue_wait_duration_seconds_count"), 0.0);
}

#[test]
fn a_limit_that_is_turned_off_by_a_reload_is_lifted_at_once() {
    let slow = Slow::start();
    let config = |mode: &str| {
        let limits = format!("limits: {{ adaptive: {mode}, in_flight_per_backend: 1000 }}");
        Proxy::before(&[&slow.backend]).config(&format!("{limits}\nhealth_check: off"))
    };
    let proxy = config("on").start();
    load(&proxy, 50, 2);
    load(&proxy, 400, 2);
    let limit = metric(&proxy, "evenkeel_backend_adaptive_limit");
    assert!((1.0..=MANY as f64).contains(&limit), "{limit}");
    let mark = proxy.mark();
    proxy.write_config(&config("off").text());
    proxy.signal(Signal::HUP);
    proxy.wait_for_message(mark, "reloaded");
    slow.take_most();
    let results = load(&proxy, 400, 2);
    assert!(results.iter().all(|(status, _)| *status == 200));
    let most = slow.take_most();
    assert!(most > MANY, "{most}");
    assert_eq!(metric(&proxy, "evenkeel_backend_adaptive_limit"), 0.0);
}
