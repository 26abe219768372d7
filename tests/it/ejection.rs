//! Passive ejection: backends whose requests fail, whatever their health checks say.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Backend, DEADLINE, Proxy, Request, Response, wait_until};

/// Probes do not use this path.
const PATH: &str = "/work";

fn is_work(request: &Request) -> bool {
    request.start().ends_with(PATH)
}

/// A backend in a process of its own, which can be stopped.
fn process(name: &str) -> Proxy {
    let routes = format!("routes: [{{ path_prefix: /, respond: {{ status: 200, body: {name} }} }}]");
    Proxy::before(&[]).without_admin().config(&routes).start()
}

/// A backend that responds to probes with 200, and to other requests with 500 while it is failing.
fn failing() -> (Backend, Arc<AtomicBool>) {
    let is_failing = Arc::new(AtomicBool::new(true));
    let its = Arc::clone(&is_failing);
    let backend = Backend::start(
        move |request| match is_work(request) && its.load(Ordering::SeqCst) {
            true => Response::status(500, "broken"),
            false => Response::ok("fine"),
        },
    );
    (backend, is_failing)
}

fn backends(proxy: &Proxy) -> Vec<Value> {
    let status: Value = serde_json::from_str(&proxy.get_admin("/api/v1/status").text()).unwrap();
    status["pools"][0]["backends"].as_array().unwrap().clone()
}

fn states(proxy: &Proxy) -> Vec<String> {
    let state = |backend: &Value| backend["state"].as_str().unwrap().to_owned();
    backends(proxy).iter().map(state).collect()
}

/// Sends requests until the message is logged; returns how many of them failed.
fn request_until(proxy: &Proxy, mark: usize, message: &str) -> usize {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut client = proxy.client();
            let mut failed = 0;
            while !is_done.load(Ordering::SeqCst) {
                failed += usize::from(client.get(PATH).status() >= 500);
            }
            failed
        });
        proxy.wait_for_message(mark, message);
        is_done.store(true, Ordering::SeqCst);
        sender.join().unwrap()
    })
}

#[test]
fn a_stopped_backend_whose_port_accepts_is_ejected_after_a_few_timeouts_and_comes_back() {
    const CLIENTS: usize = 6;
    let processes = ["one", "two", "three"].map(process);
    let mut builder = Proxy::before(&[]);
    for process in &processes {
        builder = builder.backend(&format!("http://{}", process.address()));
    }
    let proxy = builder
        .config("timeouts: { first_byte: 500ms }")
        .config("health_check: { kind: tcp, interval: 100ms }")
        .config("ejection: { base: 1s }")
        .start();
    assert_eq!(proxy.get(PATH).status(), 200);
    let mark = proxy.mark();
    processes[1].signal(Signal::STOP);
    let retried = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = proxy.client();
                for _ in 0..50 {
                    let begun = evenkeel::internals::clock::now();
                    assert_eq!(client.get(PATH).status(), 200);
                    let was_slow = begun.elapsed().as_millis() >= 500;
                    retried.fetch_add(usize::from(was_slow), Ordering::SeqCst);
                }
            });
        }
    });
    let line = proxy.wait_for_message(mark, "Backend is ejected");
    assert_eq!(line["reason"], "requests failed in a row: no response in time");
    assert_eq!(line["pool"], "default");
    // Three timeouts, and what was on its way then; a loaded machine may be slow by itself.
    let retried = retried.into_inner();
    assert!((3..=3 * CLIENTS).contains(&retried), "{retried} requests waited");
    processes[1].signal(Signal::CONT);
    assert_eq!(request_until(&proxy, mark, "Backend is back"), 0);
    assert_eq!(states(&proxy), ["up", "up", "up"]);
}

