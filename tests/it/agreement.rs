//! Metrics, access log, admin API, clients and backends agree on what has happened: nothing is counted twice, nothing is missed.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::http2::{Http2, request};
use crate::support::http2_backend::{Http2Backend, Seen};
use crate::support::metrics::Metrics;
use crate::support::{Backend, Bare, Client, Gate, Proxy, Request, Response, refusing_address, wait_until};

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// The status of a request whose client has left.
const LEFT: u16 = 499;

/// Path and status of each request, as its client knows them.
#[derive(Debug, Default)]
struct Known(Vec<(String, u16)>);

impl Known {
    fn add(&mut self, path: &str, status: u16) {
        self.0.push((path.to_owned(), status));
    }

    /// Requests a path on this connection.
    fn get(&mut self, client: &mut Client, path: &str) -> u16 {
        let status = client.get(path).status();
        self.add(path, status);
        status
    }

    /// Requests a path on this connection of HTTP/2.
    fn get_http2(&mut self, client: &Http2, path: &str) {
        self.add(path, client.get(path).head.status().as_u16());
    }
}

/// The backends of all pools.
struct Backends {
    main: [Backend; 2],
    good: Backend,
    refuses: Backend,
    closes: Backend,
    silent: Backend,
    shadow: Backend,
    http2: Http2Backend,
    chat: Bare,
}

impl Backends {
    /// `end` is the end of what takes long.
    fn start(end: &Gate) -> Self {
        let (one, other, silent) = (end.clone(), end.clone(), end.clone());
        Self {
            main: [
                Backend::start(move |request| main(request, &one)),
                Backend::start(move |request| main(request, &other)),
            ],
            good: Backend::saying("good"),
            refuses: Backend::start(|_| Response::status(503, "full")),
            closes: Backend::start(|_| Response::nothing().close()),
            silent: Backend::start(move |_| Response::ok("late").after(&silent)),
            shadow: Backend::saying("shadow"),
            http2: Http2Backend::start(),
            chat: Bare::start(),
        }
    }

    /// A balancer with a pool for each way in which a request ends. Nobody listens at `away`.
    fn balancer(&self, away: &str) -> Proxy {
        let [one, other] = [&self.main[0], &self.main[1]].map(Backend::url);
        let good = self.good.url();
        let pools = [
            ("main", format!("{one}, {other}")),
            ("flaky", format!("{}, {good}", self.refuses.url())),
            ("half", format!("{away}, {good}")),
            ("away", away.to_owned()),
            ("full", self.refuses.url()),
            ("dead", self.closes.url()),
            ("slow", self.silent.url()),
            ("hedged", format!("{}, {good}", self.silent.url())),
            ("shadow", self.shadow.url()),
            ("http2", self.http2.url()),
            ("chat", self.chat.url()),
        ];
        let mut config =
            "workers: 2\nhealth_check: { kind: none }\nejection: off\nqueue: off\npools:\n".to_owned();
        for (name, backends) in &pools {
            config.push_str(&format!("  {name}: {{ backends: [{backends}] }}\n"));
        }
        config.push_str("routes:\n");
        for (name, _) in pools
            .iter()
            .filter(|(name, _)| !["slow", "hedged"].contains(name))
        {
            config.push_str(&format!("  - {{ path_prefix: /{name}, pool: {name} }}\n"));
        }
        config.push_str(
            "  - { path_prefix: /slow, pool: slow, timeouts: { first_byte: 300ms } }\n  \
             - { path_prefix: /hedged, pool: hedged, retry: { hedge: { after: 50ms } } }\n  \
             - { path_prefix: /copied, pool: main, mirror: { pool: shadow } }\n  \
             - { path_prefix: /limited, pool: main, policies: [{ body_limit: 1B }] }\n  \
             - { path_prefix: /moved, redirect: { path_prefix: /main } }\n  \
             - { path_prefix: /gone, respond: { status: 410 } }\n",
        );
        Proxy::before(&[]).config(&config).start()
    }
}

