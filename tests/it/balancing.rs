//! Which backend receives which request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;

use crate::support::{Backend, Proxy, Request, Response};

/// Probes do not use this path, and neither do other requests.
const PATH: &str = "/balanced";

fn is_meant(request: &Request) -> bool {
    request.start() == "GET /balanced"
}

fn counts(backends: &[Backend]) -> Vec<usize> {
    backends
        .iter()
        .map(|backend| backend.requests(is_meant).len())
        .collect()
}

fn three() -> [Backend; 3] {
    ["one", "two", "three"].map(Backend::saying)
}

fn ask_in_parallel(proxy: &Proxy, clients: usize, requests: usize) {
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut client = proxy.client();
                for _ in 0..requests {
                    assert_eq!(client.get(PATH).status(), 200);
                }
            });
        }
    });
}

#[test]
fn round_robin_is_exact_with_many_clients_at_once() {
    let backends = three();
    let proxy = Proxy::before(&backends.each_ref()).start();
    ask_in_parallel(&proxy, 12, 250);
    assert_eq!(counts(&backends), [1000, 1000, 1000]);
}

#[test]
fn round_robin_follows_weights_from_the_start() {
    let backends = three();
    let weighted = backends.each_ref().map(Backend::url);
    let list = format!(
        "backends: [{{ url: {}, weight: 2 }}, {}, {}]",
        weighted[0], weighted[1], weighted[2]
    );
    let proxy = Proxy::before(&[]).config(&list).start();
    ask_in_parallel(&proxy, 1, 8);
    assert_eq!(counts(&backends), [4, 2, 2]);
}

#[test]
fn remaining_backends_share_evenly() {
    let backends = three();
    let gone = Backend::saying("gone");
    let proxy = Proxy::before(&backends.each_ref()).backend(&gone.url()).start();
    let url = gone.url();
    gone.stop();
    // One of these requests detects the failure; then the backend is probed and taken out before the count begins.
    ask_in_parallel(&proxy, 1, 8);
    proxy.wait_for_line(|line| line["backend"] == url.as_str() && line["level"] == "WARN");
    let before = counts(&backends);
    ask_in_parallel(&proxy, 6, 50);
    let after = counts(&backends);
    let more: Vec<usize> = after
        .iter()
        .zip(before)
        .map(|(after, before)| after - before)
        .collect();
    assert_eq!(more, [100, 100, 100]);
}

#[test]
fn backup_is_used_only_when_no_other_is_left() {
    let (main, spare) = (Backend::saying("main"), Backend::saying("spare"));
    let list = format!(
        "backends: [{}, {{ url: {}, backup: true }}]",
        main.url(),
        spare.url()
    );
    let proxy = Proxy::before(&[]).config(&list).start();
    let mut client = proxy.client();
    let texts: Vec<String> = (0..4).map(|_| client.get(PATH).text()).collect();
    assert_eq!(texts, ["main"; 4]);
    main.stop();
    assert_eq!(client.get(PATH).text(), "spare");
}

#[test]
fn routes_go_by_host_and_by_whole_segments_of_the_path() {
    let (all, api) = (Backend::saying("all"), Backend::start(|_| Response::ok("api")));
    let config = format!(
        "pools:\n  api: {{ backends: [{}] }}\nroutes:\n  - {{ host: api.test, path_prefix: /v1, pool: api }}",
        api.url()
    );
    let proxy = Proxy::before(&[&all]).config(&config).start();
    let ask = |host: &str, path: &str| {
        let mut client = proxy.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        client.read().text()
    };
    assert_eq!(ask("api.test", "/v1/a"), "api");
    assert_eq!(ask("API.test:80", "/a/../v1"), "api");
    assert_eq!(ask("api.test", "/v10"), "all");
    assert_eq!(ask("other.test", "/v1"), "all");
}

/// The status of the only pool, and the value of a metric of its only backend.
fn shown(proxy: &Proxy, metric: &str) -> (Value, Option<String>) {
    let status: Value = serde_json::from_slice(&proxy.get_admin("/api/v1/status").body).expect("JSON");
    let metrics = proxy.get_admin("/metrics").text();
    let mut lines = metrics.lines();
    let line = lines.find(|line| line.starts_with(&format!("{metric}{{")));
    let value = line.and_then(|line| line.rsplit(' ').next()).map(str::to_owned);
    (status["pools"][0].clone(), value)
}

#[test]
fn a_backend_of_weight_zero_is_up_and_not_eligible_in_the_status_and_in_the_metrics() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[]).config(&format!(
        "backends: [{{ url: \"{}\", weight: 0 }}]\nhealth_check: {{ interval: 1s }}",
        backend.url()
    ));
    let proxy = proxy.start();
    let line = proxy.wait_for_message(0, "pool has no eligible backend");
    assert_eq!(
        (&line["pool"], &line["level"]),
        (&"default".into(), &"WARN".into())
    );
    proxy.wait_for_message(0, "backend is up");
    let (pool, up) = shown(&proxy, "evenkeel_backend_up");
    let told = &pool["backends"][0];
    assert_eq!(
        (&told["state"], up.as_deref()),
        (&"up".into(), Some("1")),
        "{told}"
    );
    let (pool, eligible) = shown(&proxy, "evenkeel_backend_eligible");
    let told = &pool["backends"][0];
    assert_eq!(
        (&told["eligible"], eligible.as_deref()),
        (&false.into(), Some("0")),
        "{told}"
    );
    assert_eq!(
        (&told["why"], &pool["eligible"]),
        (&"weight 0".into(), &0.into()),
        "{pool}"
    );
}

#[test]
fn losing_and_regaining_the_last_eligible_backend_is_logged() {
    let is_well = Arc::new(AtomicBool::new(false));
    let its = Arc::clone(&is_well);
    let backend = Backend::start(move |_| match its.load(Ordering::Relaxed) {
        true => Response::ok("well"),
        false => Response::status(500, "no"),
    });
    let config = "pools:\n  api:\n    backends: [\"URL\"]\n    \
                  health_check: { path: /, interval: 1s, healthy_after: 1, unhealthy_after: 1 }\nroutes: [{ pool: api }]";
    let proxy = Proxy::before(&[])
        .config(&config.replace("URL", &backend.url()))
        .start();
    let down = proxy.wait_for_message(0, "backend is down");
    assert_eq!(
        (&down["pool"], &down["reason"]),
        (&"api".into(), &"status 500".into()),
        "{down}"
    );
    let none = proxy.wait_for_message(0, "pool has no eligible backend");
    assert_eq!(
        (&none["pool"], &none["level"]),
        (&"api".into(), &"WARN".into()),
        "{none}"
    );
    let (pool, _) = shown(&proxy, "evenkeel_backend_up");
    let told = &pool["backends"][0];
    assert_eq!(
        (&told["why"], &told["last_check"]["reason"]),
        (&"status 500".into(), &"status 500".into())
    );
    is_well.store(true, Ordering::Relaxed);
    let up = proxy.wait_for_message(0, "backend is up");
    assert_eq!(up["pool"], "api", "{up}");
    let again = proxy.wait_for_message(0, "pool has an eligible backend again");
    assert_eq!(
        (&again["pool"], &again["level"]),
        (&"api".into(), &"INFO".into()),
        "{again}"
    );
    let count = |beginning: &str| {
        proxy.count_so_far(|line| line["msg"].as_str().is_some_and(|msg| msg.starts_with(beginning)))
    };
    assert_eq!((count("Pool has no"), count("Pool has an")), (1, 1));
}
