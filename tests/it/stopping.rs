//! Readiness, reload and stop.

use rustix::process::Signal;

use crate::support::http2::Http2;
use crate::support::{Backend, Bare, Gate, Proxy, Response};

#[test]
fn the_admin_api_reports_live_and_ready() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend]).start();
    assert_eq!(proxy.get_admin("/livez").status(), 200);
    assert_eq!(proxy.get_admin("/readyz").status(), 200);
}

#[test]
fn it_runs_without_its_admin_api() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend]).without_admin().start();
    assert_eq!(proxy.get("/").status(), 200);
}

#[test]
fn a_stop_lets_running_requests_finish_and_refuses_new_connections() {
    let gate = Gate::default();
    let its = gate.clone();
    let backend = Backend::start(move |request| match request.start() {
        "GET /slow" => Response::ok("done").after(&its),
        _ => Response::ok(""),
    });
    let proxy = Proxy::before(&[&backend]).start();
    let mut client = proxy.client();
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    backend.wait_for_request(|request| request.start() == "GET /slow");
    let mark = proxy.mark();
    proxy.signal(Signal::TERM);
    proxy.wait_for_message(mark, "stopping");
    proxy.wait_until_refused();
    gate.open();
    let received = client.read();
    assert_eq!(received.text(), "done");
    assert_eq!(received.field("connection"), Some("close"));
    assert!(proxy.wait().success());
}

#[test]
fn a_second_signal_ends_at_once() {
    let gate = Gate::default();
    let its = gate.clone();
    let backend = Backend::start(move |_| Response::ok("").after(&its));
    let proxy = Proxy::before(&[&backend])
        .config("health_check: { kind: none }")
        .start();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    backend.wait_for_request(|_| true);
    let mark = proxy.mark();
    proxy.signal(Signal::INT);
    proxy.wait_for_message(mark, "stopping");
    proxy.signal(Signal::INT);
    proxy.wait();
    gate.open();
}

/// Every request gets a line: one that waits, one whose response is being sent, a tunnel and a stream.
#[test]
fn requests_that_a_stop_ends_are_in_the_log() {
    let switch = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let asked = |path: &str, lines: &str| format!("GET {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n");
    for (config, signals) in [("timeouts: { drain: 300ms }", 1), ("", 2)] {
        let backend = Bare::start();
        let proxy = Proxy::before(&[])
            .backend(&backend.url())
            .config("health_check: { kind: none }")
            .config(config)
            .start();
        let mut held = Vec::new();
        let mut ask = |path, lines, response: &str| {
            let mut client = proxy.client();
            client.send(asked(path, lines));
            let mut its = backend.accept();
            its.head();
            its.send(response);
            held.push(its);
            client
        };
        let waiting = ask("/waiting", "", "");
        let mut begun = ask("/begun", "", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegun");
        begun.read_until(|bytes| bytes.ends_with(b"begun"));
        let websocket =
            format!("{switch}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
        let mut tunnel = ask(
            "/tunnel",
            &websocket,
            &format!(
                "HTTP/1.1 101 Switching Protocols\r\n{switch}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            ),
        );
        assert_eq!(tunnel.read().status(), 101);
        let http2 = Http2::connect(proxy.address());
        let stream = http2.send("GET", "/stream", true);
        let its = backend.accept();
        let mark = proxy.mark();
        for _ in 0..signals {
            proxy.signal(Signal::TERM);
            proxy.wait_for_message(mark, "stopping");
        }
        assert!(proxy.wait().success());
        let lines = proxy.access_lines(4);
        for (path, status) in [
            ("/waiting", 503),
            ("/begun", 200),
            ("/tunnel", 101),
            ("/stream", 503),
        ] {
            let line = lines.iter().find(|line| line["path"] == path).unwrap();
            let seen = (line["status"].as_u64(), line["error"].as_str());
            assert_eq!(seen, (Some(status), Some("stopped")), "{line}");
        }
        drop((waiting, tunnel, stream, its));
    }
}

#[test]
fn a_reload_activates_a_valid_config_and_ignores_an_invalid_one() {
    let (old, new) = (Backend::saying("old"), Backend::saying("new"));
    let proxy = Proxy::before(&[&old]).start();
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "old");
    let mark = proxy.mark();
    proxy.write_config("backends: 7");
    proxy.signal(Signal::HUP);
    proxy.wait_for_message(mark, "reload failed");
    assert_eq!(client.get("/").text(), "old");
    let mark = proxy.mark();
    proxy.write_config(&Proxy::before(&[&new]).text());
    proxy.signal(Signal::HUP);
    proxy.wait_for_message(mark, "reloaded");
    assert_eq!(client.get("/").text(), "new");
}
