//! What a reload keeps, how it yields to requests, and what it reports.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Backend, Bare, Builder, Client, Gate, Proxy, Response, wait_until};

fn reload(proxy: &Proxy) -> Value {
    let mark = proxy.mark();
    proxy.signal(Signal::HUP);
    proxy.wait_for_message(mark, "reloaded")
}

/// The admin API's response to a reload.
fn reload_by_api(proxy: &Proxy) -> Value {
    let admin = proxy.admin();
    let mut client = Client::connect(admin);
    client.send(format!("POST /api/v1/reload HTTP/1.1\r\nHost: {admin}\r\n\r\n"));
    serde_json::from_slice(&client.read().body).expect("JSON")
}

#[test]
fn a_reload_ignores_nothing_and_the_active_config_is_shown() {
    let backend = Backend::saying("");
    let before = || Proxy::before(&[&backend]).listener("client_half_close: abort");
    let proxy = before().config("workers: 1").start();
    let other = Proxy::before(&[&backend]).listener("client_half_close: serve");
    let other = other.config("workers: 2\naccess_log: { query: true }\ntimeouts: { drain: 7s }");
    proxy.write_config(&other.text());
    let told = reload_by_api(&proxy);
    assert_eq!(told, serde_json::json!({ "reloaded": true }));
    let config = proxy.get_admin("/api/v1/config").text();
    for line in [
        "workers: 2\n",
        "client_half_close: serve\n",
        "query: true\n",
        "drain: 7s\n",
    ] {
        assert!(config.contains(line), "{line} {config}");
    }
    let status: Value = serde_json::from_slice(&proxy.get_admin("/api/v1/status").body).expect("JSON");
    let process = &status["process"];
    assert_eq!(process["config"]["last_reload"]["errors"], serde_json::json!([]));
    assert_eq!(process["workers"], 2);
    let line = proxy.wait_for_message(0, "reloaded");
    let changed = line["settings_changed"].as_str().unwrap();
    assert!(changed.starts_with("workers, "), "{changed}");
}

#[test]
fn a_reload_reports_what_has_changed_and_how_long_it_took() {
    let pools = |text: &str| Proxy::before(&[]).config(text).text();
    let first = "pools:\n  a: { backends: [http://127.0.0.1:1, http://127.0.0.1:2] }\n  b: { backends: [http://127.0.0.1:3] }\n\
                 routes:\n  - { path_prefix: /b, pool: b }\n  - { pool: a }";
    let second = "pools:\n  a: { backends: [{ url: http://127.0.0.1:1, weight: 2 }, http://127.0.0.1:4] }\n  c: { backends: [http://127.0.0.1:3] }\n\
                  routes:\n  - { path_prefix: /b, pool: c }\n  - { path_prefix: /c, pool: c }\n  - { pool: a }\ntimeouts: { drain: 7s }";
    let proxy = Proxy::before(&[]).config(first).start();
    let same = reload(&proxy);
    assert_eq!(same["changes"], 0, "{same}");
    assert!(same["took_ms"].as_f64().is_some_and(|took| took > 0.0), "{same}");
    proxy.write_config(&pools(second));
    let line = reload(&proxy);
    let wanted = [
        ("pools_added", "c"),
        ("pools_removed", "b"),
        ("backends_added", "a http://127.0.0.1:4, c http://127.0.0.1:3"),
        ("backends_removed", "a http://127.0.0.1:2, b http://127.0.0.1:3"),
        ("backends_changed", "a http://127.0.0.1:1"),
        ("routes_added", "*/c"),
        ("routes_changed", "*/b"),
        ("settings_changed", "timeouts"),
    ];
    for (key, value) in wanted {
        assert_eq!(line[key], value, "{key} {line}");
    }
    assert!(
        line.get("pools_changed").is_none() && line.get("routes_removed").is_none(),
        "{line}"
    );
    assert_eq!(line["changes"], 10, "{line}");
}

#[test]
fn a_longer_drain_timeout_is_active_after_a_reload() {
    let gate = Gate::default();
    let its = gate.clone();
    let backend = Backend::start(move |_| Response::ok("long").after(&its));
    let config = |drain: &str| {
        let proxy = Proxy::before(&[&backend]);
        proxy.config(&format!(
            "timeouts: {{ drain: {drain} }}\nhealth_check: {{ kind: none }}"
        ))
    };
    let proxy = config("100ms").start();
    proxy.write_config(&config("20s").text());
    reload(&proxy);
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: test\r\n\r\n");
    backend.wait_for_requests(1);
    proxy.signal(Signal::TERM);
    assert!(client.is_silent_for(std::time::Duration::from_millis(500)));
    gate.open();
    assert_eq!(client.read().text(), "long");
}

/// The nice value of each thread of a process, by thread name.
fn niceness(proxy: &Proxy) -> Vec<(String, i32)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", proxy.pid().as_raw_pid())).unwrap();
    let one = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap();
        let (_, named) = stat.split_once('(').unwrap();
        let (name, rest) = named.rsplit_once(')').unwrap();
        // The 19th field of proc(5); the second is the name.
        let nice = rest.split_whitespace().nth(16).unwrap();
        (name.to_owned(), nice.parse().unwrap())
    };
    tasks.map(|task| one(task.unwrap())).collect()
}

#[test]
fn loading_a_config_yields_to_requests() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend]).start();
    let before = niceness(&proxy);
    reload(&proxy);
    let after = niceness(&proxy);
    let main = before[0].1;
    let reading = after.iter().find(|(name, _)| name == "reload").unwrap();
    assert!(reading.1 > main, "{after:?}");
    for (name, nice) in after.iter().filter(|(name, _)| name != "reload") {
        assert_eq!(*nice, main, "{name}");
    }
}

/// A backend by name, with nothing else that would resolve the name before the first request.
fn by_name(port: u16) -> Builder {
    let url = format!("http://localhost:{port}");
    Proxy::before(&[])
        .backend(&url)
        .config("health_check: { kind: none }\nretry: { attempts: 1 }")
}

#[test]
fn the_first_request_to_a_name_succeeds_after_a_start_and_after_a_reload() {
    let [one, other] = [Backend::saying("one"), Backend::saying("other")];
    let proxy = by_name(one.address().port()).start();
    assert_eq!(proxy.get("/").text(), "one");
    proxy.write_config(&by_name(other.address().port()).text());
    reload(&proxy);
    assert_eq!(proxy.get("/").text(), "other");
}

#[test]
fn idle_connections_to_a_removed_backend_are_closed_while_its_request_continues() {
    let (left, stays) = (Bare::start(), Backend::saying(""));
    let config = |url: &str| {
        Proxy::before(&[])
            .backend(url)
            .config("health_check: { kind: none }")
    };
    let proxy = config(&left.url()).start();
    let mut clients = [proxy.client(), proxy.client()];
    let [mut running, mut idle] = clients.each_mut().map(|client| {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        left.accept()
    });
    // Its response has begun: before that, the backend may be one that serves one connection at a time.
    running.head();
    running.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlo");
    idle.head();
    idle.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(clients[1].read().status(), 204);
    let is_spare = || {
        let metrics = proxy.get_admin("/metrics").text();
        let mut lines = metrics.lines();
        lines
            .any(|line| line.starts_with("evenkeel_backend_connections_shared_idle{") && line.ends_with(" 1"))
    };
    wait_until("it is spare", is_spare);
    proxy.write_config(&config(&stays.url()).text());
    reload(&proxy);
    assert_eq!(idle.wait_for_end(), "");
    running.send("ng");
    assert_eq!(clients[0].read().text(), "long");
}
