//! Reloads that add, remove and change listeners.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use evenkeel::internals::clock;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::http2::Http2;
use crate::support::metrics::wait_for_metric;
use crate::support::reload::{EndOfLoad, reload, reloaded, websocket};
use crate::support::{Backend, Bare, Builder, Client, DEADLINE, Gate, Proxy, Response};

const QUIET: &str = "health_check: { kind: none }";

/// A config with the usual listener and these.
fn with(backends: &[&Backend], listeners: &str) -> Builder {
    Proxy::before(backends)
        .config(QUIET)
        .config(&format!("listeners: [{listeners}]"))
}

/// Reloads a config that adds one listener; returns its address.
fn add(proxy: &Proxy, config: &Builder) -> SocketAddr {
    let mark = proxy.mark();
    reloaded(proxy, config);
    let line = proxy.wait_for_message(mark, "listening");
    line["address"].as_str().unwrap().parse().unwrap()
}

fn is_refused(address: SocketAddr) -> bool {
    let connected = TcpStream::connect_timeout(&address, DEADLINE);
    connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[test]
fn a_listener_is_added_and_removed_while_connections_of_others_stay() {
    let backend = Backend::saying("here");
    let proxy = Proxy::before(&[&backend]).config(QUIET).start();
    let mut stays = proxy.client();
    assert_eq!(stays.get("/").text(), "here");
    let added = add(&proxy, &with(&[&backend], "{ address: 127.0.0.2:0 }"));
    let mut client = Client::connect(added);
    assert_eq!(client.get("/").text(), "here");
    let mut idle = Client::connect(added);
    let status = || serde_json::from_slice::<Value>(&proxy.get_admin("/api/v1/status").body).unwrap();
    let listeners = json!([proxy.address().to_string(), added.to_string()]);
    assert_eq!(status()["process"]["listeners"], listeners);

    reloaded(&proxy, &Proxy::before(&[&backend]).config(QUIET));
    assert!(is_refused(added));
    assert_eq!(
        status()["process"]["listeners"],
        json!([proxy.address().to_string()])
    );
    assert!(client.read_to_end().is_empty(), "an idle connection is closed");
    assert!(idle.read_to_end().is_empty(), "also one without a request");
    assert_eq!(stays.get("/").text(), "here");
    assert_eq!(proxy.get("/").text(), "here");
}

#[test]
fn a_parked_connection_of_a_removed_listener_is_closed_and_no_other() {
    let backend = Backend::saying("here");
    let proxy = with(&[&backend], "{ address: 127.0.0.2:0 }").start();
    let added = proxy.wait_for_line(|line| {
        line["address"]
            .as_str()
            .is_some_and(|at| at.starts_with("127.0.0.2:"))
    });
    let added: SocketAddr = added["address"].as_str().unwrap().parse().unwrap();
    let mut clients = [proxy.client(), Client::connect(added)];
    for client in &mut clients {
        assert_eq!(client.get("/").text(), "here");
    }
    wait_for_metric(&proxy, "evenkeel_connections_parked", 2);
    reloaded(&proxy, &Proxy::before(&[&backend]).config(QUIET));
    let [stays, removed] = &mut clients;
    assert!(removed.read_to_end().is_empty());
    wait_for_metric(&proxy, "evenkeel_connections_active", 1);
    assert_eq!(stays.get("/").text(), "here");
}

#[test]
fn requests_on_a_removed_listener_finish_and_the_connection_is_closed() {
    let gate = Gate::default();
    let its = gate.clone();
    let backend = Backend::start(move |request| match request.start() {
        "GET /slow" => Response::ok("done").after(&its),
        _ => Response::ok("here"),
    });
    let proxy = Proxy::before(&[&backend]).config(QUIET).start();
    let added = add(&proxy, &with(&[&backend], "{ address: 127.0.0.2:0 }"));
    let mut client = Client::connect(added);
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    let http2 = Http2::connect(added);
    let (stream, _sending) = http2.send("GET", "/slow", true);
    http2.run_beside(|| backend.wait_for_requests(2));
    reloaded(&proxy, &Proxy::before(&[&backend]).config(QUIET));
    assert!(is_refused(added));
    gate.open();
    let received = client.read();
    assert_eq!(received.text(), "done");
    assert_eq!(received.field("connection"), Some("close"));
    assert!(client.read_to_end().is_empty());
    assert_eq!(http2.read(stream).unwrap().text(), "done");
    let refused = http2.ask(crate::support::http2::request("GET", "/"), b"");
    assert!(refused.is_err(), "GOAWAY was sent: {refused:?}");
    wait_for_metric(&proxy, "evenkeel_connections_active", 0);
}

#[test]
fn a_websocket_of_a_removed_listener_is_cut_after_the_drain_and_no_other() {
    let backend = Bare::start();
    let config = |more: &str| {
        Proxy::before(&[])
            .backend(&backend.url())
            .config(QUIET)
            .config("timeouts: { drain: 1s }")
            .config(more)
    };
    let proxy = config("").start();
    let added = add(&proxy, &config("listeners: [{ address: 127.0.0.2:0 }]"));
    let (mut stays, mut its) = websocket(proxy.address(), &backend, "/socket");
    let (mut cut, mut end) = websocket(added, &backend, "/socket");
    reloaded(&proxy, &config(""));
    cut.send("ping");
    assert_eq!(end.read(4), "ping", "it goes on during the drain");
    assert!(cut.read_to_end().is_empty());
    assert_eq!(end.wait_for_end(), "");
    let line = proxy.access_line("/socket");
    assert_eq!(
        (line["status"].as_u64(), line["error"].as_str()),
        (Some(101), Some("stopped"))
    );
    wait_for_metric(&proxy, "evenkeel_connections_active", 1);
    wait_for_metric(&proxy, "evenkeel_requests_in_flight", 1);
    stays.send("ping");
    assert_eq!(its.read(4), "ping");
    its.send("pong");
    assert_eq!(stays.read_until(|bytes| bytes.len() == 4), b"pong");
}

#[test]
fn changed_settings_hold_for_connections_accepted_after_the_reload() {
    let backend = Backend::saying("here");
    let proxy = Proxy::before(&[&backend]).config(QUIET).start();
    let mut before = proxy.client();
    assert_eq!(before.get("/").text(), "here");
    let redirecting = Proxy::before(&[&backend])
        .config(QUIET)
        .listener("redirect_to_https: 8443");
    reloaded(&proxy, &redirecting);
    assert_eq!(proxy.get("/").status(), 308);
    assert_eq!(before.get("/").text(), "here");
    reloaded(&proxy, &Proxy::before(&[&backend]).config(QUIET));
    assert_eq!(proxy.get("/").text(), "here");
    assert_eq!(before.get("/").text(), "here");
}

#[test]
fn an_address_that_cannot_be_bound_fails_the_reload_and_nothing_changes() {
    let (old, new) = (Backend::saying("old"), Backend::saying("new"));
    let proxy = Proxy::before(&[&old]).config(QUIET).start();
    let mut stays = proxy.client();
    assert_eq!(stays.get("/").text(), "old");
    let occupied = TcpListener::bind("127.0.0.1:0").unwrap();
    let occupied = (occupied.local_addr().unwrap(), occupied);
    let free = TcpListener::bind("127.0.0.3:0").unwrap().local_addr().unwrap();
    let path = std::env::temp_dir().join(format!("evenkeel-added-{}", std::process::id()));
    let listeners = format!(
        "{{ address: '{free}' }}, {{ address: 'unix:{}' }}, {{ address: '{}' }}",
        path.display(),
        occupied.0
    );
    let (status, body) = reload(&proxy, &with(&[&new], &listeners));
    assert_eq!(status, 422);
    let error = body["errors"][0].as_str().unwrap();
    let wanted = format!("cannot listen on {}: Address already in use", occupied.0);
    assert!(error.starts_with(&wanted), "{error}");
    assert!(is_refused(free));
    assert!(!path.exists());
    assert_eq!(stays.get("/").text(), "old");
    assert_eq!(proxy.get("/").text(), "old");
    drop(occupied);
    reloaded(&proxy, &with(&[&new], &listeners));
    assert_eq!(Client::connect(free).get("/").text(), "new");
    UnixStream::connect(&path).unwrap();
    reloaded(&proxy, &Proxy::before(&[&new]).config(QUIET));
    assert!(!path.exists(), "the file of a removed Unix socket is removed");
    assert_eq!(stays.get("/").text(), "new");
}

#[test]
fn an_address_is_replaced_by_one_that_overlaps_it() {
    let backend = Backend::saying("here");
    let proxy = Proxy::before(&[&backend]).config(QUIET).start();
    let mut before = proxy.client();
    assert_eq!(before.get("/").text(), "here");
    let port = proxy.address().port();
    let wide = Proxy::before(&[&backend]).config(QUIET);
    let wide = wide
        .text()
        .replace("127.0.0.1:0\nadmin", &format!("0.0.0.0:{port}\nadmin"));
    proxy.write_config(&wide);
    let mark = proxy.mark();
    proxy.signal(Signal::HUP);
    proxy.wait_for_message(mark, "reloaded");
    assert_eq!(
        Client::connect(([127, 0, 0, 9], port).into()).get("/").text(),
        "here"
    );
    assert_eq!(proxy.get("/").text(), "here");
    assert!(
        before.read_to_end().is_empty(),
        "the listener that it came through is gone"
    );
}

#[test]
fn routes_by_listener_hold_for_connections_from_before_a_reload_that_moves_it() {
    let backend = Backend::saying("");
    let config = |listeners: &str, address: &str| {
        let routes = format!(
            "routes:\n  - {{ listener: '{address}', respond: {{ status: 200, body: by listener }} }}\n  - {{ pool: default }}"
        );
        format!(
            "listeners: [{listeners}]\nadmin: 127.0.0.1:0\n{QUIET}\nbackends: ['{}']\n{routes}\n",
            backend.url()
        )
    };
    let first = "{ address: 127.0.0.1:0 }";
    let second = "{ address: 127.0.0.2:0 }";
    let proxy = Proxy::before(&[]).start_with(&config(&format!("{first}, {second}"), "127.0.0.2:0"));
    let line = proxy.wait_for_line(|line| {
        line["address"]
            .as_str()
            .is_some_and(|at| at.starts_with("127.0.0.2:"))
    });
    let address: SocketAddr = line["address"].as_str().unwrap().parse().unwrap();
    let mut client = Client::connect(address);
    assert_eq!(client.get("/").text(), "by listener");
    let mark = proxy.mark();
    proxy.write_config(&config(second, "127.0.0.2:0"));
    proxy.signal(Signal::HUP);
    proxy.wait_for_message(mark, "reloaded");
    assert_eq!(client.get("/").text(), "by listener");
    let mut explain = Client::connect(proxy.admin());
    explain.send(format!(
        "GET /api/v1/explain?url=http://a.test/ HTTP/1.1\r\nHost: {}\r\n\r\n",
        proxy.admin()
    ));
    let explained = explain.read().text();
    assert!(
        explained.contains("by listener") || explained.contains("respond"),
        "{explained}"
    );
}

/// The number of descriptors and threads of the process.
fn resources(proxy: &Proxy) -> (usize, usize) {
    let count = |what: &str| {
        let path: PathBuf = format!("/proc/{}/{what}", proxy.pid().as_raw_pid()).into();
        fs::read_dir(path).unwrap().count()
    };
    (count("fd"), count("task"))
}

#[test]
fn a_listener_is_added_and_removed_a_hundred_times_without_a_failed_request_on_others() {
    let backend = Backend::saying("here");
    let plain = Proxy::before(&[&backend]).config(QUIET);
    let more = with(&[&backend], "{ address: 127.0.0.2:0 }");
    let proxy = Proxy::before(&[&backend]).config(QUIET).start();
    reloaded(&proxy, &plain);
    let (is_over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let kept = |is_kept_alive: bool| {
        let mut client = proxy.client();
        while !is_over.load(Ordering::Relaxed) {
            if !is_kept_alive {
                client = proxy.client();
            }
            assert_eq!(client.get("/").text(), "here");
            served.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(1));
        }
    };
    let before = resources(&proxy);
    thread::scope(|scope| {
        let end = EndOfLoad(&is_over);
        let load = [true, false].map(|is_kept_alive| scope.spawn(move || kept(is_kept_alive)));
        for _ in 0..100 {
            let added = add(&proxy, &more);
            assert_eq!(Client::connect(added).get("/").text(), "here");
            reloaded(&proxy, &plain);
            assert!(is_refused(added));
        }
        drop(end);
        for load in load {
            load.join().expect("no request failed");
        }
    });
    assert!(served.load(Ordering::Relaxed) > 100);
    let start = clock::now();
    loop {
        let after = resources(&proxy);
        // Workers keep idle connections to the backend. A descriptor that is not closed would be lost in each round.
        if after.0 <= before.0 + 20 && after.1 == before.1 {
            break;
        }
        assert!(start.elapsed() < DEADLINE, "{before:?} {after:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn queued_connections_of_a_removed_listener_are_served() {
    let backend = Backend::saying("here");
    let proxy = Proxy::before(&[&backend]).config(QUIET).start();
    let added = add(&proxy, &with(&[&backend], "{ address: 127.0.0.2:0 }"));
    let mut clients: Vec<_> = (0..20).map(|_| Client::connect(added)).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    reloaded(&proxy, &Proxy::before(&[&backend]).config(QUIET));
    for client in &mut clients {
        assert_eq!(client.read().text(), "here");
    }
}

fn exchange(mut stream: impl Read + Write) -> std::io::Result<String> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
    std::io::read_to_string(stream)
}

/// How clients of a storm ask: over TCP or a Unix socket.
enum Way {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Way {
    /// One request on a connection of its own. `None` if it could not connect: who was connected must get its response.
    fn ask(&self) -> Option<std::io::Result<String>> {
        match self {
            Self::Tcp(address) => {
                // A SYN that is dropped is sent again after a second, which is of no interest here.
                let stream = TcpStream::connect_timeout(address, Duration::from_millis(50)).ok()?;
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                Some(exchange(stream))
            }
            Self::Unix(path) => {
                let stream = UnixStream::connect(path).ok()?;
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                Some(exchange(stream))
            }
        }
    }

    /// Asks until it is over; returns how many were served.
    fn storm(&self, is_over: &AtomicBool) -> usize {
        let mut served = 0;
        while !is_over.load(Ordering::Relaxed) {
            if let Some(response) = self.ask() {
                let response = response.expect("a connection that was established is not reset");
                assert!(response.ends_with("here"), "{response:?}");
                served += 1;
            }
        }
        served
    }
}

#[test]
fn no_established_connection_is_reset_when_its_listener_is_removed() {
    let backend = Backend::saying("here");
    let free = TcpListener::bind("127.0.0.4:0").unwrap().local_addr().unwrap();
    let path = std::env::temp_dir().join(format!("evenkeel-storm-{}", std::process::id()));
    for (way, address) in [
        (Way::Tcp(free), free.to_string()),
        (Way::Unix(path.clone()), format!("unix:{}", path.display())),
    ] {
        let more = with(&[&backend], &format!("{{ address: '{address}' }}"));
        let plain = Proxy::before(&[&backend]).config(QUIET);
        let proxy = Proxy::before(&[&backend]).config(QUIET).start();
        let is_over = AtomicBool::new(false);
        let served: usize = thread::scope(|scope| {
            let end = EndOfLoad(&is_over);
            let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| way.storm(&is_over))).collect();
            for _ in 0..40 {
                reloaded(&proxy, &more);
                thread::sleep(Duration::from_millis(20));
                reloaded(&proxy, &plain);
            }
            drop(end);
            clients.into_iter().map(|client| client.join().unwrap()).sum()
        });
        assert!(served > 100, "{address}: {served}");
    }
}

#[test]
fn no_established_connection_is_reset_when_the_process_stops() {
    let backend = Backend::saying("here");
    for _ in 0..5 {
        let proxy = Proxy::before(&[&backend]).config(QUIET).start();
        let (is_over, way) = (AtomicBool::new(false), Way::Tcp(proxy.address()));
        thread::scope(|scope| {
            let end = EndOfLoad(&is_over);
            let clients: Vec<_> = (0..4).map(|_| scope.spawn(|| way.storm(&is_over))).collect();
            backend.wait_for_requests(100);
            assert!(proxy.stop().success());
            drop(end);
            for client in clients {
                client.join().unwrap();
            }
        });
    }
}

#[test]
fn a_stream_of_a_removed_listener_that_is_cut_is_logged_as_stopped() {
    let backend = Bare::start();
    let config = |more: &str| {
        Proxy::before(&[])
            .backend(&backend.url())
            .config(QUIET)
            .config("timeouts: { drain: 300ms }")
            .config(more)
    };
    let proxy = config("").start();
    let added = add(&proxy, &config("listeners: [{ address: 127.0.0.2:0 }]"));
    let http2 = Http2::connect(added);
    let waiting = http2.send("GET", "/waiting", true);
    let mut silent = http2.run_beside(|| backend.accept());
    silent.head();
    let begun = http2.send("GET", "/begun", true);
    let mut held = http2.run_beside(|| backend.accept());
    held.head();
    held.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegun");
    http2.run(begun.0).unwrap();
    http2.run_beside(|| {
        reloaded(&proxy, &config(""));
        for (path, status) in [("/waiting", 503), ("/begun", 200)] {
            let line = proxy.access_line(path);
            let seen = (line["status"].as_u64(), line["error"].as_str());
            assert_eq!(seen, (Some(status), Some("stopped")), "{line}");
        }
    });
    drop((waiting, silent, held));
}

#[test]
fn a_unix_socket_is_kept_with_its_file_over_a_reload() {
    let backend = Backend::saying("here");
    let path = std::env::temp_dir().join(format!("evenkeel-kept-{}", std::process::id()));
    let listeners = format!("{{ address: 'unix:{}' }}", path.display());
    let proxy = with(&[&backend], &listeners).start();
    reloaded(
        &proxy,
        &with(&[&backend], &format!("{listeners}, {{ address: 127.0.0.2:0 }}")),
    );
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        .unwrap();
    let response = std::io::read_to_string(stream).unwrap();
    assert!(response.ends_with("here"), "{response}");
    drop(proxy);
    assert!(!path.exists());
}
