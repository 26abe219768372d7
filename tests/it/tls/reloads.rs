//! Reloads that turn TLS on and off, and what they keep.

use rustix::process::Signal;

use super::Bench;
use crate::support::{Backend, Builder, Proxy};

fn reload(proxy: &Proxy, config: &Builder) {
    let mark = proxy.mark();
    proxy.write_config(&config.text());
    proxy.signal(Signal::HUP);
    proxy.wait_for_message(mark, "reloaded");
}

#[test]
fn tls_is_turned_on_and_off_for_connections_accepted_after_the_reload() {
    let bench = Bench::new();
    bench.put("a", &["a.test"]);
    let backend = Backend::saying("hello");
    let plain = || Proxy::before(&[&backend]);
    let secured = || bench.before(&backend, &["a"]);
    let proxy = plain().start();
    let mut open = proxy.client();
    assert_eq!(open.get("/").text(), "hello");
    reload(&proxy, &secured());
    let mut secure = bench.client().connect(proxy.address(), "a.test");
    assert_eq!(secure.get("a.test", "/").body, "hello");
    assert_eq!(
        open.get("/").text(),
        "hello",
        "a connection from before stays as it is"
    );
    assert_eq!(proxy.get("/").status(), 400, "plain HTTP to a listener with TLS");
    let status = proxy.get_admin("/api/v1/status").text();
    assert!(status.contains("a.pem"), "{status}");
    reload(&proxy, &plain());
    assert_eq!(proxy.get("/").text(), "hello");
    assert_eq!(secure.get("a.test", "/").body, "hello");
    let status = proxy.get_admin("/api/v1/status").text();
    assert!(!status.contains("a.pem"), "{status}");
}

#[test]
fn session_tickets_stay_valid_when_http2_of_a_listener_changes() {
    let bench = Bench::new();
    bench.put("a", &["a.test"]);
    let backend = Backend::saying("hello");
    let with = |http2: bool| {
        let keys = format!("{}, http2: {http2}", bench.listener(&["a"], ""));
        Proxy::before(&[&backend]).listener(&keys)
    };
    let proxy = with(true).start();
    let client = bench.client();
    assert_eq!(client.get(proxy.address(), "a.test", "a.test").body, "hello");
    reload(&proxy, &with(false));
    let mut again = client.connect(proxy.address(), "a.test");
    assert_eq!(again.get("a.test", "/").body, "hello");
    assert!(again.is_resumed());
}
