//! The guard of a reload: whether the config before comes back, and what is said about it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Backend, Builder, Client, Gate, Proxy, Response, refusing_address};

/// Requests after a reload: enough to decide by.
const ENOUGH: usize = 30;

fn config(urls: &[&str]) -> Builder {
    let builder = Proxy::before(&[]).config("health_check: off\nejection: off\nworkers: 1");
    urls.iter().fold(builder, |builder, url| builder.backend(url))
}

fn failing() -> Backend {
    Backend::start(|_| Response::status(500, "bad"))
}

/// What `evenkeel ctl` prints, which must succeed.
fn ctl(proxy: &Proxy, words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["ctl", "--admin", &proxy.admin().to_string()])
        .args(words)
        .env_remove("EVENKEEL_TOKEN")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Sends requests over one connection.
fn send(proxy: &Proxy, count: usize) {
    let mut client = proxy.client();
    for _ in 0..count {
        client.get("/");
    }
}

fn config_status(proxy: &Proxy) -> Value {
    let status: Value = serde_json::from_slice(&proxy.get_admin("/api/v1/status").body).expect("JSON");
    status["process"]["config"].clone()
}

#[test]
fn errors_after_a_reload_bring_the_config_before_back() {
    let (good, bad) = (Backend::saying("good"), failing());
    let proxy = config(&[&good.url()]).start();
    send(&proxy, ENOUGH);
    let before = proxy.get_admin("/api/v1/config").text();
    proxy.write_config(&config(&[&bad.url()]).text());
    let mark = proxy.mark();
    let out = ctl(&proxy, &["reload", "--guard", "1h"]);
    assert!(out.starts_with("reloaded; guarded for 1h: "), "{out}");
    let status = config_status(&proxy);
    assert!(
        status["guarded_until"].is_string() && status["rolled_back"].is_null(),
        "{status}"
    );
    assert!(ctl(&proxy, &["status"]).contains("\nthe last reload is guarded until "));
    send(&proxy, ENOUGH);
    let line = proxy.wait_for_message(mark, "Reload rolled back");
    assert_eq!(line["level"], "ERROR", "{line}");
    let reason = line["reason"].as_str().unwrap();
    assert!(
        reason.contains(" of requests got a status of 5xx after the reload, 0% "),
        "{reason}"
    );
    assert_eq!(proxy.get("/").text(), "good");
    assert_eq!(proxy.get_admin("/api/v1/config").text(), before);
    let status = config_status(&proxy);
    let rolled_back = &status["rolled_back"];
    assert_eq!(
        (&rolled_back["reason"], &status["guarded_until"]),
        (&line["reason"], &Value::Null)
    );
    let added = format!("backend default {} added", bad.url());
    let changes = rolled_back["changes"].as_array().unwrap();
    assert!(changes.contains(&added.into()), "{rolled_back}");
    assert!(ctl(&proxy, &["status"]).contains(" was rolled back at "));
    let metrics = proxy.get_admin("/metrics").text();
    assert!(
        metrics.contains("\nevenkeel_reloads_rolled_back_total 1\n"),
        "{metrics}"
    );
    // The file is as it was: another reload tries it again, and one that succeeds clears the status.
    assert_eq!(ctl(&proxy, &["reload"]), "reloaded\n");
    assert_eq!(proxy.get("/").status(), 500);
    assert!(config_status(&proxy)["rolled_back"].is_null());
}

#[test]
fn connect_failures_that_retries_hide_bring_it_back_too() {
    let good = Backend::saying("good");
    let (refusing, _reserved) = refusing_address();
    let proxy = config(&[&good.url()]).start();
    send(&proxy, ENOUGH);
    proxy.write_config(&config(&[&good.url(), &format!("http://{refusing}")]).text());
    let mark = proxy.mark();
    ctl(&proxy, &["reload", "--guard", "1h"]);
    send(&proxy, 2 * ENOUGH);
    let line = proxy.wait_for_message(mark, "Reload rolled back");
    let reason = line["reason"].as_str().unwrap();
    assert!(
        reason.contains(" of attempts could not connect after the reload, 0% "),
        "{reason}"
    );
    let metrics = proxy.get_admin("/metrics").text();
    let failed = metrics
        .lines()
        .find_map(|line| line.strip_prefix("evenkeel_backend_connections_failed_total "));
    assert!(failed.is_some_and(|failed| failed != "0"), "{metrics}");
}

#[test]
fn a_config_that_works_stays_when_the_guard_ends() {
    let [one, other] = ["one", "other"].map(Backend::saying);
    let proxy = config(&[&one.url()]).start();
    send(&proxy, ENOUGH);
    proxy.write_config(&config(&[&other.url()]).text());
    let mark = proxy.mark();
    ctl(&proxy, &["reload", "--guard", "1s"]);
    send(&proxy, ENOUGH);
    proxy.wait_for_message(mark, "Guard has ended");
    assert_eq!(proxy.get("/").text(), "other");
    let status = config_status(&proxy);
    assert!(
        status["guarded_until"].is_null() && status["rolled_back"].is_null(),
        "{status}"
    );
}

