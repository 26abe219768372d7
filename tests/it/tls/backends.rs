//! TLS to backends.

use rustix::process::Signal;
use serde_json::Value;

use super::Bench;
use crate::support::authority::{Authority, wanted};
use crate::support::tls::Secured;
use crate::support::{Builder, Proxy};

/// A balancer with a pool with this URL and these keys of `tls`.
fn pool(url: &str, keys: &str) -> Builder {
    Proxy::before(&[]).config(&format!(
        "pools:\n  p:\n    backends: [\"{url}\"]\n    tls: {{ {keys} }}\n\
         \x20   health_check: {{ interval: 1s, unhealthy_after: 1, healthy_after: 1 }}\nroutes: [{{ pool: p }}]"
    ))
}

/// The state of the only backend after a probe.
fn state_after_a_probe(proxy: &Proxy) -> Value {
    let start = evenkeel::internals::clock::now();
    loop {
        let status: Value = serde_json::from_slice(&proxy.get_admin("/api/v1/status").body).unwrap();
        let backend = &status["pools"][0]["backends"][0];
        if !backend["last_check"].is_null() {
            return backend.clone();
        }
        assert!(start.elapsed() < crate::support::DEADLINE, "no check ends");
    }
}

#[test]
fn a_backend_is_verified_by_its_authority_and_its_name() {
    let bench = Bench::new();
    let ca = bench.folder.write("ca.pem", &bench.authority.pem());
    let backend = Secured::start(&bench.authority.sign_for(&["localhost"]), None);
    let proxy = pool(&backend.url("localhost"), &format!("ca: \"{ca}\"")).start();
    assert_eq!(state_after_a_probe(&proxy)["state"], "up");
    assert_eq!(proxy.get("/").text(), "localhost false");
    let internal = Secured::start(&bench.authority.sign_for(&["api.internal"]), None);
    let keys = format!("ca: \"{ca}\", server_name: api.internal");
    let proxy = pool(&internal.url("127.0.0.1"), &keys).start();
    assert_eq!(proxy.get("/").text(), "api.internal false");
}

#[test]
fn an_unverified_backend_is_down_and_the_reason_is_shown() {
    let bench = Bench::new();
    let ca = bench.folder.write("ca.pem", &bench.authority.pem());
    let ca = format!("ca: \"{ca}\"");
    for (pair, why) in [
        (Authority::new().sign_for(&["localhost"]), "UnknownIssuer"),
        (bench.authority.sign_for(&["other.test"]), "set `tls.server_name`"),
        (
            bench.authority.sign(&wanted(&["localhost"]).days(-2, -1)),
            "expired",
        ),
        (wanted(&["localhost"]).authority().alone(), "set `tls.ca`"),
    ] {
        let backend = Secured::start(&pair, None);
        let proxy = pool(&backend.url("localhost"), &ca).start();
        let state = state_after_a_probe(&proxy);
        assert_eq!(proxy.get("/").status(), 503, "{why}");
        let told = state["why"].as_str().unwrap_or_default();
        assert!(
            state["state"] == "down" && told.contains("TLS handshake failed") && told.contains(why),
            "{state}"
        );
        let skipping = pool(&backend.url("localhost"), "danger_skip_verify: true").start();
        assert_eq!(state_after_a_probe(&skipping)["state"], "up");
        assert_eq!(skipping.get("/").status(), 200, "{why}");
    }
}

#[test]
fn a_grpc_check_of_a_backend_that_speaks_http1_says_what_the_backend_has_to_offer() {
    let bench = Bench::new();
    let backend = Secured::start(&bench.authority.sign_for(&["localhost"]), None);
    let proxy = Proxy::before(&[])
        .config(&format!(
            "pools:\n  p:\n    backends: [\"{}\"]\n    tls: {{ danger_skip_verify: true }}\n\
             \x20   health_check: {{ kind: grpc, unhealthy_after: 1 }}\nroutes: [{{ pool: p }}]",
            backend.url("localhost")
        ))
        .start();
    let state = state_after_a_probe(&proxy);
    let told = state["why"].as_str().unwrap_or_default();
    assert!(
        told.starts_with("response is not HTTP/2") && told.contains("https://") && !told.contains("h2c://"),
        "{state}"
    );
}

