//! Reloads that change the number of workers.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use h2::client::ResponseFuture;
use rustix::process::Signal;
use serde_json::json;

use crate::support::http2::Http2;
use crate::support::metrics::{Metrics, metric};
use crate::support::reload::{EndOfLoad, reload, reloaded, websocket};
use crate::support::{Backend, Bare, Builder, Client, Gate, Held, Proxy, Response, wait_until};

const QUIET: &str = "health_check: { kind: none }";

/// The number of threads of workers.
fn worker_threads(proxy: &Proxy) -> usize {
    let tasks = fs::read_dir(format!("/proc/{}/task", proxy.pid().as_raw_pid())).unwrap();
    // A thread may end meanwhile.
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    let names = tasks.map(|task| name(task.unwrap()));
    names.filter(|name| name.starts_with("worker-")).count()
}

fn descriptors(proxy: &Proxy) -> usize {
    let path = format!("/proc/{}/fd", proxy.pid().as_raw_pid());
    fs::read_dir(path).unwrap().count()
}

/// Waits until this many workers have threads.
fn wait_for_threads(proxy: &Proxy, count: usize) {
    wait_until("that many threads", || worker_threads(proxy) == count);
}

/// The counters of the metrics, with their labels, that must never go backwards.
fn counters(proxy: &Proxy) -> BTreeMap<String, f64> {
    let is_counter = |name: &str| {
        let name = name.split('{').next().unwrap_or_default();
        ["_total", "_count", "_sum", "_bucket"]
            .iter()
            .any(|end| name.ends_with(end))
    };
    let metrics = Metrics::of(proxy);
    let counters = metrics
        .samples()
        .iter()
        .filter(|sample| is_counter(&sample.series));
    counters
        .map(|sample| (sample.series.clone(), sample.value))
        .collect()
}

/// Fails if a counter is less than before.
fn assert_grown(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) {
    for (name, value) in before {
        let now = after.get(name);
        assert!(
            now.is_some_and(|now| now >= value),
            "{name} was {value} and is {now:?}"
        );
    }
}

/// Bytes pass both ways.
fn passes((client, held): &mut (Client, Held)) {
    client.send("ping");
    assert_eq!(held.read(4), "ping");
    held.send("pong");
    assert_eq!(client.read_until(|bytes| bytes.len() == 4), b"pong");
}

