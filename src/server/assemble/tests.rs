//! Requests through assembled routes, over sockets: what policies for responses make of what backends send.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use evenkeel_balance::policy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};
use tokio::time::timeout;

use super::*;
use crate::clock;
use crate::http1::{HeadScan, Kind, Limits, parse_request};
use crate::message::Connection;
use crate::net::{ClientAddress, Stream};
use crate::proxy::{Client, ConnectionDisposition, Incoming, Peer, SnapshotCell, Worker, serve_request};
use crate::schema::{ANY, Params, Value};
use crate::server::sources;
use crate::tasks::Tasks;
use crate::telemetry::access_log::{LogBuffer, OnFull, Options};
use crate::tls::testing::Folder;

/// Maximum wait for an event that must happen.
const DEADLINE: Duration = Duration::from_secs(20);

/// The same parameters, with files in this folder in place of those that they name.
fn with_files(params: &Params, folder: &Folder) -> Params {
    let mut found = params.clone();
    let files = params.any().iter().map(|(status, value)| {
        let value = match value {
            Value::Text(name) => Value::Text(folder.write(name, "<h1>Sorry</h1>")),
            other => other.clone(),
        };
        (status.clone(), value)
    });
    if !params.any().is_empty() {
        found.set(ANY, Value::Named(files.collect()));
    }
    found
}

/// A response with these header lines and this body.
fn response(status: &str, lines: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{lines}Content-Length: {length}\r\n\r\n{body}")
}

/// A backend, as long as this lives.
struct Backend {
    address: SocketAddr,
    _tasks: Tasks,
}

/// A backend that has a response to each head of a request.
async fn backend(respond: fn(&str) -> String) -> Backend {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = Tasks::default();
    tasks.spawn(async move {
        let mut connections = Tasks::default();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut head = Vec::new();
                while stream.read_buf(&mut head).await.unwrap_or(0) > 0 {
                    if head.ends_with(b"\r\n\r\n") {
                        let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
                        stream.write_all(respond(&text).as_bytes()).await.unwrap();
                    }
                }
            });
        }
    });
    Backend {
        address,
        _tasks: tasks,
    }
}

/// A worker with one route.
struct Bench {
    worker: Rc<Worker>,
}

/// A response as the client has it.
struct Received {
    head: String,
    body: Vec<u8>,
    after: ConnectionDisposition,
}

impl Bench {
    /// The route has these policies, and goes to the pool `main`.
    fn new(pools: &str, policies: &[(&str, Params)]) -> Self {
        Self::of(pools, policies, |_| {})
    }

