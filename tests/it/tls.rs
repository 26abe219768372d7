//! TLS to clients and to backends.

mod backends;
mod certificates;
mod clients;
mod handshakes;
mod log;
mod redirect;
mod reloads;
mod servers;
mod stalls;

use crate::support::authority::{Authority, Folder, Pair, wanted};
use crate::support::metrics::wait_for_metric;
use crate::support::tls::{Tls, der};
use crate::support::{Backend, Builder, Proxy};

/// An authority, and a folder for the certificates that it signs.
struct Bench {
    folder: Folder,
    authority: Authority,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: Folder::new(),
            authority: Authority::new(),
        }
    }

    /// Signs a certificate and writes it to the folder as `NAME.pem` and `NAME.key`.
    fn put(&self, name: &str, names: &[&str]) -> Pair {
        let pair = self.authority.sign_for(names);
        self.folder.put(name, &pair);
        pair
    }

    /// The `tls` key of a listener with these certificates and more keys.
    fn listener(&self, names: &[&str], more: &str) -> String {
        let item = |name: &&str| {
            let file = |end: &str| self.folder.file(&format!("{name}.{end}"));
            format!("{{ cert: \"{}\", key: \"{}\" }}", file("pem"), file("key"))
        };
        let items: Vec<String> = names.iter().map(item).collect();
        format!("tls: {{ certificates: [{}]{more} }}", items.join(", "))
    }

    /// A balancer whose listener uses these certificates.
    fn before(&self, backend: &Backend, names: &[&str]) -> Builder {
        Proxy::before(&[backend]).listener(&self.listener(names, ""))
    }

    fn client(&self) -> Tls {
        Tls::trusting(&self.authority)
    }
}

/// Waits until this number of handshakes have failed for this reason.
fn wait_for_failures(proxy: &Proxy, reason: &str, count: usize) {
    let series = format!("evenkeel_tls_handshakes_failed_total{{reason=\"{reason}\"}}");
    wait_for_metric(proxy, &series, count);
}

#[test]
fn the_certificate_is_selected_by_exact_name_then_wildcard_then_the_first() {
    let bench = Bench::new();
    let first = bench.put("first", &["first.test", "127.0.0.1"]);
    let wild = bench.put("wild", &["*.wild.test"]);
    let exact = bench.put("exact", &["exact.wild.test"]);
    let backend = Backend::saying("hello");
    let proxy = bench.before(&backend, &["first", "wild", "exact"]).start();
    for (name, pair) in [
        ("first.test", &first),
        ("a.wild.test", &wild),
        ("exact.wild.test", &exact),
        ("EXACT.wild.test", &exact),
        ("127.0.0.1", &first),
    ] {
        let mut connection = bench.client().connect(proxy.address(), name);
        assert_eq!(connection.shown(), der(&pair.cert), "{name}");
        assert_eq!(connection.get(name, "/").body, "hello");
    }
    let error = bench
        .client()
        .try_connect(proxy.address(), "other.test")
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("not valid for name"),
        "the first: {error}"
    );
}

