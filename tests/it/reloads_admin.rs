//! Reloads that move the admin API, change its token, and turn it on or off.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Backend, Client, DEADLINE, Proxy, Received};

fn config(backend: &Backend, admin: &str) -> String {
    format!(
        "listen: 127.0.0.1:0\nhealth_check: {{ kind: none }}\nadmin: {admin}\nbackends: ['{}']\n",
        backend.url()
    )
}

/// Sends a request with a token to the admin API.
fn ask(address: SocketAddr, request: &str, token: &str) -> Received {
    let mut client = Client::connect(address);
    client.send(format!(
        "{request} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
    ));
    client.read()
}

fn is_refused(address: SocketAddr) -> bool {
    let connected = TcpStream::connect_timeout(&address, DEADLINE);
    connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

fn address_of(line: &serde_json::Value) -> SocketAddr {
    line["address"].as_str().unwrap().parse().unwrap()
}

#[test]
fn the_admin_api_moves_and_the_response_to_the_reload_arrives() {
    let backend = Backend::saying("here");
    let proxy = Proxy::before(&[]).start_with(&config(&backend, "127.0.0.1:0"));
    let old = proxy.admin();
    let mark = proxy.mark();
    proxy.write_config(&config(&backend, "127.0.0.2:0"));
    let response = ask(old, "POST /api/v1/reload", "");
    let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(body, json!({ "reloaded": true }));
    let line = proxy.wait_for_message(mark, "reloaded");
    assert_eq!(line["settings_changed"], "admin");
    let new = address_of(&proxy.wait_for_message(mark, "Admin API listening"));
    assert_eq!(ask(new, "GET /api/v1/status", "").status(), 200);
    assert!(is_refused(old));
    assert_eq!(proxy.get("/").text(), "here");
}

#[test]
fn an_admin_address_that_cannot_be_bound_fails_the_reload() {
    let backend = Backend::saying("here");
    let proxy = Proxy::before(&[]).start_with(&config(&backend, "127.0.0.1:0"));
    let occupied = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = occupied.local_addr().unwrap();
    proxy.write_config(&config(&backend, &format!("'{address}'")));
    let response = ask(proxy.admin(), "POST /api/v1/reload", "");
    assert_eq!(response.status(), 422);
    assert!(
        response.text().contains(&format!("cannot listen on {address}")),
        "{}",
        response.text()
    );
    assert_eq!(ask(proxy.admin(), "GET /api/v1/status", "").status(), 200);
}

#[test]
fn a_changed_token_holds_at_once_also_on_open_connections() {
    let backend = Backend::saying("here");
    let with = |token: &str| config(&backend, &format!("{{ address: '127.0.0.1:0', token: {token} }}"));
    let (old, new) = ("the-first-token-of-all", "another-token-for-all");
    let proxy = Proxy::before(&[]).start_with(&with(old));
    let admin = proxy.admin();
    let status = |token| ask(admin, "GET /api/v1/status", token).status();
    assert_eq!((status(old), status(new)), (200, 401));
    let mut open = Client::connect(admin);
    let request =
        format!("GET /api/v1/status HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {old}\r\n\r\n");
    open.send(&request);
    assert_eq!(open.read().status(), 200);
    proxy.write_config(&with(new));
    assert_eq!(ask(admin, "POST /api/v1/reload", old).status(), 200);
    assert_eq!((status(old), status(new)), (401, 200));
    assert!(
        open.read_to_end().is_empty(),
        "a connection from before is closed"
    );
}

#[test]
fn the_admin_api_is_turned_off_and_on() {
    let backend = Backend::saying("here");
    let proxy = Proxy::before(&[]).start_with(&config(&backend, "127.0.0.1:0"));
    let mut mark = proxy.mark();
    let mut reload = |admin: &str| {
        proxy.write_config(&config(&backend, admin));
        proxy.signal(Signal::HUP);
        proxy.wait_for_message(mark, "reloaded");
        let lines = mark;
        mark = proxy.mark();
        lines
    };
    reload("off");
    assert!(is_refused(proxy.admin()));
    let lines = reload("127.0.0.1:0");
    let admin = address_of(&proxy.wait_for_message(lines, "Admin API listening"));
    assert_eq!(ask(admin, "GET /api/v1/status", "").status(), 200);
    assert_eq!(proxy.get("/").text(), "here");
}

#[test]
fn the_admin_api_and_a_listener_change_places() {
    let backend = Backend::saying("here");
    let proxy = Proxy::before(&[]).start_with(&config(&backend, "127.0.0.1:0"));
    let (admin, listener) = (proxy.admin(), proxy.address());
    let swapped = config(&backend, &format!("'{listener}'"));
    let swapped = swapped.replace("listen: 127.0.0.1:0", &format!("listen: '{admin}'"));
    let mark = proxy.mark();
    proxy.write_config(&swapped);
    proxy.signal(Signal::HUP);
    proxy.wait_for_message(mark, "reloaded");
    assert_eq!(Client::connect(admin).get("/").text(), "here");
    assert_eq!(ask(listener, "GET /api/v1/status", "").status(), 200);
}
