//! Who sent a request and where it goes: forwarding headers are trusted from trusted proxies only, and the path that
//! selected the pool is the path that the backend gets.

use crate::support::http2::{self, Http2};
use crate::support::{Backend, Builder, Proxy, Request, Response, refusing_address};

const CONFIG: &str = "workers: 1\nhealth_check: { kind: none }";

const TRUSTING: &str = "trusted_proxies: [127.0.0.0/8]";

/// The value of all spoofed headers.
const SPOOFED: &str = "6.6.6.6";

/// The request that the backend received, and its log line.
fn passed(config: &str, request: &str) -> (Request, serde_json::Value) {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend]).config(CONFIG).config(config).start();
    assert_eq!(proxy.client().send(request).read().status(), 200, "{request}");
    let line = proxy.access_lines(1).remove(0);
    (backend.requests(|_| true).remove(0), line)
}

fn get(lines: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: test\r\n{lines}\r\n")
}

/// I1: with all headers, on several lines, in other spellings: neither backend nor log trusts any of it.
#[test]
fn forwarding_headers_of_untrusted_clients_are_ignored() {
    for name in [
        "X-Forwarded-For",
        "X_Forwarded_For",
        "X-Real-IP",
        "x_real_ip",
        "Forwarded",
    ] {
        let lines = format!("{name}: {SPOOFED}\r\nAccept: */*\r\n{name}: {SPOOFED}\r\n");
        let (request, line) = passed("", &get(&lines));
        assert!(!request.head.contains(SPOOFED), "{}", request.head);
        assert!(!line.to_string().contains(SPOOFED), "{line}");
        assert_eq!(
            request.field("x-forwarded-for"),
            Some("127.0.0.1"),
            "{}",
            request.head
        );
    }
}

/// I1: proxies of another network are not trusted.
#[test]
fn only_listed_proxies_are_trusted() {
    let (request, line) = passed(
        "trusted_proxies: [10.0.0.0/8, \"::1/128\"]",
        &get("X-Forwarded-For: 6.6.6.6\r\nX-Request-Id: theirs\r\n"),
    );
    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_ne!(request.field("x-request-id"), Some("theirs"));
    assert!(!line.to_string().contains(SPOOFED), "{line}");
}

/// I1: read from the right, over all lines, past trusted proxies; elements to the left of that prove nothing.
#[test]
fn a_trusted_proxy_names_the_client() {
    for (lines, client, chain) in [
        ("X-Forwarded-For: 1.1.1.1\r\n", "1.1.1.1", "1.1.1.1, 127.0.0.1"),
        (
            "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 1.1.1.1, 127.0.0.9\r\n",
            "1.1.1.1",
            "6.6.6.6, 1.1.1.1, 127.0.0.9, 127.0.0.1",
        ),
        (
            "X-Forwarded-For: [2001:db8::1]:443\r\n",
            "2001:db8::1",
            "[2001:db8::1]:443, 127.0.0.1",
        ),
        // An invalid element ends the search: nobody has vouched for the elements to its left.
        (
            "X-Forwarded-For: 6.6.6.6, unknown, 127.0.0.9\r\n",
            "127.0.0.9",
            "6.6.6.6, unknown, 127.0.0.9, 127.0.0.1",
        ),
    ] {
        let (request, line) = passed(TRUSTING, &get(lines));
        assert_eq!(line["client_ip"], client, "{lines}");
        assert_eq!(request.field("x-forwarded-for"), Some(chain), "{lines}");
    }
    let (_, line) = passed(TRUSTING, &get("X-Forwarded-For: unknown\r\n"));
    let client = line["client_ip"].as_str().unwrap_or_default();
    assert!(client.starts_with("127.0.0.1:"), "its own address: {line}");
}

/// I1: a request id is kept if it is trusted, valid and short.
#[test]
fn an_invalid_request_id_is_replaced() {
    let long = "a".repeat(129);
    for (config, id, is_kept) in [
        (TRUSTING, "theirs", true),
        (TRUSTING, "", false),
        (TRUSTING, &long, false),
        (TRUSTING, &long[1..], true),
        ("", "theirs", false),
    ] {
        let (request, line) = passed(config, &get(&format!("X-Request-Id: {id}\r\n")));
        let sent = request.field("x-request-id").unwrap_or_default();
        assert_eq!(sent == id, is_kept, "{id:?}: {}", request.head);
        assert_eq!(line["request_id"], sent);
    }
}