    /// The same, with a route that was changed.
    fn of(pools: &str, policies: &[(&str, Params)], change: impl FnOnce(&mut RouteSettings)) -> Self {
        let text = format!(
            "listen: 127.0.0.1:0\nhealth_check: {{ kind: none }}\npools: {{ {pools} }}\nroutes: [{{ pool: main }}]\n"
        );
        let path = std::env::temp_dir().join(format!(
            "evenkeel-assemble-{}-{:?}.yaml",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::write(&path, text).unwrap();
        let loaded = crate::config::load(&path);
        std::fs::remove_file(&path).unwrap();
        let mut config = loaded.unwrap_or_else(|report| panic!("{report}")).config;
        let folder = Folder::new();
        for (name, params) in policies {
            config.routes[0].policies.push(Arc::new(PolicySettings {
                name: (*name).into(),
                entry: policy::by_name(name).unwrap(),
                params: with_files(params, &folder),
            }));
        }
        change(&mut config.routes[0]);
        let mut assembled = assemble(&config, &Kept::default()).unwrap();
        let sources = sources::start(&config, &mut assembled, &sources::starter().0);
        sources::fill(&assembled.snapshot, &sources);
        let plan = assembled.snapshot.routes[0].plan.as_ref();
        for step in plan.iter().flat_map(|plan| &plan.steps) {
            for feed in step.policy.feeds() {
                feed.take(b"<h1>Sorry</h1>").unwrap();
            }
        }
        let worker = Worker::new(
            0,
            SnapshotCell::new(assembled.snapshot),
            Arc::default(),
            LogBuffer::new(None, OnFull::Drop, Options::default()),
            Arc::default(),
        );
        Self { worker }
    }

    async fn send(&self, request: &str) -> Received {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let ours = ours.into_std().unwrap();
        let mut client = Client {
            connection: Connection::new(Stream::from(OwnedFd::from(ours))),
            peer: Rc::new(Peer::new(ClientAddress::Unix)),
            timer: self.worker.wheel.timer(),
            worker: Rc::clone(&self.worker),
            is_last_request: false,
            pinned: None,
        };
        let mut incoming = Incoming::default();
        let mut scan = HeadScan::default();
        let end = scan.advance(request.as_bytes(), Kind::Request, &Limits::default());
        incoming.head.bytes = request.as_bytes().to_vec();
        parse_request(&mut incoming.head, &scan, end.unwrap().unwrap()).unwrap();
        let mut theirs = theirs;
        let mut bytes = Vec::new();
        let serve = async {
            let after = serve_request(&mut client, &incoming, clock::now()).await;
            drop(client);
            after
        };
        let both = async { tokio::join!(serve, theirs.read_to_end(&mut bytes)) };
        let (after, read) = timeout(DEADLINE, both).await.expect("a response in time");
        read.unwrap();
        let split = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        Received {
            head: String::from_utf8(bytes[..split].to_vec()).unwrap(),
            body: bytes[split..].to_vec(),
            after,
        }
    }

    async fn get(&self, lines: &str) -> Received {
        self.send(&format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"))
            .await
    }
}

impl Received {
    /// The values of the header lines with this name.
    fn values(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    /// The body without its chunks.
    fn content(&self) -> Vec<u8> {
        if self.values("transfer-encoding").is_empty() {
            return self.body.clone();
        }
        let mut content = Vec::new();
        let mut rest = &self.body[..];
        loop {
            let end = rest.windows(2).position(|window| window == b"\r\n").unwrap();
            let size = std::str::from_utf8(&rest[..end]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            if size == 0 {
                return content;
            }
            content.extend_from_slice(&rest[end + 2..end + 2 + size]);
            rest = &rest[end + 2 + size + 2..];
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.content()).unwrap()
    }
}

fn decoded(coding: &str, bytes: &[u8]) -> String {
    let mut text = String::new();
    let read = match coding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_string(&mut text),
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_string(&mut text),
        _ => zstd::Decoder::new(bytes).unwrap().read_to_string(&mut text),
    };
    read.unwrap();
    text
}

fn long_text() -> String {
    "All work and no play. ".repeat(400)
}

fn compress() -> (&'static str, Params) {
    ("compress", Params::default())
}

/// Pages for these statuses, from files or from paths of the pool `pages`.
fn pages(entries: &[(&str, &str)], intercepts: bool) -> (&'static str, Params) {
    let page = |place: &str| {
        if !place.starts_with('/') {
            return Value::Text(place.to_owned());
        }
        let mut params = Params::default();
        params.set("pool", Value::Text("pages".to_owned()));
        params.set("path", Value::Text(place.to_owned()));
        Value::Section(params)
    };
    let entries = entries
        .iter()
        .map(|(status, place)| ((*status).to_owned(), page(place)));
    let mut params = Params::default();
    params.set(ANY, Value::Named(entries.collect()));
    params.set("intercept", Value::Flag(intercepts));
    ("error_pages", params)
}

fn main_pool(backend: &Backend) -> String {
    format!("main: {{ backends: ['http://{}'] }}", backend.address)
}

const LINES: &str = "Content-Type: text/html\r\nETag: \"x\"\r\nVary: Origin\r\nAccept-Ranges: bytes\r\n";

#[tokio::test]
async fn a_response_is_compressed_as_the_client_accepts_it() {
    let backend = backend(|_| response("200 OK", LINES, &long_text())).await;
    let bench = Bench::new(&main_pool(&backend), &[compress()]);
    for coding in ["gzip", "br", "zstd"] {
        let got = bench.get(&format!("Accept-Encoding: {coding}\r\n")).await;
        assert_eq!(got.values("content-encoding"), [coding]);
        assert_eq!(got.values("vary"), ["Origin, Accept-Encoding"]);
        assert_eq!(got.values("etag"), ["W/\"x\""]);
        assert_eq!(got.values("transfer-encoding"), ["chunked"]);
        assert!(got.values("content-length").is_empty() && got.values("accept-ranges").is_empty());
        assert!(got.body.len() < 500, "{}", got.body.len());
        assert_eq!(decoded(coding, &got.content()), long_text());
        assert_eq!(got.after, ConnectionDisposition::KeepAlive);
    }
    let plain = bench.get("").await;
    assert_eq!(plain.text(), long_text());
    assert_eq!(plain.values("vary"), ["Origin, Accept-Encoding"]);
    assert_eq!(plain.values("etag"), ["\"x\""]);
    assert_eq!(plain.values("content-length"), [long_text().len().to_string()]);
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_a_compressed_body_up_to_the_close() {
    let backend = backend(|_| response("200 OK", LINES, &long_text())).await;
    let bench = Bench::new(&main_pool(&backend), &[compress()]);
    let got = bench
        .send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nAccept-Encoding: gzip\r\n\r\n")
        .await;
    assert!(got.values("transfer-encoding").is_empty() && got.values("content-length").is_empty());
    assert_eq!(decoded("gzip", &got.body), long_text());
    assert_ne!(got.after, ConnectionDisposition::KeepAlive);
}

#[tokio::test]
async fn the_response_to_head_announces_no_length_that_get_does_not_have() {
    let backend = backend(|_| format!("HTTP/1.1 200 OK\r\n{LINES}Content-Length: 9000\r\n\r\n")).await;
    let bench = Bench::new(&main_pool(&backend), &[compress()]);
    let request = "HEAD / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n";
    let got = bench.send(request).await;
    assert!(got.values("content-length").is_empty() && got.values("content-encoding").is_empty());
    assert_eq!(got.values("etag"), ["W/\"x\""]);
    let plain = bench.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(plain.values("content-length"), ["9000"]);
    assert!(got.body.is_empty() && plain.body.is_empty());
}

#[tokio::test]
async fn what_must_stay_as_it_is_is_not_compressed() {
    let backend = backend(|head| {
        let lines = match head.split(' ').nth(1).unwrap() {
            "/fixed" => "Content-Type: text/html\r\nCache-Control: public, no-transform\r\n",
            "/encoded" => "Content-Type: text/html\r\nContent-Encoding: gzip\r\n",
            "/range" => {
                let lines = "Content-Type: text/html\r\nContent-Range: bytes 0-8799/9000\r\n";
                return response("206 Partial Content", lines, &long_text());
            }
            _ => "Content-Type: image/png\r\n",
        };
        response("200 OK", lines, &long_text())
    })
    .await;
    let bench = Bench::new(&main_pool(&backend), &[compress()]);
    for path in ["/fixed", "/encoded", "/range", "/image"] {
        let got = bench
            .send(&format!(
                "GET {path} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n"
            ))
            .await;
        assert_eq!(got.text(), long_text(), "{path}");
        assert!(got.values("vary").is_empty(), "{path}");
    }
}

#[tokio::test]
async fn trailers_follow_a_compressed_body_except_digests() {
    let backend = backend(|_| {
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\nX-Sum: 1\r\nDigest: x\r\n\r\n"
            .to_owned()
    })
    .await;
    let bench = Bench::new(&main_pool(&backend), &[compress()]);
    let got = bench.get("Accept-Encoding: gzip\r\n").await;
    assert_eq!(decoded("gzip", &got.content()), "abcd");
    assert!(
        got.body.ends_with(b"0\r\nX-Sum: 1\r\n\r\n"),
        "{}",
        got.body.escape_ascii()
    );
}

#[tokio::test]
async fn a_truncated_body_never_looks_whole_when_it_is_compressed() {
    let backend = backend(|_| {
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\nX\r\n"
            .to_owned()
    })
    .await;
    let bench = Bench::new(&main_pool(&backend), &[compress()]);
    let got = bench.get("Accept-Encoding: gzip\r\n").await;
    assert!(!got.body.ends_with(b"0\r\n\r\n"), "{}", got.body.escape_ascii());
}

const HTML: &str = "Accept: text/html\r\n";

#[tokio::test]
async fn people_get_the_page_of_a_local_response_and_programs_do_not() {
    let bench = Bench::new(
        "main: { backends: ['http://127.0.0.1:1'] }",
        &[pages(&[("502-504", "sorry.html")], false)],
    );
    let page = bench.get(HTML).await;
    assert!(page.head.starts_with("HTTP/1.1 50"), "{}", page.head);
    assert_eq!(page.text(), "<h1>Sorry</h1>");
    assert_eq!(page.values("content-type"), ["text/html; charset=utf-8"]);
    assert_eq!(
        (page.values("vary"), page.values("x-request-id").len()),
        (vec!["Accept"], 1)
    );
    let problem = bench.get("Accept: application/json\r\n").await;
    assert_eq!(problem.values("content-type"), ["application/problem+json"]);
    assert_eq!(problem.values("vary"), ["Accept"]);
    let head = bench
        .send("HEAD / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n")
        .await;
    assert_eq!((head.values("content-length"), head.body.len()), (vec!["14"], 0));
}

/// Also to a request that no policy has seen.
#[tokio::test]
async fn a_request_that_is_refused_before_its_plan_gets_the_page_too() {
    let bench = Bench::of(
        "main: { backends: ['http://127.0.0.1:1'] }",
        &[pages(&[("413", "413.html")], false)],
        |route| route.body_limit = Some(10),
    );
    let got = bench
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nAccept: text/html\r\n\r\n")
        .await;
    assert!(got.head.starts_with("HTTP/1.1 413 "), "{}", got.head);
    assert_eq!(got.text(), "<h1>Sorry</h1>");
}

/// A response that would be wrong with another body in many ways.
fn not_found(_: &str) -> String {
    let lines = "Content-Type: text/plain\r\nContent-Encoding: gzip\r\nETag: \"x\"\r\nLast-Modified: Sun, 29 Nov 2026 00:00:00 GMT\r\n\
         Content-Digest: x\r\nAccept-Ranges: bytes\r\nSet-Cookie: a=1\r\nX-Request-Id: theirs\r\nConnection: X-Hop\r\nX-Hop: 1\r\n";
    response("404 Not Found", lines, "internal")
}

#[tokio::test]
async fn the_response_of_a_backend_is_replaced_only_when_asked_for() {
    let backend = backend(not_found).await;
    for intercepts in [false, true] {
        let bench = Bench::new(&main_pool(&backend), &[pages(&[("404", "404.html")], intercepts)]);
        let got = bench.get(HTML).await;
        assert!(got.head.starts_with("HTTP/1.1 404 "), "{}", got.head);
        assert_eq!(got.text() == "<h1>Sorry</h1>", intercepts);
        assert_eq!(got.values("etag").is_empty(), intercepts);
        assert_eq!(bench.get("").await.text(), "internal");
    }
}

#[tokio::test]
async fn a_replaced_response_keeps_what_is_not_about_its_body() {
    let backend = backend(not_found).await;
    let bench = Bench::new(&main_pool(&backend), &[pages(&[("404", "404.html")], true)]);
    let got = bench.get(HTML).await;
    assert_eq!(got.values("set-cookie"), ["a=1"]);
    assert_eq!(got.values("x-request-id"), ["theirs"]);
    assert_eq!(got.values("content-length"), ["14"]);
    assert_eq!(got.values("content-type"), ["text/html; charset=utf-8"]);
    for name in [
        "content-encoding",
        "etag",
        "last-modified",
        "content-digest",
        "accept-ranges",
        "x-hop",
    ] {
        assert!(got.values(name).is_empty(), "{name}: {}", got.head);
    }
    assert_eq!(
        (got.values("date").len(), got.after),
        (1, ConnectionDisposition::KeepAlive)
    );
}

#[tokio::test]
async fn a_page_of_a_pool_is_fetched_and_its_failure_leaves_the_usual_body() {
    let main = backend(not_found).await;
    let of_pages = backend(|head| {
        let lower = head.to_lowercase();
        assert!(
            head.starts_with("GET /err") && lower.contains("via: ") && lower.contains("host: a\r\n"),
            "{head}"
        );
        match head.starts_with("GET /err/404.html ") {
            true => response(
                "200 OK",
                "Content-Type: text/html; charset=iso-8859-1\r\n",
                "of the pool",
            ),
            false => response("404 Not Found", "Content-Type: text/html\r\n", "no page"),
        }
    })
    .await;
    let pools = format!(
        "{}, pages: {{ backends: ['http://{}'] }}",
        main_pool(&main),
        of_pages.address
    );
    for (path, expected) in [("/err/404.html", "of the pool"), ("/err/none.html", "internal")] {
        let bench = Bench::new(&pools, &[pages(&[("404", path)], true)]);
        for _ in 0..3 {
            let got = bench.get(HTML).await;
            assert!(got.head.starts_with("HTTP/1.1 404 "), "{}", got.head);
            assert_eq!(got.text(), expected);
        }
        let opened = bench.worker.counters.backend_connections_opened.value();
        assert_eq!(opened, 2, "one connection to each backend carries all requests");
    }
    let gone = format!(
        "{}, pages: {{ backends: ['http://127.0.0.1:1'] }}",
        main_pool(&main)
    );
    let bench = Bench::new(&gone, &[pages(&[("404", "/err/404.html")], true)]);
    assert_eq!(bench.get(HTML).await.text(), "internal");
}

/// A backend that was about to send more is not read to its end, and its connection carries nothing else.
#[tokio::test]
async fn the_rest_of_a_long_replaced_body_is_not_waited_for() {
    let backend =
        backend(|_| "HTTP/1.1 404 Not Found\r\nContent-Length: 1000000\r\n\r\nonly the beginning".to_owned())
            .await;
    let bench = Bench::new(&main_pool(&backend), &[pages(&[("404", "404.html")], true)]);
    for connections in 1..3 {
        assert_eq!(bench.get(HTML).await.text(), "<h1>Sorry</h1>");
        assert_eq!(
            bench.worker.counters.backend_connections_opened.value(),
            connections
        );
    }
}

#[tokio::test]
async fn names_are_written_for_the_backend_as_its_pool_says() {
    let backend = backend(|head| response("200 OK", "", head)).await;
    for (case, expected) in [
        ("preserve", "\r\nx-custom-name: a-b\r\n"),
        ("title", "\r\nX-Custom-Name: a-b\r\n"),
    ] {
        let pool = format!(
            "main: {{ backends: ['http://{}'], header_case: {case}, forwarded: [x-real-ip] }}",
            backend.address
        );
        let got = Bench::new(&pool, &[])
            .get("x-custom-name: a-b\r\nX-Forwarded-For: 6.6.6.6\r\n")
            .await
            .text();
        assert!(got.contains(expected), "{got}");
        assert!(!got.to_lowercase().contains("x-forwarded"), "{got}");
    }
}

#[tokio::test]
async fn the_config_has_the_last_word_on_headers_of_policies() {
    let backend = backend(|_| response("404 Not Found", "Content-Type: text/plain\r\n", &long_text())).await;
    let policies = [compress(), pages(&[("404", "404.html")], true)];
    let mut edits = Params::default();
    let headers = vec![("Vary".to_owned(), Value::Text("Cookie".to_owned()))];
    let mut set = Params::default();
    set.set(ANY, Value::Named(headers));
    edits.set("set", Value::Section(set));
    let bench = Bench::of(&main_pool(&backend), &policies, |route| {
        route.response_headers = Some(edits)
    });
    let got = bench.get("Accept-Encoding: gzip\r\n").await;
    assert_eq!(got.values("vary"), ["Cookie, Accept-Encoding"]);
}

/// The order of the policies: a page takes the place of the response, and what the client gets is decided then.
#[tokio::test]
async fn compression_and_pages_agree_on_vary() {
    let backend = backend(|_| response("404 Not Found", "Content-Type: text/plain\r\n", &long_text())).await;
    let policies = [compress(), pages(&[("404", "404.html")], true)];
    let bench = Bench::new(&main_pool(&backend), &policies);
    let got = bench
        .get("Accept: application/json\r\nAccept-Encoding: gzip\r\n")
        .await;
    assert_eq!(got.values("vary"), ["Accept, Accept-Encoding"]);
    assert_eq!(decoded("gzip", &got.content()), long_text());
}
