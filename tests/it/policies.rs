//! Policies that ask other servers or read files, and mirrors, by the config file of a process.

use bytes::Bytes;
use rustix::process::Signal;

use crate::support::http2::Http2;
use crate::support::http2_backend::{Http2Backend, Seen};
use crate::support::{Backend, Proxy, Response};

/// A process with these pools and this route; nothing is probed.
fn before(pools: &[(&str, String)], lines: &str) -> Proxy {
    let mut config = "workers: 1\nhealth_check: off\npools:\n".to_owned();
    for (name, url) in pools {
        config.push_str(&format!("  {name}: {{ backends: [\"{url}\"] }}\n"));
    }
    Proxy::before(&[]).config(&(config + lines)).start()
}

#[test]
fn the_server_of_forward_auth_may_have_a_name() {
    let backend = Backend::saying("backend");
    let auth = Backend::start(|request| match request.field("cookie") {
        Some("s=1") => Response::raw("HTTP/1.1 200 OK\r\nX-User: alice\r\nContent-Length: 0\r\n\r\n"),
        Some("s=2") => Response::raw("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"),
        _ => Response::status(401, "who are you?"),
    });
    let url = format!("http://localhost:{}/check", auth.address().port());
    let proxy = before(
        &[("api", backend.url())],
        &format!(
            "policies: {{ sso: {{ forward_auth: {{ url: \"{url}\", response_headers: [X-User] }} }} }}\n\
             routes: [{{ pool: api, policies: [sso] }}]\n"
        ),
    );
    let refused = proxy.get("/");
    assert_eq!((refused.status(), refused.text().as_str()), (401, "who are you?"));
    let get = |cookie| format!("GET / HTTP/1.1\r\nHost: a.test\r\nCookie: {cookie}\r\n\r\n");
    let denied = proxy.client().send(get("s=2")).read();
    assert_eq!((denied.status(), denied.text().as_str()), (403, "no"));
    assert_eq!(denied.field("content-type"), None, "it has none at the server");
    assert_eq!(proxy.client().send(get("s=1")).read().text(), "backend");
    assert_eq!(backend.wait_for_request(|_| true).field("x-user"), Some("alice"));
    assert_eq!(auth.connections(), 1);
}