#[test]
fn only_a_reload_that_changes_something_is_guarded() {
    let backend = Backend::saying("");
    let proxy = config(&[&backend.url()]).start();
    let out = ctl(&proxy, &["reload", "--guard", "30s"]);
    assert_eq!(
        out,
        "reloaded; not guarded, because there is nothing to roll back\n"
    );
    assert_eq!(ctl(&proxy, &["reload", "--guard", "off"]), "reloaded\n");
}

#[test]
fn a_guard_ends_when_an_operator_says_so_or_restores_the_config() {
    let [one, other] = ["one", "other"].map(Backend::saying);
    let proxy = config(&[&one.url()]).start();
    let is_guarded = || config_status(&proxy)["guarded_until"].is_string();
    proxy.write_config(&config(&[&other.url()]).text());
    ctl(&proxy, &["reload", "--guard", "1h"]);
    ctl(&proxy, &["reload"]);
    assert!(is_guarded(), "nothing has changed");
    ctl(&proxy, &["reload", "--guard", "off"]);
    assert!(!is_guarded());
    proxy.write_config(&config(&[&one.url()]).text());
    ctl(&proxy, &["reload", "--guard", "1h"]);
    assert!(is_guarded());
    proxy.write_config(&config(&[&other.url()]).text());
    let out = ctl(&proxy, &["reload", "--guard", "1h"]);
    assert_eq!(
        out,
        "reloaded; not guarded, because there is nothing to roll back\n"
    );
    assert!(!is_guarded());
}

#[test]
fn the_config_guards_every_reload_without_the_admin_api_too() {
    let (good, bad) = (Backend::saying("good"), failing());
    let config = |backend: &Backend| config(&[&backend.url()]).without_admin().config("guard: 1h");
    let proxy = config(&good).start();
    send(&proxy, ENOUGH);
    proxy.write_config(&config(&bad).text());
    for _ in 0..2 {
        let mark = proxy.mark();
        proxy.signal(Signal::HUP);
        proxy.wait_for_message(mark, "Reload is guarded");
        assert_eq!(proxy.get("/").status(), 500);
        send(&proxy, ENOUGH);
        proxy.wait_for_message(mark, "Reload rolled back");
        assert_eq!(proxy.get("/").text(), "good");
    }
}

#[test]
fn a_second_reload_during_a_guard_is_rolled_back_to_the_config_before_the_first() {
    let (good, bad) = (Backend::saying("good"), failing());
    let proxy = config(&[&good.url()]).start();
    send(&proxy, ENOUGH);
    proxy.write_config(&config(&[&good.url()]).config("timeouts: { drain: 7s }").text());
    ctl(&proxy, &["reload", "--guard", "1h"]);
    proxy.write_config(&config(&[&bad.url()]).config("timeouts: { drain: 7s }").text());
    let mark = proxy.mark();
    ctl(&proxy, &["reload", "--guard", "1h"]);
    send(&proxy, ENOUGH);
    proxy.wait_for_message(mark, "Reload rolled back");
    assert_eq!(proxy.get("/").text(), "good");
    let config = proxy.get_admin("/api/v1/config").text();
    assert!(config.contains("  drain: 30s\n"), "{config}");
}

#[test]
fn a_rollback_brings_a_removed_listener_back_while_its_connections_end() {
    let gate = Gate::default();
    let its = gate.clone();
    let good = Backend::start(move |request| match request.start() {
        "GET /slow" => Response::ok("done").after(&its),
        _ => Response::ok("good"),
    });
    let bad = failing();
    // No other test listens on this address.
    let address: SocketAddr = TcpListener::bind("127.0.0.4:0").unwrap().local_addr().unwrap();
    let listeners = format!("listeners: [{{ address: '{address}' }}]");
    let proxy = config(&[&good.url()]).config(&listeners).start();
    send(&proxy, ENOUGH);
    let mut slow = Client::connect(address);
    slow.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    good.wait_for_requests(ENOUGH + 1);
    proxy.write_config(&config(&[&bad.url()]).text());
    let mark = proxy.mark();
    ctl(&proxy, &["reload", "--guard", "1h"]);
    assert!(TcpStream::connect(address).is_err(), "it was removed");
    send(&proxy, ENOUGH);
    proxy.wait_for_message(mark, "Reload rolled back");
    let mut client = Client::connect(address);
    for _ in 0..2 {
        let response = client.get("/");
        assert_eq!(response.text(), "good");
        assert_eq!(response.field("connection"), None, "it stays open");
    }
    gate.open();
    let response = slow.read();
    assert_eq!(response.text(), "done");
    assert_eq!(response.field("connection"), Some("close"), "of the old listener");
    let changes = &config_status(&proxy)["rolled_back"]["changes"];
    let removed = format!("listener {address} removed");
    assert!(changes.as_array().unwrap().contains(&removed.into()), "{changes}");
    // It can be removed again.
    ctl(&proxy, &["reload", "--guard", "off"]);
    assert!(TcpStream::connect(address).is_err());
}
