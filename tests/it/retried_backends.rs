//! Where a retry goes: to a backend that is eligible when the retry begins, whatever has changed since the request came.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::operators::admin;
use crate::support::reload::reloaded;
use crate::support::{Backend, Builder, Client, Gate, Proxy, Request, Response};

const GET: &str = "GET /x HTTP/1.1\r\nHost: test\r\n\r\n";
const NO_CHECKS: &str = "health_check: { kind: none }";

fn is_meant(request: &Request) -> bool {
    request.start().ends_with(" /x")
}

/// A backend that holds the request until the gate opens, and refuses it then.
fn refusing_after(gate: &Gate) -> Backend {
    let gate = gate.clone();
    Backend::start(move |request| match is_meant(request) {
        true => Response::status(503, "first").after(&gate),
        false => Response::ok(""),
    })
}

/// A pool with a first backend, to which requests go as long as it is eligible, and backups with further keys.
fn config(first: &Backend, backups: &[(&Backend, &str)], keys: &str) -> Builder {
    with_route(first, backups, keys, "")
}

/// The same with a route that has further keys.
fn with_route(first: &Backend, backups: &[(&Backend, &str)], keys: &str, route: &str) -> Builder {
    let backups = backups.iter().map(|(backup, keys)| {
        let url = backup.url();
        format!(", {{ url: '{url}', backup: true{keys} }}")
    });
    let (first, backups) = (first.url(), backups.collect::<String>());
    Proxy::before(&[]).config(&format!(
        "workers: 1\npools: {{ web: {{ {keys}, backends: ['{first}'{backups}] }} }}\nroutes: [{{ pool: web{route} }}]"
    ))
}

/// Sends the request, and waits until the first backend has it.
fn send(proxy: &Proxy, first: &Backend) -> Client {
    let mut client = proxy.client();
    client.send(GET);
    first.wait_for_request(is_meant);
    client
}

#[test]
fn a_backend_that_came_back_meanwhile_gets_the_retry() {
    let gate = Gate::default();
    let (first, second) = (refusing_after(&gate), Backend::saying("second"));
    let drained = [(&second, ", name: second, drain: true")];
    let proxy = config(&first, &drained, NO_CHECKS).start();
    let mut client = send(&proxy, &first);
    let (status, _) = admin(&proxy, "POST /api/v1/pools/web/backends/second/ready", "");
    assert_eq!(status, 200);
    gate.open();
    assert_eq!(client.read().text(), "second");
}

#[test]
fn a_backend_that_its_checks_found_down_meanwhile_gets_no_retry_even_if_all_others_failed() {
    let gate = Gate::default();
    let first = refusing_after(&gate);
    let is_unhealthy = Arc::new(AtomicBool::new(false));
    let its_health = Arc::clone(&is_unhealthy);
    let second = Backend::start(move |request| match is_meant(request) {
        false if its_health.load(Ordering::SeqCst) => Response::status(500, ""),
        _ => Response::ok("second"),
    });
    let third = Backend::start(|request| match is_meant(request) {
        true => Response::status(503, "third"),
        false => Response::ok(""),
    });
    let checks = "health_check: { path: /health, interval: 50ms, unhealthy_after: 1 }";
    let proxy = config(&first, &[(&second, ""), (&third, "")], checks).start();
    let mut client = send(&proxy, &first);
    is_unhealthy.store(true, Ordering::SeqCst);
    // Logged once workers can see it.
    proxy.wait_for_message(0, "Backend is down");
    gate.open();
    assert_eq!(client.read().text(), "third");
    assert_eq!(second.requests(is_meant).len(), 0);
    assert_eq!(proxy.access_line("/x")["attempts"], 2);
}

#[test]
fn a_backend_that_a_reload_added_meanwhile_gets_the_retry_and_keeps_the_client() {
    let gate = Gate::default();
    let (first, second) = (refusing_after(&gate), Backend::saying("second"));
    let sticky = format!("{NO_CHECKS}, sticky: {{ cookie: lb, secret: correct-horse-battery }}");
    let proxy = config(&first, &[], &sticky).start();
    let mut client = send(&proxy, &first);
    reloaded(&proxy, &config(&first, &[(&second, "")], &sticky));
    gate.open();
    let response = client.read();
    assert_eq!(response.text(), "second");
    let cookie = response
        .field("set-cookie")
        .and_then(|cookie| cookie.split(';').next());
    let cookie = cookie.expect("the cookie names the new backend");
    client.send(format!(
        "GET /y HTTP/1.1\r\nHost: test\r\nCookie: {cookie}\r\n\r\n"
    ));
    assert_eq!(client.read().text(), "second");
}

