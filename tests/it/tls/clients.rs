//! Client certificates.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use rustix::process::Signal;

use super::{Bench, wait_for_failures};
use crate::support::authority::{Authority, Pair, wanted};
use crate::support::tls::{Tls, der};
use crate::support::{Backend, Proxy};

/// A balancer with this mode of client authentication.
fn asking(bench: &Bench, backend: &Backend, auth: &str) -> Proxy {
    bench.put("a", &["a.test"]);
    let ca = bench.folder.write("ca.pem", &bench.authority.pem());
    let more = format!(", client_ca: \"{ca}\", client_auth: {auth}");
    let proxy = Proxy::before(&[backend]).listener(&bench.listener(&["a"], &more));
    proxy.start()
}

/// Whether a client with this certificate is served.
fn is_served(bench: &Bench, proxy: &Proxy, shown: Option<&Pair>) -> bool {
    let client = Tls::with(&bench.authority, shown, &[]);
    let got = client
        .try_connect(proxy.address(), "a.test")
        .and_then(|mut connection| connection.try_get("a.test", "/"));
    got.is_ok_and(|got| got.status == 200)
}

#[test]
fn access_depends_on_the_client_certificate() {
    let bench = Bench::new();
    let good = bench.authority.sign(&wanted(&["client"]));
    let expired = bench.authority.sign(&wanted(&["client"]).days(-9, -1));
    let foreign = Authority::new().sign(&wanted(&["client"]));
    let backend = Backend::saying("");
    for (auth, without) in [("none", true), ("optional", true), ("required", false)] {
        let proxy = asking(&bench, &backend, auth);
        assert_eq!(is_served(&bench, &proxy, None), without, "{auth}");
        assert!(is_served(&bench, &proxy, Some(&good)), "{auth}");
        let takes_bad = auth == "none";
        assert_eq!(is_served(&bench, &proxy, Some(&expired)), takes_bad, "{auth}");
        assert_eq!(is_served(&bench, &proxy, Some(&foreign)), takes_bad, "{auth}");
        let refused = [!without, !takes_bad, !takes_bad];
        let count = refused.into_iter().filter(|refused| *refused).count();
        wait_for_failures(&proxy, "client_certificate", count);
    }
}

#[test]
fn backends_and_the_log_receive_the_client_certificate() {
    let bench = Bench::new();
    let backend = Backend::saying("");
    let proxy = asking(&bench, &backend, "optional");
    let shown = bench.authority.sign(&wanted(&["client"]).called("\"x\" client"));
    let client = Tls::with(&bench.authority, Some(&shown), &[]);
    for path in ["/full", "/resumed"] {
        let mut connection = client.connect(proxy.address(), "a.test");
        connection.get("a.test", path);
        assert_eq!(connection.is_resumed(), path == "/resumed");
        let start = format!("GET {path}");
        let got = backend.wait_for_request(|request| request.start() == start);
        let expected = format!(":{}:", BASE64.encode(der(&shown.cert)));
        assert_eq!(got.field("client-cert"), Some(expected.as_str()));
        let line = proxy.access_line(path);
        assert!(line["client_cert"].as_str().unwrap().contains("client"), "{line}");
    }
}

#[test]
fn a_ticket_does_not_admit_an_expired_certificate() {
    let bench = Bench::new();
    let backend = Backend::saying("");
    let proxy = asking(&bench, &backend, "required");
    let shown = bench.authority.sign(&wanted(&["client"]).seconds(2));
    let client = Tls::with(&bench.authority, Some(&shown), &[]);
    let start = evenkeel::internals::clock::now();
    let mut was_resumed = false;
    loop {
        let connected = client.try_connect(proxy.address(), "a.test");
        let got = connected.and_then(|mut connection| {
            connection.try_get("a.test", "/")?;
            Ok(connection.is_resumed())
        });
        match got {
            Ok(is_resumed) => was_resumed |= is_resumed,
            Err(_) => break,
        }
        assert!(
            start.elapsed() < crate::support::DEADLINE,
            "it is let in for ever"
        );
    }
    assert!(was_resumed);
}

#[test]
fn new_client_authorities_are_active_after_a_reload() {
    let bench = Bench::new();
    let backend = Backend::saying("");
    let proxy = asking(&bench, &backend, "required");
    let (old, other) = (bench.authority.sign(&wanted(&["client"])), Authority::new());
    let new = other.sign(&wanted(&["client"]));
    assert!(is_served(&bench, &proxy, Some(&old)) && !is_served(&bench, &proxy, Some(&new)));
    let resuming = Tls::with(&bench.authority, Some(&old), &[]);
    let mut open = resuming.connect(proxy.address(), "a.test");
    open.get("a.test", "/");
    bench.folder.write("ca.pem", &other.pem());
    let mark = proxy.mark();
    proxy.signal(Signal::HUP);
    proxy.wait_for_message(mark, "reloaded");
    assert!(!is_served(&bench, &proxy, Some(&old)) && is_served(&bench, &proxy, Some(&new)));
    let by_ticket = resuming.try_connect(proxy.address(), "a.test");
    let got = by_ticket.and_then(|mut connection| connection.try_get("a.test", "/"));
    assert!(got.is_err(), "a ticket of before lets nobody in");
    assert_eq!(open.get("a.test", "/").status, 200, "what is open goes on");
}
