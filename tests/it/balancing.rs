//! Which backend gets which request.

use std::thread;

use crate::support::{Answer, Backend, Proxy, Request};

/// The backends are not probed with it, and no test asks for it otherwise.
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
fn backends_that_are_left_share_evenly() {
    let backends = three();
    let gone = Backend::saying("gone");
    let proxy = Proxy::before(&backends.each_ref()).backend(&gone.url()).start();
    let url = gone.url();
    gone.stop();
    // One of these finds out; then the backend is probed, and is out before the count begins.
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
    let (all, api) = (Backend::saying("all"), Backend::start(|_| Answer::ok("api")));
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
