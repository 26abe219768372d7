//! Copies of requests to a second pool.

use evenkeel_balance::action::MARK;

use super::*;

/// A process whose route sends to `api` and mirrors to `shadow`.
async fn before(api: &Peer, shadow: &Peer) -> Bench {
    Bench::start(&[("api", api), ("shadow", shadow)], |config| {
        config.routes[0].mirror = Some(params(&[("pool", text("shadow"))]));
    })
    .await
}

#[tokio::test]
async fn a_copy_differs_from_its_original_in_host_and_mark() {
    let mut api = Peer::start(|_| ok("original")).await;
    let mut shadow = Peer::start(|_| ok("copy")).await;
    let bench = before(&api, &shadow).await;
    let body = "x".repeat(20_000);
    let request = format!(
        "POST /a?b HTTP/1.1\r\nHost: a.test:81\r\nConnection: close\r\nX-A: 1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let response = bench.send(&request).await;
    assert!(response.ends_with("\r\n\r\noriginal"), "{response}");
    let (original, copy) = (api.request().await, shadow.request().await);
    assert!(original.body == body && copy.body == body);
    assert_eq!(field(&copy.head, "host"), Some("a.test-shadow:81"));
    assert_eq!(field(&copy.head, MARK.0), Some(MARK.1));
    assert_eq!(field(&original.head, MARK.0), None);
    let rest = |head: &str| {
        let mut lines: Vec<_> = head.split("\r\n").map(str::to_lowercase).collect();
        let mark = MARK.0.to_lowercase();
        lines.retain(|line| !line.starts_with("host:") && !line.starts_with(&mark));
        lines.sort();
        lines
    };
    assert_eq!(rest(&original.head), rest(&copy.head));
    bench
        .wait_for_count(|counters| counters.copies_sent.value(), 1)
        .await;
    let shadow = &bench.server.state.shared.snapshot().pools[1];
    assert_eq!(shadow.roster().members()[0].backend.load.attempts(), 1);
}

#[tokio::test]
async fn a_chunked_body_is_copied_with_its_length() {
    let api = Peer::start(|_| ok("")).await;
    let mut shadow = Peer::start(|_| ok("")).await;
    let bench = before(&api, &shadow).await;
    // The whole request arrives at once. The servers do not read chunks, and take them for a second request.
    let request = "POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3\r\nabc\r\n0\r\n\r\n";
    bench.send(request).await;
    let copy = shadow.request().await;
    assert_eq!(
        (copy.body.as_str(), field(&copy.head, "transfer-encoding")),
        ("abc", None)
    );
}

#[tokio::test]
async fn a_mirror_that_hangs_or_is_gone_does_not_touch_originals() {
    let api = Peer::start(|_| ok("original")).await;
    let mut shadow = Peer::start(|_| Reply::Hang).await;
    let bench = before(&api, &shadow).await;
    for _ in 0..3 {
        assert!(bench.get("/", "").await.ends_with("original"));
        shadow.request().await;
    }
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut shadow = Peer::start(|_| ok("")).await;
    shadow.address = gone.local_addr().unwrap();
    drop(gone);
    let bench = before(&api, &shadow).await;
    assert!(bench.get("/", "").await.ends_with("original"));
    bench
        .wait_for_count(|counters| counters.copies_sent.value(), 1)
        .await;
}

#[tokio::test]
async fn copies_above_the_bound_are_dropped_and_counted() {
    let api = Peer::start(|_| ok("original")).await;
    let shadow = Peer::start(|_| Reply::Hang).await;
    let bench = before(&api, &shadow).await;
    for _ in 0..130 {
        assert!(bench.get("/", "").await.ends_with("original"));
    }
    bench
        .wait_for_count(|counters| counters.copies_sent.value(), 128)
        .await;
    bench
        .wait_for_count(|counters| counters.copies_dropped.value(), 2)
        .await;
}

#[tokio::test]
async fn a_body_above_the_replay_limit_is_not_copied() {
    let api = Peer::start(|_| ok("original")).await;
    let mut shadow = Peer::start(|_| ok("")).await;
    let bench = before(&api, &shadow).await;
    let body = "x".repeat(65 << 10);
    let length = body.len();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    assert!(bench.send(&request).await.ends_with("original"));
    bench
        .wait_for_count(|counters| counters.copies_dropped.value(), 1)
        .await;
    assert!(shadow.requests.try_recv().is_err());
}

#[tokio::test]
async fn a_marked_request_is_not_copied_and_loses_the_mark_of_a_stranger() {
    let mut api = Peer::start(|_| ok("")).await;
    let mut shadow = Peer::start(|_| ok("")).await;
    let bench = before(&api, &shadow).await;
    bench.get("/", "X-Evenkeel-Mirrored: 1\r\n").await;
    let original = api.request().await;
    assert_eq!(field(&original.head, MARK.0), None);
    bench.get("/next", "").await;
    assert!(shadow.request().await.head.starts_with("GET /next "));
}

#[tokio::test]
async fn connections_to_the_mirror_are_used_again_after_large_responses_too() {
    let api = Peer::start(|_| ok("original")).await;
    let mut shadow = Peer::start(|_| ok(&"x".repeat(300_000))).await;
    let bench = before(&api, &shadow).await;
    let idle = |counters: &WorkerCounters| counters.backend_connections_idle.value();
    bench.get("/", "").await;
    shadow.request().await;
    // One to each pool.
    bench.wait_for_count(idle, 2).await;
    bench.get("/", "").await;
    shadow.request().await;
    assert_eq!(shadow.connections(), 1);
}