#[test]
fn new_requests_avoid_a_backend_that_hangs_long_before_its_timeout() {
    const LATER: usize = 21;
    let processes = ["one", "two", "three"].map(process);
    let mut builder = Proxy::before(&[]);
    for process in &processes {
        builder = builder.backend(&format!("http://{}", process.address()));
    }
    let proxy = builder
        .config("timeouts: { first_byte: 60s }\nhealth_check: { kind: tcp }\nworkers: 1")
        .start();
    // Enough to know what is usual of each.
    for _ in 0..90 {
        assert_eq!(proxy.get(PATH).status(), 200);
    }
    let (message, mark) = ("Backend does not respond; new requests avoid it", proxy.mark());
    let hanging = format!("http://{}", processes[1].address());
    let send = |path: &str| {
        let mut client = proxy.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        client
    };
    processes[1].signal(Signal::STOP);
    let mut waiting = Vec::new();
    let began = evenkeel::internals::clock::now();
    while proxy.count_so_far(|line| line["msg"] == message) == 0 {
        assert!(began.elapsed() < DEADLINE, "it is not found silent");
        waiting.push(send(PATH));
        thread::sleep(Duration::from_millis(10));
    }
    let line = proxy.wait_for_message(mark, message);
    assert_eq!(line["backend"], hanging);
    assert!(line["waiting"].as_u64().unwrap() >= 3, "{line}");
    // Sent within the second for which it is avoided. A third of them would be its share.
    waiting.extend((0..LATER).map(|_| send("/later")));
    let is_later = |line: &Value| line["path"] == "/later";
    proxy.wait_for_count(LATER * 4 / 5, is_later);
    assert_eq!(
        proxy.count_so_far(|line| is_later(line) && line["backend"] == hanging),
        0
    );
    processes[1].signal(Signal::CONT);
    for mut client in waiting {
        assert_eq!(client.read().status(), 200);
    }
    proxy.wait_for_message(mark, "Backend responds again");
}

#[test]
fn a_backend_that_responds_with_5xx_is_ejected_although_its_checks_succeed_until_trial_requests_pass() {
    let (broken, is_failing) = failing();
    let well = Backend::saying("fine");
    let other = Backend::saying("fine");
    let proxy = Proxy::before(&[&well, &broken, &other])
        .config("health_check: { path: /healthz, interval: 50ms }")
        .config("ejection: { base: 300ms, max: 2s }")
        .start();
    let mark = proxy.mark();
    // Five in a row, and what is on its way while the control plane decides.
    let failed = request_until(&proxy, mark, "Backend is ejected");
    assert!((5..=8).contains(&failed), "{failed}");
    let found = backends(&proxy);
    assert_eq!(found[1]["state"], "ejected", "{found:#?}");
    let why = found[1]["why"].as_str().unwrap();
    assert!(why.ends_with("requests failed in a row: status 500"), "{why}");
    assert!(found[1]["since"].is_string());
    assert_eq!(found[1]["eligible"], false);
    // Its trial requests fail as well, one each time: its good checks bring it back no sooner.
    let failed = request_until(&proxy, mark, "Backend stays ejected");
    assert!(failed <= 3, "{failed} requests failed on trial");
    assert_eq!(proxy.count_so_far(|line| line["msg"] == "Backend is back"), 0);
    is_failing.store(false, Ordering::SeqCst);
    request_until(&proxy, mark, "Backend is back");
    assert_eq!(states(&proxy), ["up", "up", "up"]);
    let metrics = proxy.get_admin("/metrics").text();
    let line = format!(
        "evenkeel_backend_ejected{{pool=\"default\",backend=\"{}\"}} 0",
        broken.url()
    );
    assert!(metrics.contains(&line), "{metrics}");
    let ejections = format!(
        "evenkeel_backend_ejections_total{{pool=\"default\",backend=\"{}\"}} ",
        broken.url()
    );
    assert!(
        metrics.contains(&ejections) && !metrics.contains(&format!("{ejections}0")),
        "{metrics}"
    );
    assert_eq!(proxy.count_so_far(|line| line["msg"] == "Backend is ejected"), 1);
}

#[test]
fn failures_that_are_mixed_with_successes_eject_by_their_share() {
    let count = AtomicUsize::new(0);
    let shaky = Backend::start(move |request| {
        let is_turn = is_work(request) && !count.fetch_add(1, Ordering::SeqCst).is_multiple_of(3);
        if is_turn {
            Response::status(503, "no")
        } else {
            Response::ok("fine")
        }
    });
    let well = Backend::saying("fine");
    let proxy = Proxy::before(&[&shaky, &well])
        .config("health_check: off")
        .config("ejection: { failure_ratio: 40%, window: 1s, min_requests: 10 }")
        .start();
    assert_eq!(
        request_until(&proxy, 0, "Backend is ejected"),
        0,
        "503 is retried"
    );
    let line = proxy.wait_for_message(0, "Backend is ejected");
    let reason = line["reason"].as_str().unwrap();
    assert!(
        reason.contains("% of ") && reason.ends_with("requests failed within 1s"),
        "{reason}"
    );
}