/// Backends that merge trailers into the headers would take the client's word for who it is.
#[test]
fn an_identity_header_cannot_come_as_a_trailer() {
    let backend = Backend::saying("backend");
    let auth =
        Backend::start(|_| Response::raw("HTTP/1.1 200 OK\r\nX-User: alice\r\nContent-Length: 0\r\n\r\n"));
    let proxy = before(
        &[("api", backend.url())],
        &format!(
            "policies: {{ sso: {{ forward_auth: {{ url: \"{}/check\", response_headers: [X-User] }} }} }}\n\
             routes: [{{ pool: api, policies: [sso] }}]\n",
            auth.url()
        ),
    );
    let body = "1\r\na\r\n0\r\nX-User: root\r\nx_user: root\r\nX-Users: 2\r\nX-Sum: 7\r\n\r\n";
    let post = format!("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    assert_eq!(proxy.client().send(post).read().text(), "backend");
    let request = backend.wait_for_request(|_| true);
    assert_eq!(request.field("x-user"), Some("alice"));
    let body = String::from_utf8_lossy(&request.raw_body);
    assert_eq!(body, "1\r\na\r\n0\r\nX-Users: 2\r\nX-Sum: 7\r\n\r\n");
}

/// Sends a body and these trailers; gives the trailers of the response.
fn post_by_http2(proxy: &Proxy, path: &str, trailers: &[(&'static str, &str)]) -> Vec<String> {
    let client = Http2::connect(proxy.address());
    let (response, mut sending) = client.send("POST", path, false);
    sending.send_data(Bytes::from_static(b"a"), false).unwrap();
    let trailers = trailers
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    sending.send_trailers(trailers.collect()).unwrap();
    let got = client.read(response).unwrap();
    let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        format!("{name}: {}", value.to_str().unwrap())
    };
    got.trailers.iter().map(text).collect()
}

/// Backends that merge trailers into the headers would take the client's word for what the route sets or removes; the same holds
/// for clients and responses.
#[test]
fn headers_that_a_route_sets_or_removes_cannot_come_as_trailers() {
    let http1 = Backend::start(|_| {
        Response::raw(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Env: dev\r\nX-Secret: 1\r\nX_Secret: 2\r\nX-Sum: 7\r\n\r\n",
        )
    });
    let http2 = Http2Backend::start();
    let pools = [("one", http1.url()), ("two", http2.url())];
    let of_request = "request_headers: { set: { X-Env: prod }, add: { X-Tag: a }, remove: [X-Debug] }";
    let of_response = "response_headers: { set: { X-Env: prod }, add: { X-Tag: a }, remove: [X-Secret] }";
    let proxy = before(
        &pools,
        &format!(
            "routes:\n  - {{ pool: two, {of_request} }}\n  \
             - {{ pool: one, path_prefix: /response, {of_response} }}\n  - {{ pool: one, path_prefix: /request, {of_request} }}\n  \
             - {{ pool: two, path: /echo, headers: {{ X-Way: back }}, {of_response} }}\n"
        ),
    );
    let lines = "x-env: dev\r\nX_DEBUG: 1\r\nx-debug: 2\r\nx-tag: b\r\nx-sum: 7\r\n\r\n";
    let post = |path: &str, more: &str| {
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: a.test\r\n{more}Transfer-Encoding: chunked\r\n\r\n");
        let mut client = proxy.client();
        client.send(format!("{head}1\r\na\r\n0\r\n{lines}"));
        let bytes = client.read_until(|bytes| {
            bytes.ends_with(b"\r\n\r\n") && bytes.windows(5).any(|at| at == b"\r\n0\r\n")
        });
        String::from_utf8(bytes).unwrap()
    };
    let trailers = [
        ("x-env", "dev"),
        ("x_debug", "1"),
        ("x-debug", "2"),
        ("x-tag", "b"),
        ("x-sum", "7"),
    ];
    post("/request", "");
    post_by_http2(&proxy, "/request", &trailers);
    for request in http1.requests(|_| true) {
        let body = String::from_utf8_lossy(&request.raw_body);
        assert_eq!(body, "1\r\na\r\n0\r\nx-tag: b\r\nx-sum: 7\r\n\r\n");
    }
    assert_eq!(http1.requests(|_| true).len(), 2);
    assert!(post("/echo", "").ends_with("\r\n1\r\na\r\n0\r\nx-tag: b\r\nx-sum: 7\r\n\r\n"));
    assert_eq!(
        post_by_http2(&proxy, "/echo", &trailers),
        ["x-tag: b", "x-sum: 7"]
    );
    // Responses: names are compared as they are.
    let got = post("/response", "");
    assert!(
        got.ends_with("\r\n1\r\na\r\n0\r\nX_Secret: 2\r\nX-Sum: 7\r\n\r\n"),
        "{got}"
    );
    assert_eq!(
        post_by_http2(&proxy, "/response", &[("x-a", "1")]),
        ["x_secret: 2", "x-sum: 7"]
    );
    let got = post("/echo", "X-Way: back\r\n");
    assert!(
        got.ends_with("\r\n0\r\nx_debug: 1\r\nx-debug: 2\r\nx-tag: b\r\nx-sum: 7\r\n\r\n"),
        "{got}"
    );
}

#[test]
fn a_copy_goes_to_a_mirror_that_speaks_http2() {
    let (backend, shadow) = (Backend::saying("original"), Http2Backend::start());
    let proxy = before(
        &[("api", backend.url()), ("shadow", shadow.url())],
        "routes: [{ pool: api, mirror: { pool: shadow } }]\n",
    );
    for path in ["/take", "/bytes/100000"] {
        let request = format!("POST {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(proxy.client().send(request).read().text(), "original");
        let line = format!("POST http://a.test-shadow{path}");
        let fields = shadow.wait_for("the copy", |all| {
            all.iter().find_map(|seen| match seen {
                Seen::Request(at, fields) if *at == line => Some(fields.clone()),
                _ => None,
            })
        });
        let mark = ("x-evenkeel-mirrored".to_owned(), "1".to_owned());
        assert!(fields.contains(&mark), "{fields:?}");
    }
    assert_eq!(shadow.count(|seen| *seen == Seen::Connection), 1);
}

#[test]
fn a_reload_with_a_file_of_a_policy_that_cannot_be_used_changes_nothing() {
    let backend = Backend::saying("backend");
    let pools = [("api", backend.url())];
    let proxy = before(&pools, "routes: [{ pool: api }]\n");
    let config = "workers: 1\npools: { api: { backends: [\"http://127.0.0.1:1\"] } }\n\
                  routes: [{ pool: api, policies: [{ basic_auth: { users_file: missing } }] }]\n";
    proxy.write_config(&Proxy::before(&[]).config(config).text());
    let mark = proxy.mark();
    proxy.signal(Signal::HUP);
    let line = proxy.wait_for_message(mark, "reload failed");
    let error = line["error"].as_str().unwrap();
    assert!(error.contains("missing"), "{error}");
    assert_eq!(proxy.get("/").text(), "backend");
}