/// H8, I1; RFC 9110 §6.5.1: backends that merge trailers into the headers would trust these.
#[test]
fn trailers_carry_no_identity_and_no_framing() {
    let names = [
        "X-Forwarded-For",
        "x_forwarded_for",
        "X-Forwarded-Proto",
        "X-Real-IP",
        "X_Real_IP",
        "X-Request-Id",
        "Forwarded",
        "Via",
        "Host",
        "Content-Length",
        "Content_Length",
        "Transfer-Encoding",
        "Connection",
        "Authorization",
        "Cookie",
        "Set-Cookie",
    ];
    let spoofed: String = names.map(|name| format!("{name}: {SPOOFED}\r\n")).concat();
    let body = format!("1\r\na\r\n0\r\n{spoofed}X-Sum: 7\r\n\r\n");
    let response = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let backend = Backend::start(move |_| Response::raw(&response));
    // They are not forwarded from a trusted proxy either: identity belongs in the headers.
    for config in ["", TRUSTING] {
        let proxy = Proxy::before(&[&backend]).config(CONFIG).config(config).start();
        let mut client = proxy.client();
        client.send(format!(
            "POST /x HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
        ));
        let responded = client.read_until(|bytes| bytes.ends_with(b"\r\n0\r\nX-Sum: 7\r\n\r\n"));
        assert!(!String::from_utf8_lossy(&responded).contains(SPOOFED));
    }
    for request in backend.requests(|_| true) {
        assert_eq!(request.raw_body, b"1\r\na\r\n0\r\nX-Sum: 7\r\n\r\n");
    }
}

/// F11, I2.
#[test]
fn connection_options_cannot_remove_forwarding_headers() {
    let options =
        "Connection: X-Forwarded-For, X-Forwarded-Proto, X-Request-Id, Via, Host, Content-Length, X-Mine\r\n";
    let (request, _) = passed(
        "",
        &format!("POST /x HTTP/1.1\r\nHost: test\r\n{options}X-Mine: 1\r\nContent-Length: 3\r\n\r\nabc"),
    );
    for name in [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-request-id",
        "via",
        "host",
    ] {
        assert!(request.field(name).is_some(), "{name}: {}", request.head);
    }
    assert_eq!(request.body, b"abc");
    assert_eq!(request.field("x-mine"), None);
}

/// A balancer with two prefix routes and a default; each backend sends its name and the path it received.
fn by_prefix() -> (Vec<Backend>, Builder) {
    let names = ["public", "admin", "rest"];
    let backends: Vec<Backend> = names
        .into_iter()
        .map(|name| {
            Backend::start(move |request| {
                let path = request.start().split(' ').nth(1).unwrap_or_default().to_owned();
                Response::ok(&format!("{name} {path}"))
            })
        })
        .collect();
    let pools: String = names
        .iter()
        .zip(&backends)
        .map(|(name, backend)| format!("  {name}: {{ backends: [{}] }}\n", backend.url()))
        .collect();
    let config = format!(
        "{CONFIG}\npools:\n{pools}routes:\n  - {{ path_prefix: /public, pool: public }}\n  \
         - {{ path_prefix: /admin, pool: admin }}\n  - {{ pool: rest }}"
    );
    (backends, Proxy::before(&[]).config(&config))
}

/// I3: one decision. The path that the backend receives selects, by the same rules, the pool of that backend.
#[test]
fn the_path_that_was_routed_is_the_path_that_is_forwarded() {
    let (_backends, builder) = by_prefix();
    let proxy = builder.start();
    let mut client = proxy.client();
    for (target, expected) in [
        ("/public/../admin/x", "admin /admin/x"),
        ("/public/%2e%2e/admin/x", "admin /admin/x"),
        ("/public/.%2E/admin/x", "admin /admin/x"),
        ("/public/./../admin", "admin /admin"),
        ("/public/a/../../admin", "admin /admin"),
        ("/../../admin", "admin /admin"),
        ("/admin/../public/x", "public /public/x"),
        ("/admin/..", "rest /"),
        ("/admin/.", "admin /admin/"),
        ("http://test/public/../admin", "admin /admin"),
        // They are not separators or dot segments here, so they must not become any further on: they are kept
        // unchanged.
        ("/public/..%2fadmin", "public /public/..%2fadmin"),
        ("/public%2f..%2fadmin", "rest /public%2f..%2fadmin"),
        ("/public/%252e%252e/admin", "public /public/%252e%252e/admin"),
        ("/public/..;/admin", "public /public/..;/admin"),
        ("/public/.;/../admin", "public /public/admin"),
        ("/public;x/admin", "rest /public;x/admin"),
        ("//admin/x", "rest //admin/x"),
        ("/public//admin", "public /public//admin"),
        ("/public//../admin", "public /public/admin"),
        ("/ADMIN", "rest /ADMIN"),
        ("/administrator", "rest /administrator"),
        ("/public?/../admin", "public /public?/../admin"),
    ] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        assert_eq!(client.read().text(), expected, "{target}");
    }
    let lines = proxy.access_lines(22);
    let logged = |path: &str| lines.iter().filter(|line| line["path"] == path).count();
    assert_eq!((logged("/admin/x"), logged("/public/..;/admin")), (3, 1));
}

