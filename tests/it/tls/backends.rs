//! TLS towards backends.

use rustix::process::Signal;
use serde_json::Value;

use super::Bench;
use crate::support::authority::{Authority, wanted};
use crate::support::tls::Secured;
use crate::support::{Builder, Proxy};

/// A balancer with a pool of this URL and these keys of `tls`.
fn pool(url: &str, keys: &str) -> Builder {
    Proxy::before(&[]).config(&format!(
        "pools:\n  p:\n    backends: [\"{url}\"]\n    tls: {{ {keys} }}\n\
         \x20   health_check: {{ interval: 1s, unhealthy_after: 1, healthy_after: 1 }}\nroutes: [{{ pool: p }}]"
    ))
}

/// The state of the one backend, when a check has ended.
fn checked(proxy: &Proxy) -> Value {
    let start = evenkeel::clock::now();
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
fn a_backend_is_believed_by_its_authority_and_its_name() {
    let bench = Bench::new();
    let ca = bench.folder.write("ca.pem", &bench.authority.pem());
    let backend = Secured::start(&bench.authority.sign_for(&["localhost"]), None);
    let proxy = pool(&backend.url("localhost"), &format!("ca: \"{ca}\"")).start();
    assert_eq!(checked(&proxy)["state"], "up");
    assert_eq!(proxy.get("/").text(), "localhost false");
    let internal = Secured::start(&bench.authority.sign_for(&["api.internal"]), None);
    let keys = format!("ca: \"{ca}\", server_name: api.internal");
    let proxy = pool(&internal.url("127.0.0.1"), &keys).start();
    assert_eq!(proxy.get("/").text(), "api.internal false");
}

#[test]
fn one_that_is_not_believed_is_down_and_says_why() {
    let bench = Bench::new();
    let ca = bench.folder.write("ca.pem", &bench.authority.pem());
    let ca = format!("ca: \"{ca}\"");
    for (pair, why) in [
        (Authority::new().sign_for(&["localhost"]), "UnknownIssuer"),
        (bench.authority.sign_for(&["other.test"]), "not valid for name"),
        (
            bench.authority.sign(&wanted(&["localhost"]).days(-2, -1)),
            "expired",
        ),
        (wanted(&["localhost"]).authority().alone(), ""),
    ] {
        let backend = Secured::start(&pair, None);
        let proxy = pool(&backend.url("localhost"), &ca).start();
        let state = checked(&proxy);
        assert_eq!(proxy.get("/").status(), 503, "{why}");
        let told = state["why"].as_str().unwrap_or_default();
        assert!(
            state["state"] == "down" && told.contains("TLS handshake failed") && told.contains(why),
            "{state}"
        );
        let skipping = pool(&backend.url("localhost"), "danger_skip_verify: true").start();
        assert_eq!(checked(&skipping)["state"], "up");
        assert_eq!(skipping.get("/").status(), 200, "{why}");
    }
}

#[test]
fn a_certificate_that_has_signed_itself_is_believed_when_it_is_the_file() {
    let bench = Bench::new();
    let pair = wanted(&["localhost"]).authority().alone();
    let ca = bench.folder.write("self.pem", &pair.cert);
    let backend = Secured::start(&pair, None);
    let proxy = pool(&backend.url("localhost"), &format!("ca: \"{ca}\"")).start();
    assert_eq!(checked(&proxy)["state"], "up");
    assert_eq!(proxy.get("/").text(), "localhost false");
}

#[test]
fn backends_are_shown_our_certificate_and_it_is_in_the_status() {
    let bench = Bench::new();
    let ca = bench.folder.write("ca.pem", &bench.authority.pem());
    bench.put("ours", &["balancer"]);
    let backend = Secured::start(&bench.authority.sign_for(&["localhost"]), Some(&bench.authority));
    let (cert, key) = (bench.folder.file("ours.pem"), bench.folder.file("ours.key"));
    let keys = format!("ca: \"{ca}\", cert: \"{cert}\", key: \"{key}\"");
    let proxy = pool(&backend.url("localhost"), &keys).start();
    assert_eq!(checked(&proxy)["state"], "up");
    assert_eq!(proxy.get("/").text(), "localhost true");
    let status: Value = serde_json::from_slice(&proxy.get_admin("/api/v1/status").body).unwrap();
    assert_eq!(status["certificates"][0]["shown_by"][0], "pool p");
    let without = pool(&backend.url("localhost"), &format!("ca: \"{ca}\"")).start();
    // In TLS 1.3 a client hears of it only after its handshake, so that it counts as a reset.
    assert_eq!(checked(&without)["state"], "down");
    assert!(matches!(without.get("/").status(), 502 | 503));
}

#[test]
fn other_authorities_and_another_certificate_are_in_force_after_a_reload() {
    let bench = Bench::new();
    let other = Authority::new();
    let ca = bench.folder.write("ca.pem", &other.pem());
    bench.folder.put("ours", &other.sign_for(&["balancer"]));
    let backend = Secured::start(&bench.authority.sign_for(&["localhost"]), Some(&bench.authority));
    let (cert, key) = (bench.folder.file("ours.pem"), bench.folder.file("ours.key"));
    let keys = format!("ca: \"{ca}\", cert: \"{cert}\", key: \"{key}\"");
    let proxy = pool(&backend.url("localhost"), &keys).start();
    assert_eq!(checked(&proxy)["state"], "down");
    bench.folder.write("ca.pem", &bench.authority.pem());
    bench.put("ours", &["balancer"]);
    let mark = proxy.mark();
    proxy.signal(Signal::HUP);
    proxy.wait_for_message(mark, "reloaded");
    let start = evenkeel::clock::now();
    while proxy.get("/").status() != 200 {
        assert!(start.elapsed() < crate::support::DEADLINE, "{}", checked(&proxy));
    }
    assert_eq!(proxy.get("/").text(), "localhost true");
}

/// Health checks would find out too, some time later.
#[test]
fn idle_connections_made_for_other_authorities_are_not_used_after_a_reload() {
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