#[test]
fn a_backend_that_a_reload_removed_meanwhile_gets_no_retry() {
    let gate = Gate::default();
    let (first, [removed, other]) = (refusing_after(&gate), ["removed", "other"].map(Backend::saying));
    let proxy = config(&first, &[(&removed, "")], NO_CHECKS).start();
    let mut client = send(&proxy, &first);
    reloaded(&proxy, &config(&first, &[(&other, "")], NO_CHECKS));
    gate.open();
    assert_eq!(client.read().text(), "other");
    assert_eq!(removed.requests(is_meant).len(), 0);
}

/// As many attempts as the pool has backends: the one that has left does not count.
#[test]
fn a_request_whose_only_backend_was_replaced_meanwhile_is_retried() {
    let gate = Gate::default();
    let (first, other) = (refusing_after(&gate), Backend::saying("other"));
    let proxy = config(&first, &[], NO_CHECKS).start();
    let mut client = send(&proxy, &first);
    reloaded(&proxy, &config(&other, &[], NO_CHECKS));
    gate.open();
    assert_eq!(client.read().text(), "other");
}

#[test]
fn a_request_whose_pool_was_removed_meanwhile_ends_among_its_backends() {
    let gate = Gate::default();
    let (first, [second, other]) = (refusing_after(&gate), ["second", "other"].map(Backend::saying));
    let proxy = config(&first, &[(&second, "")], NO_CHECKS).start();
    let mut client = send(&proxy, &first);
    let pools = format!(
        "workers: 1\n{NO_CHECKS}\npools: {{ another: {{ backends: ['{}'] }} }}\nroutes: [{{ pool: another }}]",
        other.url()
    );
    reloaded(&proxy, &Proxy::before(&[]).config(&pools));
    gate.open();
    assert_eq!(client.read().text(), "second");
}

#[test]
fn a_reload_applies_to_the_retries_of_requests_from_before_it() {
    let gate = Gate::default();
    let (first, second) = (refusing_after(&gate), Backend::saying("second"));
    let proxy = config(&first, &[(&second, "")], NO_CHECKS).start();
    let mut client = send(&proxy, &first);
    let off = format!("{NO_CHECKS}, retry: off");
    reloaded(&proxy, &config(&first, &[(&second, "")], &off));
    gate.open();
    assert_eq!(client.read().text(), "first");
    assert_eq!(second.requests(is_meant).len(), 0);
}

#[test]
fn the_settings_of_a_route_apply_to_retries_after_a_reload_too() {
    let gate = Gate::default();
    let (first, second) = (refusing_after(&gate), Backend::saying("second"));
    let config = || with_route(&first, &[(&second, "")], NO_CHECKS, ", retry: off");
    let proxy = config().start();
    let mut client = send(&proxy, &first);
    reloaded(&proxy, &config());
    gate.open();
    assert_eq!(client.read().text(), "first");
    assert_eq!(second.requests(is_meant).len(), 0);
}

/// A response is kept while another backend is tried. Those of a later config are for responses that come under it.
#[test]
fn a_response_that_was_kept_goes_on_with_the_settings_of_its_own_attempt() {
    let gate = Gate::default();
    let first = refusing_after(&gate);
    let second = Backend::start(|_| Response::nothing().reset());
    let proxy = config(&first, &[(&second, "")], NO_CHECKS).start();
    let mut client = send(&proxy, &first);
    let sticky = format!("{NO_CHECKS}, sticky: {{ cookie: lb, secret: correct-horse-battery }}");
    reloaded(&proxy, &config(&first, &[(&second, "")], &sticky));
    gate.open();
    let response = client.read();
    assert_eq!(response.text(), "first");
    assert_eq!(response.field("set-cookie"), None);
    assert_eq!(second.requests(is_meant).len(), 1);
}