/// I3: bytes that backends interpret in different ways.
#[test]
fn an_ambiguous_path_is_refused() {
    let (backends, builder) = by_prefix();
    let proxy = builder.start();
    for target in [
        "/public/..\\admin",
        "/public\\..\\admin",
        "/public/%00/admin",
        "/public%00",
        "/public/%",
        "/public/%zz",
        "/public#/../admin",
        "/public/\u{e4}",
        "/public/\x7f",
        "public/x",
        "*",
    ] {
        let mut client = proxy.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        let received = client.read();
        assert_eq!(received.status(), 400, "{target:?}");
        assert_eq!(received.field("connection"), Some("close"), "{target:?}");
    }
    for backend in backends {
        assert!(backend.requests(|_| true).is_empty());
    }
}

/// F19, I4: the routed host is the forwarded host.
#[test]
fn the_host_that_was_routed_is_the_host_that_is_forwarded() {
    let backends = ["inner", "outer"].map(|name| {
        Backend::start(move |request| {
            Response::ok(&format!("{name} {}", request.field("host").unwrap_or_default()))
        })
    });
    let [inner, outer] = backends.each_ref().map(Backend::url);
    let proxy = Proxy::before(&[])
        .config(CONFIG)
        .config(&format!(
            "pools:\n  inner: {{ backends: [{inner}] }}\n  outer: {{ backends: [{outer}] }}\n\
             routes:\n  - {{ host: inner.test, pool: inner }}\n  - {{ pool: outer }}"
        ))
        .start();
    let mut client = proxy.client();
    for (target, host, expected) in [
        ("/", "inner.test", "inner inner.test"),
        ("/", "INNER.test:80", "inner INNER.test:80"),
        ("/", "inner.test.", "inner inner.test."),
        ("/", "outer.test", "outer outer.test"),
        ("/", "x.inner.test", "outer x.inner.test"),
        ("http://inner.test/", "outer.test", "inner inner.test"),
        ("http://outer.test/", "inner.test", "outer outer.test"),
        ("HTTP://Inner.Test:8080/", "outer.test", "inner Inner.Test:8080"),
    ] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.read().text(), expected, "{target} {host}");
    }
    for host in [
        "inner.test,outer.test",
        "inner.test@outer.test",
        "inner.test:99999",
        "inner.test/",
    ] {
        let mut client = proxy.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.read().status(), 400, "{host}");
    }
}

/// A user who reports an error can name its line in the log.
#[test]
fn our_own_responses_carry_the_id_of_their_request() {
    let (refusing, _bound) = refusing_address();
    let proxy = Proxy::before(&[])
        .backend(&format!("http://{refusing}"))
        .config("health_check: { kind: none }")
        .start();
    for accept in ["*/*", "application/json"] {
        let path = format!("/{}", accept.len());
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nAccept: {accept}\r\n\r\n");
        let got = proxy.client().send(request).read();
        let line = proxy.access_line(&path);
        let id = line["request_id"].as_str().expect("an id");
        assert_eq!(
            (got.status(), got.field("x-request-id")),
            (503, Some(id)),
            "{accept}"
        );
        assert!(got.text().contains(id), "{accept}: {}", got.text());
    }
    let client = Http2::connect(proxy.address());
    let got = client.get("/http2");
    let line = proxy.access_line("/http2");
    let id = line["request_id"].as_str().expect("an id");
    assert_eq!(
        (got.head.status().as_u16(), got.field("x-request-id")),
        (503, Some(id))
    );
    assert!(got.text().contains(id), "{}", got.text());
    let mut call = http2::request("POST", "/grpc");
    let media = "application/grpc".parse().expect("a value");
    call.headers_mut().insert("content-type", media);
    let got = client.ask(call, b"").expect("a status");
    let line = proxy.access_line("/grpc");
    assert_eq!(got.field("x-request-id"), line["request_id"].as_str());
}