/// The backends of the pool `main`.
fn main(request: &Request, end: &Gate) -> Response {
    let path = request.start().rsplit('/').next().unwrap_or_default();
    match path {
        "missing" => Response::status(404, "no"),
        "broken" => Response::status(500, "broken"),
        "unmodified" => Response::raw("HTTP/1.1 304 Not Modified\r\n\r\n"),
        "hints" => Response::raw("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        "last" => Response::ok("last").close(),
        "cut" => Response::raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello").close(),
        "never" => Response::ok("late").after(end),
        "endless" => Response::raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello").wait(end),
        "echo" => Response::echo(),
        _ => Response::ok("ok"),
    }
}

#[test]
fn metrics_log_api_clients_and_backends_agree() {
    let end = Gate::default();
    let backends = Backends::start(&end);
    let (address, _socket) = refusing_address();
    let proxy = backends.balancer(&format!("http://{address}"));
    let mut known = Known::default();
    responses(&proxy, &mut known);
    failures(&proxy, &mut known);
    departures(&proxy, &backends, &mut known);
    protocols(&proxy, &backends, &mut known);
    backends.shadow.wait_for_requests(3);

    let lines = proxy.access_lines(known.0.len());
    // Each request is over once its line is written, or in the same moment.
    let mut metrics = Metrics::default();
    wait_until("no request is in flight", || {
        metrics = Metrics::of(&proxy);
        metrics.sum("evenkeel_requests_in_flight", &[]) == 0
            && metrics.sum("evenkeel_backend_in_flight", &[]) == 0
    });
    clients_agree(&known, &lines);
    requests_agree(&lines, &metrics);
    attempts_agree(&lines, &metrics, &backends);
    connections_agree(&metrics, &backends);
    api_agrees(&proxy, &metrics);
    let all = proxy.access_lines(0);
    assert_eq!(all.len(), known.0.len(), "lines came later");
    end.open();
}

/// Requests that get a response, of a backend or of the balancer itself.
fn responses(proxy: &Proxy, known: &mut Known) {
    let mut client = proxy.client();
    for path in [
        "/main/a",
        "/main/missing",
        "/main/broken",
        "/main/unmodified",
        "/moved/x",
        "/gone",
        "/nowhere",
        "/copied/a",
        "/copied/missing",
        "/copied/broken",
    ] {
        known.get(&mut client, path);
    }
    for pair in ["/main/a", "/main/b"].chunks(2) {
        let pipelined: String = pair
            .iter()
            .map(|path| format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))
            .collect();
        client.send(pipelined);
        for path in pair {
            known.add(path, client.read().status());
        }
    }
    client.send("GET /main/hints HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.read().status(), 103);
    known.add("/main/hints", client.read().status());
    for (path, body, expected) in [("/main/echo", "abc", 200), ("/limited/echo", "abc", 413)] {
        let length = body.len();
        let post = format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{body}");
        let status = proxy.client().send(post).read().status();
        assert_eq!(status, expected);
        known.add(path, status);
    }
    // The connections that the backends close are used again, or found closed.
    for _ in 0..8 {
        known.get(&mut proxy.client(), "/main/last");
    }
}

/// Requests that fail, or of which an attempt fails.
fn failures(proxy: &Proxy, known: &mut Known) {
    for (path, times, expected) in [
        ("/flaky/a", 4, 200),
        ("/half/a", 4, 200),
        ("/hedged/a", 2, 200),
        ("/away/a", 3, 503),
        ("/full/a", 3, 503),
        ("/dead/a", 3, 502),
        ("/slow/a", 2, 504),
        ("/main/cut", 2, 200),
    ] {
        for _ in 0..times {
            let mut client = proxy.client();
            client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
            let status = client.read_head().status();
            assert_eq!(status, expected, "{path}");
            known.add(path, status);
        }
    }
    let mut client = proxy.client();
    client.send("GET /main/a HTTP/1.1\r\nHost: test\r\nX: \0\r\n\r\n");
    known.add("/main/a", client.read().status());
}

/// Clients that leave: before the response, in the middle of it, and one that resets a stream of HTTP/2.
fn departures(proxy: &Proxy, backends: &Backends, known: &mut Known) {
    let has_begun = |path: &str| {
        let begun = || {
            backends
                .main
                .iter()
                .flat_map(|backend| backend.requests(|request| request.start() == path))
        };
        wait_until("a backend gets the request", || begun().count() > 0);
    };
    let mut client = proxy.client();
    client.send("GET /main/early/never HTTP/1.1\r\nHost: test\r\n\r\n");
    has_begun("GET /main/early/never");
    client.reset();
    known.add("/main/early/never", LEFT);

    let mut client = proxy.client();
    client.send("GET /main/endless HTTP/1.1\r\nHost: test\r\n\r\n");
    client.read_until(|bytes| bytes.ends_with(b"hello"));
    client.reset();
    known.add("/main/endless", LEFT);

    let client = Http2::connect(proxy.address());
    let (response, body) = client.send("GET", "/main/stream/never", true);
    client.run_beside(|| has_begun("GET /main/stream/never"));
    drop((response, body));
    client.run_beside(|| proxy.access_line("/main/stream/never"));
    known.add("/main/stream/never", LEFT);
}

/// HTTP/2 on either side, gRPC and a WebSocket.
fn protocols(proxy: &Proxy, backends: &Backends, known: &mut Known) {
    let client = Http2::connect(proxy.address());
    for path in [
        "/main/a",
        "/main/missing",
        "/main/broken",
        "/away/a",
        "/nowhere",
        "/http2/a",
        "/dead/a",
    ] {
        known.get_http2(&client, path);
    }
    let mut call = request("POST", "/away/Service/Call");
    for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
        call.headers_mut().insert(name, value.parse().unwrap());
    }
    let got = client.ask(call, b"").unwrap();
    assert_eq!(got.field("grpc-status"), Some("14"));
    known.add("/away/Service/Call", got.head.status().as_u16());
    for _ in 0..2 {
        known.get(&mut proxy.client(), "/http2/b");
    }
    let mut client = proxy.client();
    client.send(
        "GET /chat HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let mut held = backends.chat.accept();
    held.head();
    held.send(SWITCH);
    known.add("/chat", client.read().status());
    client.send("hello");
    assert_eq!(held.read(5), "hello");
    drop(client);
    held.wait_for_end();
}

/// Each request has one line, with the status that its client knows.
fn clients_agree(known: &Known, lines: &[Value]) {
    let mut known = known.0.clone();
    let of_line = |line: &Value| {
        let path = line["path"].as_str().unwrap_or_default().to_owned();
        (path, u16::try_from(line["status"].as_u64().unwrap()).unwrap())
    };
    let mut logged: Vec<_> = lines.iter().map(of_line).collect();
    known.sort();
    logged.sort();
    assert_eq!(known, logged);
}

/// Requests, durations and bytes, in all and by route and pool.
fn requests_agree(lines: &[Value], metrics: &Metrics) {
    let count = |is_meant: &dyn Fn(&Value) -> bool| lines.iter().filter(|line| is_meant(line)).count() as u64;
    for class in 1..=5 {
        let of_class = |line: &Value| line["status"].as_u64().unwrap() / 100 == class;
        let label = format!("{class}xx");
        assert_eq!(
            metrics.sum("evenkeel_requests_total", &[("class", &label)]),
            count(&of_class),
            "{label}"
        );
        for scope in ["route", "pool"] {
            let name = format!("evenkeel_{scope}_requests_total");
            let logged = lines.iter().filter_map(|line| line[scope].as_str());
            let values: BTreeSet<String> = logged
                .map(str::to_owned)
                .chain(metrics.values_of(&name, scope))
                .collect();
            assert!(values.len() > 8, "{values:?}");
            for value in values {
                assert_eq!(
                    metrics.sum(&name, &[(scope, &value), ("class", &label)]),
                    count(&|line| of_class(line) && line[scope] == *value),
                    "{scope} {value} {label}"
                );
            }
        }
    }
    let total = lines.len() as u64;
    assert_eq!(metrics.sum("evenkeel_worker_requests_total", &[]), total);
    assert_eq!(
        metrics
            .values_of("evenkeel_worker_requests_total", "worker")
            .len(),
        2
    );
    assert_eq!(metrics.sum("evenkeel_request_duration_seconds_count", &[]), total);
    for scope in ["route", "pool"] {
        let name = format!("evenkeel_{scope}_request_duration_seconds_count");
        assert_eq!(
            metrics.sum(&name, &[]),
            count(&|line| line[scope].is_string()),
            "{scope}"
        );
    }
    for (name, key) in [
        ("evenkeel_received_bytes_total", "bytes_received"),
        ("evenkeel_sent_bytes_total", "bytes_sent"),
    ] {
        let logged: u64 = lines.iter().map(|line| line[key].as_u64().unwrap()).sum();
        assert_eq!(metrics.sum(name, &[]), logged, "{name}");
    }
    for (kind, key) in [
        ("first_byte", "timeouts.first_byte"),
        ("request", "timeouts.request"),
    ] {
        let is_it = |line: &Value| line["detail"].as_str().is_some_and(|detail| detail.contains(key));
        let expired = metrics.sum("evenkeel_timeouts_total", &[("kind", kind)]);
        assert_eq!(expired, count(&is_it), "{kind}");
    }
}

/// Attempts and retries, in the log, in the metrics and at the backends.
fn attempts_agree(lines: &[Value], metrics: &Metrics, backends: &Backends) {
    const ATTEMPTS: &str = "evenkeel_backend_attempts_total";
    let copies = metrics.sum("evenkeel_mirrored_requests_total", &[]);
    assert_eq!(copies, 3);
    for pool in metrics.values_of(ATTEMPTS, "pool") {
        let of_pool = lines.iter().filter(|line| line["pool"] == *pool);
        let logged: u64 = of_pool.map(|line| line["attempts"].as_u64().unwrap()).sum();
        let copied = if pool == "shadow" { copies } else { 0 };
        assert_eq!(
            metrics.sum(ATTEMPTS, &[("pool", &pool)]),
            logged + copied,
            "{pool}"
        );
    }
    let Backends {
        main,
        refuses,
        closes,
        silent,
        shadow,
        http2,
        ..
    } = backends;
    for backend in main.iter().chain([refuses, closes, silent, shadow]) {
        let url = backend.url();
        let attempts = metrics.sum(ATTEMPTS, &[("backend", &url)]);
        let seen = backend.requests(|_| true).len() as u64;
        // A request over a connection that the backend closes meanwhile does not reach it.
        let resets = retries(lines).filter(|retry| retry["reason"] == "reset" && retry["backend"] == url);
        let most = seen + resets.count() as u64;
        assert!(
            (seen..=most).contains(&attempts),
            "{url}: {seen} <= {attempts} <= {most}"
        );
    }
    let streams = http2.count(|seen| matches!(seen, Seen::Request(..)));
    assert_eq!(metrics.sum(ATTEMPTS, &[("pool", "http2")]), streams as u64);
    for backend in metrics.values_of(ATTEMPTS, "backend") {
        let labels = [("backend", backend.as_str())];
        let responses = metrics.sum("evenkeel_backend_responses_total", &labels);
        let timed = metrics.sum("evenkeel_backend_response_duration_seconds_count", &labels);
        assert_eq!(responses, timed, "{backend}");
        let ended = responses + metrics.sum("evenkeel_backend_failures_total", &labels);
        let attempts = metrics.sum(ATTEMPTS, &labels);
        assert!(ended <= attempts, "{backend}: {ended} of {attempts}");
    }
    let (hedges, others): (Vec<_>, Vec<_>) = retries(lines).partition(|retry| retry["reason"] == "hedge");
    assert!(!hedges.is_empty());
    assert_eq!(metrics.sum("evenkeel_hedges_total", &[]), hedges.len() as u64);
    assert_eq!(metrics.sum("evenkeel_retries_total", &[]), others.len() as u64);
    for reason in metrics.values_of("evenkeel_retries_total", "reason") {
        let logged = others.iter().filter(|retry| retry["reason"] == *reason).count();
        let counted = metrics.sum("evenkeel_retries_total", &[("reason", &reason)]);
        assert_eq!(counted, logged as u64, "{reason}");
        let must_be = ["503", "connect_failure"].contains(&reason.as_str());
        assert!(counted > 0 || !must_be, "{reason}");
    }
}

/// The attempts that others followed, or ran beside.
fn retries(lines: &[Value]) -> impl Iterator<Item = &Value> {
    let lists = lines.iter().filter_map(|line| line["retries"].as_array());
    lists.flatten()
}

/// Connections to backends, by pool and in all, and at the backends.
fn connections_agree(metrics: &Metrics, backends: &Backends) {
    let opened = metrics.sum("evenkeel_pool_connections_opened_total", &[("pool", "main")]);
    let accepted: usize = backends.main.iter().map(Backend::connections).sum();
    assert_eq!(opened, accepted as u64);
    for kind in ["opened", "failed", "reused"] {
        let by_pool = metrics.sum(&format!("evenkeel_pool_connections_{kind}_total"), &[]);
        let all = metrics.sum(&format!("evenkeel_backend_connections_{kind}_total"), &[]);
        assert!(by_pool == all && all > 0, "{kind}: {by_pool} of {all}");
    }
    let away = [("pool", "away")];
    assert_eq!(
        metrics.sum("evenkeel_pool_connections_failed_total", &away),
        metrics.sum("evenkeel_backend_attempts_total", &away)
    );
}

/// The status and the history of the admin API.
fn api_agrees(proxy: &Proxy, metrics: &Metrics) {
    let read = |path: &str| -> Value { serde_json::from_str(&proxy.get_admin(path).text()).unwrap() };
    let total = metrics.sum("evenkeel_requests_total", &[]);
    let status = read("/api/v1/status");
    assert_eq!(status["process"]["requests"]["total"], total);
    for pool in status["pools"].as_array().unwrap() {
        for backend in pool["backends"].as_array().unwrap() {
            let labels = [
                ("pool", pool["name"].as_str().unwrap()),
                ("backend", backend["url"].as_str().unwrap()),
            ];
            for (key, name) in [
                ("attempts", "evenkeel_backend_attempts_total"),
                ("failures", "evenkeel_backend_failures_total"),
            ] {
                assert_eq!(backend[key], metrics.sum(name, &labels), "{labels:?}");
            }
        }
    }
    let mut samples = Vec::new();
    wait_until("the history has all requests", || {
        samples = read("/api/v1/history")["samples"].as_array().unwrap().clone();
        let requests = samples.iter().map(|sample| sample["requests"].as_u64().unwrap());
        requests.sum::<u64>() >= total
    });
    let sum = |find: &dyn Fn(&Value) -> &Value| -> u64 {
        samples.iter().map(|sample| find(sample).as_u64().unwrap()).sum()
    };
    assert_eq!(sum(&|sample| &sample["requests"]), total);
    assert_eq!(
        sum(&|sample| &sample["retries"]),
        metrics.sum("evenkeel_retries_total", &[])
    );
    for class in 0..5 {
        let label = format!("{}xx", class + 1);
        let counted = metrics.sum("evenkeel_requests_total", &[("class", &label)]);
        assert_eq!(sum(&|sample| &sample["classes"][class]), counted, "{label}");
    }
    for pool in metrics.values_of("evenkeel_backend_attempts_total", "pool") {
        let attempts = metrics.sum("evenkeel_backend_attempts_total", &[("pool", &pool)]);
        assert_eq!(
            sum(&|sample| &sample["pools"][&pool]["attempts"]),
            attempts,
            "{pool}"
        );
    }
}
