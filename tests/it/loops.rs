//! Backends that lead back to the balancer.

use crate::support::http2::Http2;
use crate::support::{Backend, Bare, Proxy};

/// Bounds the requests if a loop is not detected.
const CONFIG: &str = "workers: 1\nhealth_check: { kind: none }\nlimits: { connections: 100 }";

/// A balancer whose only backend, with this scheme, is its own listener.
fn before_itself(scheme: &str) -> Proxy {
    let proxy = Proxy::before(&[])
        .backend("http://127.0.0.1:1")
        .config(CONFIG)
        .start();
    lead(&proxy, &format!("{scheme}://{}", proxy.address()));
    proxy
}

/// Changes the backend of a balancer.
fn lead(proxy: &Proxy, url: &str) {
    let mark = proxy.mark();
    proxy.write_config(&Proxy::before(&[]).backend(url).config(CONFIG).text());
    proxy.signal(rustix::process::Signal::HUP);
    proxy.wait_for_message(mark, "reloaded");
}

#[test]
fn a_request_that_comes_back_gets_one_response() {
    for scheme in ["http", "h2c"] {
        let proxy = before_itself(scheme);
        assert_eq!(proxy.get("/x").status(), 508, "{scheme}");
        assert_eq!(
            Http2::connect(proxy.address()).get("/y").head.status(),
            508,
            "{scheme}"
        );
        proxy.wait_for_count(2, |line| line["error"] == "loop_detected");
        let lines = proxy.access_lines(4);
        assert_eq!(lines.len(), 4, "there and back: {lines:?}");
        let refused = lines.iter().find(|line| line["error"] == "loop_detected");
        assert_eq!(
            refused.map(|line| &line["attempts"]),
            Some(&0.into()),
            "{lines:?}"
        );
    }
}

/// Changes the config of a balancer whose only backend is its own listener.
fn with_policy(proxy: &Proxy, policy: &str) {
    let config = format!("{CONFIG}\nroute_defaults: {{ policies: [{{ {policy} }}] }}");
    let config = Proxy::before(&[])
        .backend(&format!("http://{}", proxy.address()))
        .config(&config);
    let mark = proxy.mark();
    proxy.write_config(&config.text());
    proxy.signal(rustix::process::Signal::HUP);
    proxy.wait_for_message(mark, "reloaded");
}

/// A page of a failed page would be asked for without end.
#[test]
fn a_page_of_the_process_itself_is_asked_for_once() {
    let proxy = before_itself("http");
    with_policy(
        &proxy,
        "error_pages: { intercept: true, 400-599: { pool: default, path: /page.html } }",
    );
    let get = "GET /x HTTP/1.1\r\nHost: test\r\nAccept: text/html\r\n\r\n";
    assert_eq!(proxy.client().send(get).read().status(), 508);
    proxy.wait_for_count(2, |line| line["path"] == "/x");
    assert_eq!(proxy.count_so_far(|line| line["path"] == "/page.html"), 1);
}

/// Each request would ask another one without end.
#[test]
fn a_policy_that_asks_its_own_process_gets_one_response() {
    let proxy = before_itself("http");
    let url = format!("http://{}/check", proxy.address());
    with_policy(&proxy, &format!("forward_auth: {{ url: '{url}', timeout: 30s }}"));
    assert_eq!(proxy.get("/x").status(), 508);
    proxy.wait_for_count(1, |line| line["error"] == "loop_detected");
    assert_eq!(proxy.count_so_far(|line| line["path"] == "/check"), 1);
}

#[test]
fn a_request_that_loops_over_two_balancers_gets_one_response() {
    let first = before_itself("http");
    let second = Proxy::before(&[])
        .backend(&format!("http://{}", first.address()))
        .config(CONFIG)
        .start();
    lead(&first, &format!("http://{}", second.address()));
    assert_eq!(first.get("/x").status(), 508);
    first.wait_for_count(2, |line| line["path"] == "/x");
    second.wait_for_count(1, |line| line["path"] == "/x");
    assert_eq!(first.count_so_far(|line| line["error"] == "loop_detected"), 1);
}

#[test]
fn a_chain_of_balancers_serves() {
    let backend = Backend::saying("hello");
    let last = Proxy::before(&[&backend]).config(CONFIG).start();
    let middle = Proxy::before(&[])
        .backend(&format!("h2c://{}", last.address()))
        .config(CONFIG)
        .start();
    let first = Proxy::before(&[])
        .backend(&format!("http://{}", middle.address()))
        .config(CONFIG)
        .start();
    assert_eq!(first.get("/x").text(), "hello");
    let request = backend.wait_for_request(|request| request.start() == "GET /x");
    let via = request.head.lines().filter_map(|line| line.split_once(": "));
    let via: Vec<&str> = via
        .filter(|(name, _)| name.eq_ignore_ascii_case("via"))
        .map(|(_, value)| value)
        .collect();
    let [one, two, three] = via.as_slice() else {
        panic!("{via:?}")
    };
    for (value, version) in [(one, "1.1"), (two, "1.1"), (three, "2.0")] {
        assert!(value.starts_with(&format!("{version} evenkeel-")), "{via:?}");
    }
    assert!(one != two && two[4..] != three[4..], "{via:?}");
}

#[test]
fn all_workers_of_an_instance_use_one_via_name() {
    let backend = Bare::start();
    let proxy = Proxy::before(&[])
        .backend(&backend.url())
        // The backend never responds: a request that waited would be sent again.
        .config("workers: 2\nhealth_check: { kind: none }\nqueue: off")
        .start();
    let mut names = Vec::new();
    for _ in 0..4 {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        let mut held = backend.accept();
        let head = held.head();
        let via = head.lines().find_map(|line| line.strip_prefix("Via: "));
        names.push(via.expect("a Via").to_owned());
        drop(held);
        client.read_to_end();
    }
    names.dedup();
    assert_eq!(names.len(), 1, "{names:?}");
}
