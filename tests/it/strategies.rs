//! Strategies in front of backends that are slow or busy, and strategies with affinity.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use evenkeel::internals::clock;

use crate::support::{Backend, DEADLINE, Gate, Log, Proxy, Response};

const NAMES: [&str; 3] = ["one", "two", "three"];

/// Backends that respond with their names, and hold the responses to `/held` until the gate is open. The log names those that do.
fn holding(gate: &Gate, holders: &Log<&'static str>) -> [Backend; 3] {
    NAMES.map(|name| {
        let (gate, holders) = (gate.clone(), holders.clone());
        Backend::start(move |request| match request.start() {
            "GET /held" => {
                holders.push(name);
                Response::ok(name).after(&gate)
            }
            _ => Response::ok(name),
        })
    })
}

fn started(backends: &[Backend; 3], strategy: &str) -> Proxy {
    Proxy::before(&backends.each_ref())
        .config(&format!("strategy: {strategy}"))
        .start()
}

/// The name of the backend that responds to a request with this header line.
fn ask(proxy: &Proxy, line: &str) -> String {
    let mut client = proxy.client();
    client.send(format!("GET /asked HTTP/1.1\r\nHost: test\r\n{line}\r\n"));
    client.read().text()
}

/// Waits until no request is in flight at any backend.
fn wait_until_idle(proxy: &Proxy) {
    let start = clock::now();
    let is_idle = |text: String| {
        let mut in_flight = text
            .lines()
            .filter(|line| line.starts_with("evenkeel_backend_in_flight{"));
        in_flight.all(|line| line.ends_with(" 0"))
    };
    while !is_idle(proxy.get_admin("/metrics").text()) {
        assert!(start.elapsed() < DEADLINE, "no request is in flight");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn peak_ewma_sends_few_requests_to_a_slow_backend() {
    let slow = Backend::start(|request| {
        // The time that it takes is what the test is about.
        if request.start() == "GET /work" {
            thread::sleep(Duration::from_millis(300));
        }
        Response::ok("slow")
    });
    let fast = [(); 2].map(|()| Backend::saying("fast"));
    let proxy = Proxy::before(&[&slow, &fast[0], &fast[1]])
        .config("strategy: peak_ewma")
        .start();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = proxy.client();
                for _ in 0..100 {
                    assert_eq!(client.get("/work").status(), 200);
                }
            });
        }
    });
    let count = |backend: &Backend| backend.requests(|request| request.start() == "GET /work").len();
    let (slow, fast) = (count(&slow), fast.each_ref().map(count));
    // 100 would be its share.
    assert!(slow < 30, "{slow} slow, {fast:?} fast");
    assert!(fast.iter().all(|count| *count > 60), "{slow} slow, {fast:?} fast");
}

#[test]
fn two_choices_avoids_a_busy_backend() {
    let (gate, holders) = (Gate::default(), Log::default());
    let backends = holding(&gate, &holders);
    let proxy = started(&backends, "two_choices");
    let mut held = proxy.client();
    held.send("GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
    let holder = holders.wait_for("a held request", |all| all.first().copied());
    let mut client = proxy.client();
    let mut counts = BTreeMap::<String, u32>::new();
    for _ in 0..90 {
        *counts.entry(client.get("/asked").text()).or_default() += 1;
    }
    // It is picked only where the second draws find none of the others.
    assert!(
        counts.get(holder).is_none_or(|count| *count < 10),
        "{holder} is busy: {counts:?}"
    );
    assert!(
        counts.values().filter(|count| **count > 20).count() == 2,
        "{counts:?}"
    );
    gate.open();
    assert_eq!(held.read().text(), holder);
}

/// Whether the same header leads to the same backend, different ones to different backends, and those of a backend that has
/// stopped to others while the rest stays.
fn follows_a_header(strategy: &str, line: impl Fn(u32) -> String) {
    let backends = NAMES.map(Backend::saying);
    let proxy = started(&backends, strategy);
    let asked = |users: &mut dyn Iterator<Item = u32>| -> Vec<String> {
        users.map(|user| ask(&proxy, &line(user))).collect()
    };
    let before = asked(&mut (0..30));
    assert_eq!(asked(&mut (0..30)), before);
    assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), 3, "{before:?}");
    let [one, ..] = backends;
    let url = one.url();
    one.stop();
    let after = asked(&mut (0..30));
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after || before == "one", "{before} has become {after}");
        assert_ne!(after, "one");
    }
    proxy.wait_for_line(|line| line["backend"] == url.as_str() && line["level"] == "WARN");
    assert_eq!(
        asked(&mut (0..30)),
        after,
        "the same without the backend that is down"
    );
}

#[test]
fn ring_hash_keeps_the_users_of_a_header_at_their_backends() {
    follows_a_header("{ kind: ring_hash, key: header.X-User }", |user| {
        format!("X-User: {user}\r\n")
    });
}

#[test]
fn ring_hash_keeps_the_users_of_a_cookie_at_their_backends() {
    follows_a_header("{ kind: ring_hash, key: cookie.session }", |user| {
        format!("Cookie: theme=dark; session={user}; lang={}\r\n", user % 3)
    });
}

#[test]
fn requests_without_the_key_go_to_all_backends() {
    let backends = NAMES.map(Backend::saying);
    let proxy = started(&backends, "{ kind: ring_hash, key: header.X-User }");
    let found: BTreeSet<String> = (0..60).map(|_| ask(&proxy, "")).collect();
    assert_eq!(found.len(), 3);
}

#[test]
fn a_load_factor_lets_a_key_leave_a_busy_backend_and_come_back() {
    for kind in ["ring_hash", "maglev"] {
        let (gate, holders) = (Gate::default(), Log::default());
        let backends = holding(&gate, &holders);
        let strategy = format!("{{ kind: {kind}, key: header.X-User, load_factor: 1.25 }}");
        let proxy = started(&backends, &strategy);
        let owner = ask(&proxy, "X-User: 7\r\n");
        // The last byte of the response is sent before the request is not in flight any more.
        wait_until_idle(&proxy);
        let mut held = proxy.client();
        held.send("GET /held HTTP/1.1\r\nHost: test\r\nX-User: 7\r\n\r\n");
        assert_eq!(
            holders.wait_for("a held request", |all| all.first().copied()),
            owner
        );
        // One more is two requests; none of three backends may have two of them.
        assert_ne!(ask(&proxy, "X-User: 7\r\n"), owner, "{kind}");
        gate.open();
        assert_eq!(held.read().text(), owner);
        let is_back = (0..500).any(|_| ask(&proxy, "X-User: 7\r\n") == owner);
        assert!(is_back, "{kind}");
    }
}