#[test]
fn the_protocol_is_negotiated() {
    let bench = Bench::new();
    bench.put("a", &["a.test"]);
    let backend = Backend::saying("");
    let proxy = bench.before(&backend, &["a"]).start();
    let agreed = |proxy: &Proxy, offer: &[&[u8]]| {
        let client = Tls::with(&bench.authority, None, offer);
        let connection = client.try_connect(proxy.address(), "a.test").ok()?;
        Some(connection.protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(agreed(&proxy, &[b"http/1.1", b"h2"]), Some(Some(b"h2".to_vec())));
    assert_eq!(agreed(&proxy, &[b"http/1.1"]), Some(Some(b"http/1.1".to_vec())));
    assert_eq!(agreed(&proxy, &[]), Some(None));
    assert_eq!(agreed(&proxy, &[b"spdy/3"]), None);
    let keys = format!("http2: false, {}", bench.listener(&["a"], ""));
    let proxy = Proxy::before(&[&backend]).listener(&keys).start();
    assert_eq!(
        agreed(&proxy, &[b"h2", b"http/1.1"]),
        Some(Some(b"http/1.1".to_vec()))
    );
}

#[test]
fn a_request_for_a_host_with_another_certificate_is_misdirected() {
    let bench = Bench::new();
    bench.put("first", &["first.test", "127.0.0.1"]);
    bench.put("public", &["public.test"]);
    bench.put("private", &["private.test"]);
    let backend = Backend::saying("hello");
    let proxy = bench.before(&backend, &["first", "public", "private"]).start();
    let status = |name: &str, host: &str| bench.client().get(proxy.address(), name, host).status;
    assert_eq!(status("public.test", "private.test"), 421);
    let line = proxy.wait_for_line(|line| line["status"] == 421);
    assert_eq!(
        (&line["error"], &line["backend"], &line["attempts"]),
        (&"misdirected_request".into(), &serde_json::Value::Null, &0.into())
    );
    for host in [
        "public.test:8443",
        "PUBLIC.test",
        "public.test.",
        "unknown.test",
        "192.0.2.1",
    ] {
        assert_eq!(status("public.test", host), 200, "{host}");
    }
    for host in ["first.test", "public.test", "unknown.test"] {
        assert_eq!(status("127.0.0.1", host), 200, "asked for no name: {host}");
    }
    let mut connection = bench.client().connect(proxy.address(), "public.test");
    for _ in 0..3 {
        assert_eq!(connection.get("public.test", "/").status, 200);
    }
    let refused = connection.get("first.test", "/");
    assert_eq!(refused.status, 421);
    assert!(refused.head.to_lowercase().contains("connection: close"));
}

#[test]
fn a_single_certificate_serves_every_host() {
    let bench = Bench::new();
    bench.put("only", &["only.test"]);
    let backend = Backend::saying("");
    let proxy = bench.before(&backend, &["only"]).start();
    for host in ["only.test", "other.test", "[::1]"] {
        assert_eq!(bench.client().get(proxy.address(), "only.test", host).status, 200);
    }
}

/// RFC 8446 §6.1: without `close_notify` anyone may have ended the connection, and the message may be truncated.
#[test]
fn the_end_of_a_connection_is_announced_by_close_notify() {
    let bench = Bench::new();
    bench.put("only", &["only.test"]);
    let backend = Backend::saying("hello");
    let proxy = bench
        .before(&backend, &["only"])
        .config("timeouts: { client_idle: 500ms }")
        .start();
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ] {
        let mut connection = bench.client().connect(proxy.address(), "only.test");
        let text = connection.read_to_end(request);
        assert!(
            text.as_ref().is_ok_and(|text| text.ends_with("hello")),
            "{request}: {text:?}"
        );
    }
}

#[test]
fn a_stream_for_a_host_with_another_certificate_is_misdirected_and_no_other() {
    let bench = Bench::new();
    bench.put("public", &["public.test"]);
    bench.put("private", &["private.test"]);
    let backend = Backend::saying("hello");
    let proxy = bench.before(&backend, &["public", "private"]).start();
    let client = crate::support::http2::Http2::secured(proxy.address(), &bench.client_h2(), "public.test");
    let status = |host: &str| {
        let request = http::Request::builder().uri(format!("https://{host}/"));
        let got = client.ask(request.body(()).unwrap(), b"").unwrap();
        got.head.status().as_u16()
    };
    let seen = ["public.test", "private.test", "public.test"].map(status);
    assert_eq!(seen, [200, 421, 200]);
}

impl Bench {
    /// A client that offers only HTTP/2.
    fn client_h2(&self) -> Tls {
        Tls::with(&self.authority, None, &[b"h2"])
    }

    /// Writes a certificate that expires this many days from now.
    fn put_ending(&self, name: &str, days: i64) {
        let pair = self.authority.sign(&wanted(&["a.test"]).days(-30, days));
        self.folder.put(name, &pair);
    }
}
