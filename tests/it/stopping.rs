//! Ready, reload and stop.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};

use rustix::process::Signal;

use crate::support::{Answer, Backend, DEADLINE, Gate, Proxy};

#[test]
fn the_admin_api_says_that_it_lives_and_is_ready() {
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
fn a_stop_lets_running_requests_end_and_refuses_new_connections() {
    let gate = Gate::default();
    let its = gate.clone();
    let backend = Backend::start(move |request| match request.start() {
        "GET /slow" => Answer::ok("done").after(&its),
        _ => Answer::ok(""),
    });
    let proxy = Proxy::before(&[&backend]).start();
    let mut client = proxy.client();
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    backend.wait_for_request(|request| request.start() == "GET /slow");
    let mark = proxy.mark();
    proxy.signal(Signal::TERM);
    proxy.wait_for_message(mark, "stopping");
    wait_until_refused(proxy.address());
    gate.open();
    let received = client.read();
    assert_eq!(received.text(), "done");
    assert_eq!(received.field("connection"), Some("close"));
    assert!(proxy.wait().success());
}

/// The listener closes a moment after the signal came. One that is open and does not accept would let connects hang.
fn wait_until_refused(address: SocketAddr) {
    let start = evenkeel::clock::now();
    loop {
        match TcpStream::connect_timeout(&address, DEADLINE) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return,
            outcome => assert!(start.elapsed() < DEADLINE, "it is still open: {outcome:?}"),
        }
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let gate = Gate::default();
    let its = gate.clone();
    let backend = Backend::start(move |_| Answer::ok("").after(&its));
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

#[test]
fn a_reload_puts_a_good_config_in_force_and_leaves_a_bad_one() {
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