/// Asks until it is over, on new connections or on one that stays as long as the balancer lets it.
fn load(proxy: &Proxy, is_kept_alive: bool, is_over: &AtomicBool, served: &AtomicUsize) {
    let mut client = proxy.client();
    while !is_over.load(Ordering::Relaxed) {
        let response = client.get("/load");
        assert_eq!(response.text(), "here");
        served.fetch_add(1, Ordering::Relaxed);
        if !is_kept_alive || response.field("connection") == Some("close") {
            client = proxy.client();
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Backends for requests and for WebSockets, and the config.
fn config(backend: &Backend, sockets: &Bare, workers: usize, more: &str) -> Builder {
    Proxy::before(&[]).config(&format!(
        "{QUIET}\nworkers: {workers}\npools: {{ web: {{ backends: ['{}'] }}, sockets: {{ backends: ['{}'] }} }}\n\
         routes: [{{ path_prefix: /socket, pool: sockets }}, {{ pool: web }}]\n{more}",
        backend.url(),
        sockets.url()
    ))
}

/// Opens four HTTP/2 connections, each with a request that waits for its response; the backend has had `before` of these.
fn held_streams(proxy: &Proxy, backend: &Backend, before: usize) -> Vec<(Http2, ResponseFuture)> {
    let open = |number| {
        let client = Http2::connect(proxy.address());
        let (stream, _) = client.send("GET", "/held", true);
        client.run_beside(|| {
            backend.wait_for_requests_where(before + number, |request| request.start() == "GET /held");
        });
        (client, stream)
    };
    (1..=4).map(open).collect()
}

#[test]
fn workers_come_and_go_under_load_without_a_failed_request() {
    let gate = Gate::default();
    let its = gate.clone();
    let backend = Backend::start(move |request| match request.start() {
        "GET /held" => Response::ok("held").after(&its),
        _ => Response::ok("here"),
    });
    let sockets = Bare::start();
    let config = |workers| config(&backend, &sockets, workers, "");
    let proxy = config(1).start();
    // Has the thread of reloads started.
    reloaded(&proxy, &config(1));
    assert_eq!(worker_threads(&proxy), 1);
    let (is_over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let before = descriptors(&proxy);
    thread::scope(|scope| {
        let end = EndOfLoad(&is_over);
        let loads = [true, true, false].map(|is_kept_alive| {
            let (proxy, is_over, served) = (&proxy, &is_over, &served);
            scope.spawn(move || load(proxy, is_kept_alive, is_over, served))
        });
        let mut known = counters(&proxy);
        let mut check = || {
            let now = counters(&proxy);
            assert_grown(&known, &now);
            known = now;
        };
        for round in 0..4 {
            let mut open = Vec::new();
            reloaded(&proxy, &config(4));
            assert_eq!(worker_threads(&proxy), 4);
            check();
            for _ in 0..8 {
                open.push(websocket(proxy.address(), &sockets, "/socket"));
            }
            let streams = held_streams(&proxy, &backend, 4 * round);
            for workers in [2, 1] {
                reloaded(&proxy, &config(workers));
                open.iter_mut().for_each(passes);
                check();
            }
            assert!(
                worker_threads(&proxy) > 1,
                "some connections are on workers that end"
            );
            gate.open();
            for (client, stream) in streams {
                assert_eq!(client.read(stream).unwrap().text(), "held");
            }
            drop(open);
            wait_for_threads(&proxy, 1);
            check();
        }
        drop(end);
        for load in loads {
            load.join().expect("no request failed");
        }
        check();
    });
    assert!(served.load(Ordering::Relaxed) > 100);
    // Idle connections to the backends stay.
    wait_until("descriptors are closed", || descriptors(&proxy) <= before + 20);
    assert_eq!(metric(&proxy, "evenkeel_workers"), 1.0);
    assert_eq!(metric(&proxy, "evenkeel_requests_in_flight"), 0.0);
}

#[test]
fn a_websocket_on_a_worker_that_ends_is_cut_after_the_drain_and_others_stay() {
    let backend = Backend::saying("here");
    let sockets = Bare::start();
    let config = |workers| config(&backend, &sockets, workers, "timeouts: { drain: 1s }");
    let proxy = config(2).start();
    // They spread over the workers.
    let open = (0..4).map(|number| {
        let path = format!("/socket/{number}");
        (websocket(proxy.address(), &sockets, &path), path)
    });
    let open: Vec<_> = open.collect();
    reloaded(&proxy, &config(1));
    wait_for_threads(&proxy, 1);
    let lines = proxy.access_lines(1);
    let is_cut = |path: &str| lines.iter().any(|line| line["path"] == path);
    let (cut, stay): (Vec<_>, Vec<_>) = open.into_iter().partition(|(_, path)| is_cut(path));
    assert!(!cut.is_empty() && !stay.is_empty());
    for line in &lines {
        assert_eq!(
            (&line["status"], &line["error"]),
            (&json!(101), &json!("stopped"))
        );
    }
    for ((mut client, held), _) in cut {
        assert!(client.read_to_end().is_empty());
        drop(held);
    }
    for (mut ends, _) in stay {
        passes(&mut ends);
    }
    assert_eq!(proxy.get("/").text(), "here");
}

/// The subject is a time span: the bound of the worker passes while the process drains.
#[test]
fn a_stop_gives_connections_of_a_worker_that_ends_the_time_of_the_process() {
    const BOUND: Duration = Duration::from_secs(4);
    let backend = Backend::saying("here");
    let sockets = Bare::start();
    let config = |workers, drain: &str| {
        let timeouts = format!("timeouts: {{ drain: {drain} }}");
        config(&backend, &sockets, workers, &timeouts)
    };
    let proxy = config(2, "60s").start();
    let open = (0..4).map(|number| websocket(proxy.address(), &sockets, &format!("/socket/{number}")));
    let mut open: Vec<_> = open.collect();
    let began = evenkeel::internals::clock::now();
    reloaded(&proxy, &config(1, "4s"));
    reloaded(&proxy, &config(1, "60s"));
    let mark = proxy.mark();
    proxy.signal(Signal::TERM);
    proxy.wait_for_message(mark, "Stopping; waiting");
    assert!(began.elapsed() < BOUND, "the machine is too slow for this test");
    thread::sleep(BOUND.saturating_sub(began.elapsed()) + Duration::from_millis(500));
    open.iter_mut().for_each(passes);
    proxy.signal(Signal::TERM);
    assert!(proxy.wait().success());
}

#[test]
fn workers_that_cannot_be_started_fail_the_reload_and_nothing_changes() {
    let (old, new) = (Backend::saying("old"), Backend::saying("new"));
    let config = |backend: &Backend, workers: usize| {
        Proxy::before(&[backend]).config(&format!("{QUIET}\nworkers: {workers}"))
    };
    let proxy = config(&old, 2).descriptors(400).start();
    reloaded(&proxy, &config(&old, 2));
    let before = descriptors(&proxy);
    let (status, body) = reload(&proxy, &config(&new, 1000));
    assert_eq!(status, 422, "{body}");
    let error = body["errors"][0].as_str().unwrap();
    assert!(
        error.starts_with("cannot start a worker thread: Too many open files"),
        "{error}"
    );
    wait_for_threads(&proxy, 2);
    wait_until("descriptors are closed", || descriptors(&proxy) <= before + 5);
    assert_eq!(proxy.get("/").text(), "old");
    reloaded(&proxy, &config(&new, 3));
    assert_eq!(worker_threads(&proxy), 3);
    assert_eq!(proxy.get("/").text(), "new");
}

#[test]
fn new_workers_serve_new_listeners_and_write_to_the_new_access_log() {
    let backend = Backend::saying("here");
    let path = std::env::temp_dir().join(format!("evenkeel-workers-{}", std::process::id()));
    let _ = fs::remove_file(&path);
    let proxy = Proxy::before(&[&backend])
        .config(QUIET)
        .config("workers: 1")
        .start();
    let more = Proxy::before(&[&backend]).config(QUIET).config(&format!(
        "workers: 4\naccess_log: {{ path: {} }}\nlisteners: [{{ address: 127.0.0.2:0 }}]",
        path.display()
    ));
    let mark = proxy.mark();
    reloaded(&proxy, &more);
    let line = proxy.wait_for_message(mark, "listening");
    let added: SocketAddr = line["address"].as_str().unwrap().parse().unwrap();
    let mut clients: Vec<_> = (0..16).map(|_| Client::connect(added)).collect();
    for client in &mut clients {
        assert_eq!(client.get("/to-the-file").text(), "here");
    }
    wait_until("all lines are in the file", || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        text.lines().filter(|line| line.contains("/to-the-file")).count() == 16
    });
    let _ = fs::remove_file(&path);
}
