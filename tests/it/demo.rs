//! `evenkeel demo` does what it prints.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;

use rustix::process::Signal;

use crate::support::metrics::metric;
use crate::support::{Client, DEADLINE, Proxy};

fn demo() -> Proxy {
    demo_with(&["--traffic", "0"])
}

fn demo_with(options: &[&str]) -> Proxy {
    let free = [
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--backend-port",
        "0",
    ];
    let words = [&[env!("CARGO_BIN_EXE_evenkeel"), "demo"][..], &free, options].concat();
    Proxy::before(&[]).program(&words).start()
}

/// Sends requests for `path`; returns how many each backend served, by its name.
fn counts(proxy: &Proxy, path: &str, requests: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..requests {
        let received = proxy.get(path);
        assert_eq!(received.status(), 200, "{}", received.text());
        *counts.entry(received.text()).or_default() += 1;
    }
    counts
}

fn address_in(line: &str, before: &str, after: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(before)?;
    rest.split_once(after)?.0.parse().ok()
}

/// Toggles the demo's switch.
fn turn(proxy: &Proxy, path: &str) {
    let switch = proxy.wait_for_stderr(|line| address_in(line, "curl http://", "/stop "));
    let received = Client::connect(switch).get(path);
    assert_eq!(received.status(), 200, "{}", received.text());
}

#[test]
fn demo_spreads_requests_over_three_backends() {
    let proxy = demo();
    let told = proxy.wait_for_stderr(|line| address_in(line, "The load balancer is at  http://", "/"));
    assert_eq!(told, proxy.address());
    let counts = counts(&proxy, "/", 9);
    assert_eq!(counts.values().collect::<Vec<_>>(), [&3, &3, &3], "{counts:?}");
}

#[test]
fn demo_retries_without_a_client_error() {
    let proxy = demo();
    let three = proxy.wait_for_stderr(|line| {
        let url = line.trim().strip_prefix("backend three")?.trim_start();
        address_in(url, "http://", "/")
    });
    assert_eq!(Client::connect(three).get("/503").status(), 503);
    assert_eq!(counts(&proxy, "/503", 3).len(), 2);
    let line = proxy.wait_for_line(|line| line["path"] == "/503" && line["attempts"] == 2);
    assert_eq!(line["status"], 200);
    assert!(line["retries"].to_string().contains(&three.to_string()), "{line}");
}

#[test]
fn demo_stops_using_a_stopped_backend_and_takes_it_back() {
    let proxy = demo();
    assert_eq!(counts(&proxy, "/", 3).len(), 3);
    let mark = proxy.mark();
    turn(&proxy, "/stop");
    assert_eq!(counts(&proxy, "/", 6).len(), 2);
    proxy.wait_for_message(mark, "Backend is down");
    turn(&proxy, "/start");
    let start = evenkeel::internals::clock::now();
    while counts(&proxy, "/", 3).len() < 3 {
        assert!(start.elapsed() < DEADLINE, "it does not come back");
    }
}

#[test]
fn demo_ends_cleanly_with_ctrl_c() {
    for options in [&["--traffic", "0"][..], &[]] {
        let proxy = demo_with(options);
        proxy.signal(Signal::INT);
        assert!(proxy.wait().success());
    }
}

#[test]
fn outages_of_the_demo_are_logged_and_no_client_gets_an_error() {
    let proxy = demo_with(&["--traffic", "100/s", "--outages", "12"]);
    let three = proxy.wait_for_stderr(|line| {
        let url = line.trim().strip_prefix("backend three")?.trim_start();
        Some(url.trim_end_matches('/').to_owned())
    });
    for message in [
        "Demo: backend three refuses connections",
        "Backend is down",
        "Demo: backend three accepts connections again",
        "Backend is ejected",
        "Backend is back",
        "Demo: backend three responds with 503",
        "Demo: backend three responds as usual again",
    ] {
        let line = proxy.wait_for_message(0, message);
        if message.starts_with("Backend") {
            assert_eq!(line["backend"], three, "{line}");
        }
    }
    assert!(metric(&proxy, "evenkeel_retries_total") > 0.0);
    let completed = |class: &str| metric(&proxy, &format!("evenkeel_requests_total{{class=\"{class}\""));
    assert!(completed("2xx") > 100.0, "{}", completed("2xx"));
    assert_eq!((completed("4xx"), completed("5xx")), (0.0, 0.0));
    // Requests of its own are not logged.
    assert_eq!(proxy.count_so_far(|line| line["msg"] == "Request completed"), 0);
}

#[test]
fn the_banner_precedes_every_log_line() {
    let words = "exec \"$0\" demo --listen 127.0.0.1:0 --admin 127.0.0.1:0 --backend-port 0 2>&1";
    let mut child = std::process::Command::new("sh")
        .args(["-c", words, env!("CARGO_BIN_EXE_evenkeel")])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let is_of_log = |line: &String| line.starts_with('{');
    // Ends at the first log line, which always comes, or when the process exits.
    let banner: Vec<String> = lines
        .by_ref()
        .map_while(Result::ok)
        .take_while(|line| !is_of_log(line))
        .collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        banner.iter().any(|line| line.contains("Press Ctrl-C to stop.")),
        "{banner:?}"
    );
}