#[test]
fn at_most_half_of_a_pool_is_ejected_and_the_rest_gets_all_requests() {
    let all = [(); 5].map(|()| failing());
    let each = all.each_ref().map(|(backend, _)| backend);
    let proxy = Proxy::before(&each).config("health_check: off").start();
    let mut client = proxy.client();
    for _ in 0..100 {
        assert_eq!(client.get(PATH).status(), 500);
    }
    proxy.wait_for_count(2, |line| line["msg"] == "Backend is ejected");
    proxy.wait_for_count(3, |line| {
        line["msg"]
            .as_str()
            .is_some_and(|message| message.starts_with("Backend fails and is not ejected"))
    });
    let ejected = states(&proxy).iter().filter(|state| *state == "ejected").count();
    assert_eq!(ejected, 2);
}

#[test]
fn the_last_eligible_backend_is_never_ejected() {
    let (only, _) = failing();
    let proxy = Proxy::before(&[&only]).config("health_check: off").start();
    let mut client = proxy.client();
    for _ in 0..30 {
        assert_eq!(
            client.get(PATH).status(),
            500,
            "from the backend, not a 503 of ours"
        );
    }
    assert_eq!(only.requests(is_work).len(), 30);
    assert_eq!(states(&proxy), ["unknown"]);
}

#[test]
fn an_ejected_backend_is_used_again_when_the_other_one_goes_down() {
    let (broken, is_failing) = failing();
    let other = Backend::saying("fine");
    let proxy = Proxy::before(&[&broken, &other])
        .config("health_check: { path: /healthz, interval: 50ms, timeout: 50ms }")
        .config("ejection: { base: 1h, max: 1h }")
        .start();
    request_until(&proxy, 0, "Backend is ejected");
    is_failing.store(false, Ordering::SeqCst);
    other.stop();
    request_until(&proxy, 0, "Backend is back");
    proxy.wait_for_message(0, "Backend is down");
    assert_eq!(proxy.get(PATH).status(), 200);
}

#[test]
fn a_backend_whose_last_check_succeeded_is_used_when_no_eligible_one_can_be_reached() {
    let is_healthy = Arc::new(AtomicBool::new(false));
    let its = Arc::clone(&is_healthy);
    let recovering = Backend::start(
        move |request| match is_work(request) || its.load(Ordering::SeqCst) {
            true => Response::ok("fine"),
            false => Response::status(503, "starting"),
        },
    );
    let other = Backend::saying("fine");
    // It takes far longer than the test until the checks have it up.
    let proxy = Proxy::before(&[&recovering, &other])
        .config("health_check: { path: /healthz, interval: 1s, timeout: 1s, healthy_after: 100 }")
        .config("queue: off")
        .start();
    proxy.wait_for_message(0, "Backend is down");
    is_healthy.store(true, Ordering::SeqCst);
    wait_until("a good check", || {
        backends(&proxy)[0]["checks"][0]["healthy"] == true
    });
    let mut client = proxy.client();
    assert_eq!(client.get(PATH).status(), 200);
    assert_eq!(recovering.requests(is_work).len(), 0, "the other one is eligible");
    other.stop();
    for _ in 0..50 {
        assert_eq!(client.get(PATH).status(), 200);
    }
    wait_until("both are down", || states(&proxy) == ["down", "down"]);
    assert_eq!(client.get(PATH).status(), 200);
}

#[test]
fn nothing_is_ejected_where_ejection_is_off() {
    let (broken, _) = failing();
    let other = Backend::saying("fine");
    let proxy = Proxy::before(&[&broken, &other])
        .config("health_check: off\nejection: off")
        .start();
    let mut client = proxy.client();
    let failed = (0..60).filter(|_| client.get(PATH).status() == 500).count();
    assert_eq!(failed, 30);
}

#[test]
fn a_reload_keeps_an_ejection_and_brings_backends_back_when_it_is_switched_off() {
    let (broken, _) = failing();
    let other = Backend::saying("fine");
    let builder = || Proxy::before(&[&broken, &other]).config("health_check: off");
    let proxy = builder().config("ejection: { base: 1h, max: 1h }").start();
    request_until(&proxy, 0, "Backend is ejected");
    let reload = |text: &str| {
        let mark = proxy.mark();
        proxy.write_config(text);
        proxy.signal(Signal::HUP);
        proxy.wait_for_message(mark, "Reloaded");
    };
    reload(
        &builder()
            .config("ejection: { base: 1h, max: 1h, consecutive: 6 }")
            .text(),
    );
    assert_eq!(states(&proxy), ["ejected", "unknown"]);
    reload(&builder().config("ejection: off").text());
    proxy.wait_for_message(0, "Backend is back");
    assert_eq!(states(&proxy), ["unknown", "unknown"]);
}
