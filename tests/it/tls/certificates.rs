//! Replacement and expiry of certificates.

use rustix::process::Signal;
use serde_json::Value;

use super::Bench;
use crate::support::tls::{Tls, der};
use crate::support::{Backend, Proxy, Response};

/// The certificate that a new client gets.
fn shown(bench: &Bench, proxy: &Proxy) -> Vec<u8> {
    bench.client().connect(proxy.address(), "a.test").shown().to_vec()
}

fn reload(proxy: &Proxy, expected: &str) -> Value {
    let mark = proxy.mark();
    proxy.signal(Signal::HUP);
    proxy.wait_for_message(mark, expected)
}

#[test]
fn a_replaced_certificate_is_used_after_a_reload_and_connections_continue() {
    let bench = Bench::new();
    bench.put("a", &["a.test"]);
    let backend = Backend::saying("");
    let proxy = bench.before(&backend, &["a"]).start();
    let mut open = bench.client().connect(proxy.address(), "a.test");
    let new = bench.put("a", &["a.test"]);
    reload(&proxy, "reloaded");
    assert_eq!(shown(&bench, &proxy), der(&new.cert).to_vec());
    assert_eq!(open.get("a.test", "/").status, 200);
}

#[test]
fn adding_certificates_requires_a_reload_and_no_restart() {
    let bench = Bench::new();
    bench.put("a", &["a.test"]);
    let b = bench.put("b", &["b.test"]);
    let backend = Backend::saying("");
    let proxy = bench.before(&backend, &["a"]).start();
    proxy.write_config(&bench.before(&backend, &["a", "b"]).text());
    reload(&proxy, "reloaded");
    let connection = bench.client().connect(proxy.address(), "b.test");
    assert_eq!(connection.shown(), der(&b.cert));
}

#[test]
fn a_rollback_brings_the_certificates_before_back() {
    let bench = Bench::new();
    let [a, b] = ["a", "b"].map(|name| bench.put(name, &["a.test"]));
    let (good, bad) = (Backend::saying(""), Backend::start(|_| Response::status(500, "")));
    let config = |backend: &Backend, name: &str| {
        let builder = bench.before(backend, &[name]);
        builder.config("guard: 1h\nhealth_check: off\nejection: off")
    };
    let proxy = config(&good, "a").start();
    proxy.write_config(&config(&bad, "b").text());
    let mark = proxy.mark();
    reload(&proxy, "reload is guarded");
    assert_eq!(shown(&bench, &proxy), der(&b.cert).to_vec());
    let mut client = bench.client().connect(proxy.address(), "a.test");
    for _ in 0..30 {
        // The last ones may come after the rollback.
        client.get("a.test", "/");
    }
    proxy.wait_for_message(mark, "Reload rolled back");
    assert_eq!(shown(&bench, &proxy), der(&a.cert).to_vec());
}

#[test]
fn a_replaced_certificate_is_loaded_once_its_key_matches() {
    let bench = Bench::new();
    let old = bench.put("a", &["a.test"]);
    let backend = Backend::saying("");
    let proxy = bench.before(&backend, &["a"]).start();
    let new = bench.authority.sign_for(&["a.test"]);
    let mark = proxy.mark();
    bench.folder.write("a.pem", &new.cert);
    let line = proxy.wait_for_message(mark, "could not load new certificates; still using the old ones");
    assert!(line["error"].as_str().unwrap().contains("a.key"), "{line}");
    assert_eq!(line["level"], "WARN");
    assert_eq!(shown(&bench, &proxy), der(&old.cert).to_vec());
    let failed = reload(&proxy, "reload failed");
    assert!(failed["error"].as_str().unwrap().contains("a.key"), "{failed}");
    assert_eq!(shown(&bench, &proxy), der(&old.cert).to_vec());
    bench.folder.write("a.key", &new.key);
    proxy.wait_for_message(mark, "new certificates loaded");
    assert_eq!(shown(&bench, &proxy), der(&new.cert).to_vec());
    let complaints = proxy.count_so_far(|line| {
        let message = line["msg"].as_str().unwrap_or_default();
        message.contains("Could not load new certificates")
    });
    assert_eq!(complaints, 1);
}

#[test]
fn tickets_are_valid_at_every_worker_and_after_a_replacement() {
    let bench = Bench::new();
    bench.put("a", &["a.test"]);
    let backend = Backend::saying("");
    let proxy = bench.before(&backend, &["a"]).config("workers: 4").start();
    let client = bench.client();
    let mut held = Vec::new();
    for round in 0..12 {
        if round == 6 {
            bench.put("a", &["a.test"]);
            reload(&proxy, "reloaded");
        }
        // Open connections make the next one go to another worker.
        let mut connection = client.connect(proxy.address(), "a.test");
        assert_eq!(connection.is_resumed(), round > 0, "{round}");
        connection.get("a.test", "/");
        held.push(connection);
    }
}

#[test]
fn status_and_metrics_show_when_certificates_expire() {
    let bench = Bench::new();
    bench.put_ending("long", 60);
    bench.put_ending("short", 3);
    bench.put_ending("over", -2);
    let backend = Backend::saying("");
    let proxy = bench.before(&backend, &["long", "short", "over"]).start();
    let status: Value = serde_json::from_slice(&proxy.get_admin("/api/v1/status").body).unwrap();
    let all = status["certificates"].as_array().unwrap();
    let seen: Vec<_> = all
        .iter()
        .map(|one| {
            (
                one["days_left"].as_u64().unwrap(),
                one["expired"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(seen, [(59, false), (2, false), (0, true)]);
    assert_eq!(all[1]["names"][0], "a.test");
    assert_eq!(all[1]["cert"], bench.folder.file("short.pem"));
    assert_eq!(all[1]["shown_by"][0], format!("listener {}", proxy.address()));
    assert!(all[1]["expires"].as_str().unwrap().ends_with('Z'));
    let metrics = proxy.get_admin("/metrics").text();
    let file = bench.folder.file("short.pem");
    let metric = format!("evenkeel_certificate_expiry_timestamp_seconds{{file=\"{file}\"}} ");
    assert!(metrics.contains(&metric), "{metrics}");
    let line = proxy.wait_for_message(0, "certificate expires soon");
    assert_eq!((&line["file"], &line["days_left"]), (&file.into(), &2.into()));
    let line = proxy.wait_for_message(0, "certificate has expired");
    assert_eq!(line["file"], bench.folder.file("over.pem"));
    assert!(
        proxy
            .messages()
            .iter()
            .any(|line| line.contains("warning: the certificate in"))
    );
}

#[test]
fn a_process_starts_and_reloads_with_an_expired_certificate() {
    let bench = Bench::new();
    bench.put_ending("a", -2);
    let backend = Backend::saying("");
    let proxy = bench.before(&backend, &["a"]).start();
    let error = bench
        .client()
        .try_connect(proxy.address(), "a.test")
        .err()
        .unwrap();
    assert!(error.to_string().contains("expired"), "{error}");
    reload(&proxy, "reloaded");
    bench.put("a", &["a.test"]);
    reload(&proxy, "reloaded");
    let client = Tls::trusting(&bench.authority);
    assert_eq!(client.get(proxy.address(), "a.test", "a.test").status, 200);
}