#[test]
fn a_self_signed_certificate_is_trusted_if_it_is_the_configured_file() {
    let bench = Bench::new();
    let pair = wanted(&["localhost"]).authority().alone();
    let ca = bench.folder.write("self.pem", &pair.cert);
    let backend = Secured::start(&pair, None);
    let proxy = pool(&backend.url("localhost"), &format!("ca: \"{ca}\"")).start();
    assert_eq!(state_after_a_probe(&proxy)["state"], "up");
    assert_eq!(proxy.get("/").text(), "localhost false");
}

#[test]
fn our_client_certificate_is_sent_to_backends_and_shown_in_the_status() {
    let bench = Bench::new();
    let ca = bench.folder.write("ca.pem", &bench.authority.pem());
    bench.put("ours", &["balancer"]);
    let backend = Secured::start(&bench.authority.sign_for(&["localhost"]), Some(&bench.authority));
    let (cert, key) = (bench.folder.file("ours.pem"), bench.folder.file("ours.key"));
    let keys = format!("ca: \"{ca}\", cert: \"{cert}\", key: \"{key}\"");
    let proxy = pool(&backend.url("localhost"), &keys).start();
    assert_eq!(state_after_a_probe(&proxy)["state"], "up");
    assert_eq!(proxy.get("/").text(), "localhost true");
    let status: Value = serde_json::from_slice(&proxy.get_admin("/api/v1/status").body).unwrap();
    assert_eq!(status["certificates"][0]["shown_by"][0], "pool p");
    let without = pool(&backend.url("localhost"), &format!("ca: \"{ca}\"")).start();
    // In TLS 1.3 a client learns of it only after its handshake, so it counts as a reset.
    assert_eq!(state_after_a_probe(&without)["state"], "down");
    assert!(matches!(without.get("/").status(), 502 | 503));
}

#[test]
fn new_authorities_and_a_new_certificate_are_active_after_a_reload() {
    let bench = Bench::new();
    let other = Authority::new();
    let ca = bench.folder.write("ca.pem", &other.pem());
    bench.folder.put("ours", &other.sign_for(&["balancer"]));
    let backend = Secured::start(&bench.authority.sign_for(&["localhost"]), Some(&bench.authority));
    let (cert, key) = (bench.folder.file("ours.pem"), bench.folder.file("ours.key"));
    let keys = format!("ca: \"{ca}\", cert: \"{cert}\", key: \"{key}\"");
    let proxy = pool(&backend.url("localhost"), &keys).start();
    assert_eq!(state_after_a_probe(&proxy)["state"], "down");
    bench.folder.write("ca.pem", &bench.authority.pem());
    bench.put("ours", &["balancer"]);
    let mark = proxy.mark();
    proxy.signal(Signal::HUP);
    proxy.wait_for_message(mark, "reloaded");
    let start = evenkeel::internals::clock::now();
    while proxy.get("/").status() != 200 {
        assert!(
            start.elapsed() < crate::support::DEADLINE,
            "{}",
            state_after_a_probe(&proxy)
        );
    }
    assert_eq!(proxy.get("/").text(), "localhost true");
}

/// Health checks would detect it too, but later.
#[test]
fn idle_connections_verified_by_replaced_authorities_are_not_reused() {
    let bench = Bench::new();
    let ca = bench.folder.write("ca.pem", &bench.authority.pem());
    let backend = Secured::start(&bench.authority.sign_for(&["localhost"]), None);
    let url = backend.url("127.0.0.1");
    let proxy = Proxy::before(&[])
        .config(&format!(
            "workers: 1\npools:\n  p:\n    backends: [\"{url}\"]\n    tls: {{ ca: \"{ca}\", server_name: localhost }}\n\
             \x20   health_check: {{ kind: none }}\nroutes: [{{ pool: p }}]"
        ))
        .start();
    assert_eq!(proxy.get("/").status(), 200);
    for (authority, status) in [(&Authority::new(), 503), (&bench.authority, 200)] {
        bench.folder.write("ca.pem", &authority.pem());
        let mark = proxy.mark();
        proxy.signal(Signal::HUP);
        proxy.wait_for_message(mark, "reloaded");
        assert_eq!(proxy.get("/").status(), status);
    }
}
