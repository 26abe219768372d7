//! What a reload leaves alone, gives way to, and says.

use std::fs;

use evenkeel::clock;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Backend, Bare, Builder, DEADLINE, Proxy};

fn reload(proxy: &Proxy) -> Value {
    let mark = proxy.mark();
    proxy.signal(Signal::HUP);
    proxy.wait_for_message(mark, "reloaded")
}

/// Waits until something is so.
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = clock::now();
    while !is_so() {
        assert!(start.elapsed() < DEADLINE, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_change_that_takes_a_restart_is_told_at_every_reload_until_it_is_undone() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend]).config("workers: 1").start();
    let config = Proxy::before(&[&backend]);
    let told = || proxy.count_so_far(|line| line["msg"] == "Changing this takes a restart");
    proxy.write_config(&config.config("workers: 2").text());
    for count in [1, 2] {
        reload(&proxy);
        assert_eq!(told(), count);
    }
    proxy.write_config(&Proxy::before(&[&backend]).config("workers: 1").text());
    reload(&proxy);
    assert_eq!(told(), 2, "what runs is what is written");
}

/// The nice value of each thread of a process, by the thread's name.
fn niceness(proxy: &Proxy) -> Vec<(String, i32)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", proxy.pid().as_raw_pid())).unwrap();
    let one = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap();
        let (_, named) = stat.split_once('(').unwrap();
        let (name, rest) = named.rsplit_once(')').unwrap();
        // The 19th field of proc(5), of which the name is the second.
        let nice = rest.split_whitespace().nth(16).unwrap();
        (name.to_owned(), nice.parse().unwrap())
    };
    tasks.map(|task| one(task.unwrap())).collect()
}

#[test]
fn reading_a_config_gives_way_to_requests() {
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

/// A backend by its name, with nothing that would wait for the name in place of requests.
fn by_name(port: u16) -> Builder {
    let url = format!("http://localhost:{port}");
    Proxy::before(&[])
        .backend(&url)
        .config("health_check: { kind: none }\nretry: { attempts: 1 }")
}

#[test]
fn the_first_request_to_a_name_is_answered_after_a_start_and_after_a_reload() {
    let [one, other] = [Backend::saying("one"), Backend::saying("other")];
    let proxy = by_name(one.address().port()).start();
    assert_eq!(proxy.get("/").text(), "one");
    proxy.write_config(&by_name(other.address().port()).text());
    reload(&proxy);
    assert_eq!(proxy.get("/").text(), "other");
}

#[test]
fn connections_to_a_backend_that_left_are_closed_while_a_request_to_it_goes_on() {
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
    // It has begun to answer: a backend that has not may be one that serves one connection at a time.
    running.head();
    running.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlo");
    idle.head();
    idle.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(clients[1].read().status(), 204);
    let is_spare = || {
        let metrics = proxy.get_admin("/metrics").text();
        let mut lines = metrics.lines();
        lines.any(|line| line.starts_with("evenkeel_backend_connections_spare{") && line.ends_with(" 1"))
    };
    wait_until("it is spare", is_spare);
    proxy.write_config(&config(&stays.url()).text());
    reload(&proxy);
    assert_eq!(idle.wait_for_end(), "");
    running.send("ng");
    assert_eq!(clients[0].read().text(), "long");
}
