//! gRPC calls: local responses, logging and timeouts. Real clients and servers are in `real/grpc.rs`.

mod backend;

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::Request;
use serde_json::{Value, json};

use crate::support::http2::{Frames, Got, Http2, frame, read, request};
use crate::support::{Backend, Proxy, Response, refusing_address};
use backend::{Calls, LEAVE, Seen, Step};

const GRPC: &[(&str, &str)] = &[("content-type", "application/grpc")];
const CHECK_NOTHING: &str = "health_check: { kind: none }";

/// A call with this path.
fn call(path: &str) -> Request<()> {
    let mut call = request("POST", path);
    for (name, value) in [("content-type", "application/grpc+proto"), ("te", "trailers")] {
        call.headers_mut().insert(name, value.parse().unwrap());
    }
    call
}

fn timed_call(path: &str, timeout: &str) -> Request<()> {
    let mut call = call(path);
    call.headers_mut()
        .insert("grpc-timeout", timeout.parse().unwrap());
    call
}

/// A balancer in front of these backends, with more config.
fn before(backends: &[&Calls], config: &str) -> Proxy {
    let mut builder = Proxy::before(&[]).config(CHECK_NOTHING).config(config);
    for backend in backends {
        builder = builder.backend(&backend.url());
    }
    builder.start()
}

/// HTTP status and error code of a local response, which consists of headers only.
fn local_response(got: &Got) -> (u16, &str) {
    assert_eq!(got.head.status(), 200, "{got:?}");
    assert_eq!(got.field("content-type"), Some("application/grpc"));
    assert_eq!((got.body.len(), got.trailers.len()), (0, 0), "{got:?}");
    let status = got.field("grpc-status").unwrap().parse().unwrap();
    (status, got.field("grpc-message").unwrap())
}

/// Level, HTTP status, gRPC status and error of a log line.
fn logged(line: &Value) -> (&Value, &Value, &Value, &Value) {
    (
        &line["level"],
        &line["status"],
        &line["grpc_status"],
        &line["error"],
    )
}

#[test]
fn an_unreachable_backend_is_unavailable() {
    let (address, _socket) = refusing_address();
    let proxy = Proxy::before(&[]).backend(&format!("h2c://{address}")).start();
    let client = Http2::connect(proxy.address());
    let got = client.ask(call("/a.B/C"), b"hello").unwrap();
    let (status, message) = local_response(&got);
    assert_eq!(status, 14);
    assert!(
        message.starts_with("connect_failed: ") || message.starts_with("no_backend: "),
        "{message}"
    );
    assert_eq!(got.field("retry-after"), Some("1"));
    let line = proxy.access_line("/a.B/C");
    assert_eq!(
        logged(&line),
        (&"INFO".into(), &200.into(), &14.into(), &line["error"])
    );
    assert!(line["error"].is_string(), "{line}");
}

#[test]
fn each_failure_has_its_grpc_status() {
    let backend = Calls::start(|path| match path {
        "/reset" => vec![Step::ReadAll, Step::Reset],
        "/hangs" => vec![Step::WaitForReset],
        _ => vec![Step::ReadAll, Step::Only(200, &[("grpc-status", "0")])],
    });
    let proxy = Proxy::before(&[])
        .config(CHECK_NOTHING)
        .config("timeouts: { first_byte: 200ms }\nlimits: { body: 100B }")
        .config(&format!(
            "pools: {{ p: {{ backends: ['{}'] }} }}\nroutes: [{{ host: test, pool: p }}]",
            backend.url()
        ))
        .start();
    let client = Http2::connect(proxy.address());
    for (path, body, status, word) in [
        ("/reset", 1, 14, "backend_reset"),
        ("/hangs", 1, 14, "backend_timeout"),
        ("/large", 1000, 8, "request_body_too_large"),
    ] {
        let got = client.ask(call(path), &vec![b'a'; body]).unwrap();
        let (found, message) = local_response(&got);
        assert_eq!((found, message.split(':').next()), (status, Some(word)), "{path}");
        assert_eq!(got.field("retry-after"), None);
        let line = proxy.access_line(path);
        assert_eq!(
            logged(&line),
            (&"INFO".into(), &200.into(), &status.into(), &word.into())
        );
    }
    let mut nowhere = call("/nowhere");
    *nowhere.uri_mut() = "http://other/nowhere".parse().unwrap();
    assert_eq!(local_response(&client.ask(nowhere, b"").unwrap()).0, 12);
}

#[test]
fn plain_http_clients_get_no_grpc_status() {
    let (address, _socket) = refusing_address();
    let proxy = Proxy::before(&[]).backend(&format!("h2c://{address}")).start();
    let client = Http2::connect(proxy.address());
    let mut web = request("POST", "/web");
    web.headers_mut()
        .insert("content-type", "application/grpc-web+proto".parse().unwrap());
    let got = client.ask(web, b"").unwrap();
    assert_eq!(
        (got.head.status().as_u16(), got.field("grpc-status")),
        (503, None)
    );
    let received = proxy
        .client()
        .send("GET /one HTTP/1.1\r\nHost: test\r\nContent-Type: application/grpc\r\n\r\n")
        .read();
    assert_eq!((received.status(), received.field("grpc-status")), (503, None));
    for path in ["/web", "/one"] {
        assert_eq!(proxy.access_line(path).get("grpc_status"), None);
    }
}

#[test]
fn the_grpc_status_of_a_backend_is_logged() {
    let backend = Calls::start(|path| match path {
        "/in.Trailers/X" | "/plain" => vec![
            Step::Head(200, GRPC),
            Step::Data("abc"),
            Step::Trailers(&[("grpc-status", "7"), ("x", "1")]),
        ],
        _ => vec![Step::Only(
            200,
            &[("content-type", "application/grpc"), ("grpc-status", "5")],
        )],
    });
    let proxy = before(&[&backend], "");
    let client = Http2::connect(proxy.address());
    let got = client.ask(call("/in.Trailers/X"), b"a").unwrap();
    assert_eq!(
        (got.text(), &got.trailers["grpc-status"]),
        ("abc", &"7".parse().unwrap())
    );
    client.ask(call("/in.Head/X"), b"a").unwrap();
    client.get("/plain");
    let null = Value::Null;
    for (path, status) in [
        ("/in.Trailers/X", json!(7)),
        ("/in.Head/X", json!(5)),
        ("/plain", null.clone()),
    ] {
        let line = proxy.access_line(path);
        assert_eq!(
            logged(&line),
            (&"INFO".into(), &200.into(), &status, &null),
            "{path}"
        );
        assert_eq!(line.get("grpc_status").is_some(), path != "/plain");
    }
}

#[test]
fn a_plain_503_is_retried_and_forwarded_but_another_grpc_status_is_a_response() {
    let bad = Calls::start(|path| match path {
        "/html" => vec![
            Step::ReadAll,
            Step::Head(503, &[("content-type", "text/html")]),
            Step::Last("<html>"),
        ],
        _ => vec![Step::ReadAll, Step::Only(200, &[("grpc-status", "8")])],
    });
    let alone = before(&[&bad], "");
    let got = Http2::connect(alone.address()).ask(call("/html"), b"a").unwrap();
    assert_eq!((got.head.status().as_u16(), got.text()), (503, "<html>"));
    assert_eq!(
        (got.field("content-type"), got.field("grpc-status")),
        (Some("text/html"), None)
    );
    let line = alone.access_line("/html");
    assert_eq!((&line["level"], line.get("grpc_status")), (&"WARN".into(), None));

    let good = Calls::start(|_| vec![Step::ReadAll, Step::Only(200, &[("grpc-status", "0")])]);
    let proxy = before(&[&bad, &good], "");
    let client = Http2::connect(proxy.address());
    let statuses = |path| {
        let mut found = [0, 1].map(|_| {
            let got = client.ask(call(path), b"a").unwrap();
            got.field("grpc-status").unwrap().to_owned()
        });
        found.sort();
        found
    };
    assert_eq!(statuses("/html"), ["0", "0"]);
    assert_eq!(statuses("/exhausted"), ["0", "8"]);
    assert_eq!(good.calls("/exhausted"), 1);
}

#[test]
fn a_response_that_breaks_off_resets_the_stream() {
    let backend = Calls::start(|_| vec![Step::Head(200, GRPC), Step::Data("abc"), Step::Read, Step::Reset]);
    let proxy = before(&[&backend], "");
    let client = Http2::connect(proxy.address());
    let mut sender = client.sender.clone();
    let error = client.run(async {
        let (response, mut sending) = sender.send_request(call("/cut"), false).unwrap();
        let mut receiving = response.await.unwrap().into_body();
        assert_eq!(receiving.data().await.unwrap().unwrap(), "abc");
        sending.send_data(Bytes::from_static(b"go"), true).unwrap();
        receiving.data().await.unwrap().unwrap_err()
    });
    assert!(error.is_reset() && error.is_remote(), "{error:?}");
    let line = proxy.access_line("/cut");
    assert_eq!(
        (&line["error"], line.get("grpc_status")),
        (&"response_truncated".into(), None)
    );
}

#[test]
fn the_clients_deadline_ends_the_wait_for_a_response() {
    let backend = Calls::start(|_| vec![Step::WaitForReset]);
    let proxy = before(&[&backend], "");
    let client = Http2::connect(proxy.address());
    let got = client.ask(timed_call("/late", "200m"), b"a").unwrap();
    assert_eq!(
        local_response(&got),
        (4, "deadline_exceeded: the client's deadline has passed")
    );
    backend.wait_for(&Seen::Call("/late".into(), Some("200m".into())));
    backend.wait_for(&Seen::Reset("/late".into(), Reason::CANCEL));
    let line = proxy.access_line("/late");
    assert_eq!((&line["grpc_status"], &line["attempts"]), (&4.into(), &1.into()));
    // The same while the request is still being sent.
    let mut sender = client.sender.clone();
    let got = client.run(async {
        let (response, _sending) = sender
            .send_request(timed_call("/sending", "200m"), false)
            .unwrap();
        read(response.await.unwrap(), Vec::new()).await.unwrap()
    });
    assert_eq!(local_response(&got).0, 4);
}

#[test]
fn a_response_that_has_begun_is_not_ended_by_the_deadline() {
    let backend = Calls::start(|_| {
        vec![
            Step::Head(200, GRPC),
            Step::ReadAll,
            Step::Data("late"),
            Step::Trailers(&[("grpc-status", "0")]),
        ]
    });
    let proxy = before(
        &[&backend],
        "timeouts: { progress: 200ms, first_byte: 200ms, request: 200ms }",
    );
    let client = Http2::connect(proxy.address());
    let mut sender = client.sender.clone();
    let got = client.run(async {
        let (response, mut sending) = sender.send_request(timed_call("/x", "100m"), false).unwrap();
        let response = response.await.unwrap();
        tokio::time::sleep(Duration::from_millis(600)).await;
        sending.send_data(Bytes::from_static(b"a"), true).unwrap();
        read(response, Vec::new()).await.unwrap()
    });
    assert_eq!(got.text(), "late");
}

/// Opens a call, sends a message, pauses and ends it; the backend responds at the end.
fn pausing_call(proxy: &Proxy, pause: Duration) -> Got {
    let client = Http2::connect(proxy.address());
    let mut sender = client.sender.clone();
    client.run(async {
        let (response, mut sending) = sender.send_request(call("/pauses"), false).unwrap();
        sending.send_data(Bytes::from_static(b"a"), false).unwrap();
        let pause = async {
            tokio::time::sleep(pause).await;
            // Fails if the call has already ended.
            drop(sending.send_data(Bytes::from_static(b"b"), true));
            std::future::pending::<()>().await;
        };
        tokio::select! {
            response = response => read(response.unwrap(), Vec::new()).await.unwrap(),
            () = pause => unreachable!(),
        }
    })
}

#[test]
fn stream_idle_and_not_progress_bounds_silence_before_the_response() {
    let backend = Calls::start(|_| vec![Step::ReadAll, Step::Only(200, &[("grpc-status", "0")])]);
    let short = "progress: 200ms, first_byte: 200ms, request: 200ms";
    let long = before(
        &[&backend],
        &format!("timeouts: {{ {short}, stream_idle: 8s }}\nlimits: {{ min_body_rate: 1KiB }}"),
    );
    let got = pausing_call(&long, Duration::from_millis(800));
    assert_eq!(got.field("grpc-status"), Some("0"));
    let ended = before(
        &[&backend],
        &format!("timeouts: {{ {short}, stream_idle: 300ms }}"),
    );
    let got = pausing_call(&ended, Duration::from_secs(5));
    assert_eq!(local_response(&got).0, 4);
    assert_eq!(ended.access_line("/pauses")["error"], "client_body_timeout");
}

#[test]
fn a_stalled_plain_upload_is_bounded_by_progress() {
    let backend = Backend::start(|_| Response::echo());
    let proxy = Proxy::before(&[&backend])
        .config("timeouts: { progress: 200ms, stream_idle: 8s }")
        .start();
    let client = Http2::connect(proxy.address());
    let mut sender = client.sender.clone();
    let got = client.run(async {
        let (response, mut sending) = sender.send_request(request("POST", "/x"), false).unwrap();
        sending.send_data(Bytes::from_static(b"a"), false).unwrap();
        read(response.await.unwrap(), Vec::new()).await.unwrap()
    });
    assert_eq!(got.head.status(), 408);
}

#[test]
fn a_cancelled_call_is_reset_at_a_backend_that_does_not_read() {
    let backend = Calls::start(|path| match path {
        "/before" => vec![Step::WaitForReset],
        // Only the head matters, though more follows: it arrives before the client leaves.
        _ => vec![Step::Head(200, &[("grpc-status", "0")]), Step::WaitForReset],
    });
    let proxy = before(&[&backend], "");
    for path in ["/before", "/behind"] {
        let client = Http2::connect(proxy.address());
        let mut sender = client.sender.clone();
        let (_response, mut sending) = client.run(async { sender.send_request(call(path), false).unwrap() });
        // More than all windows on the path: the rest is never read.
        sending.send_data(vec![0; 1 << 20].into(), false).unwrap();
        client.run_beside(|| backend.wait_for(&Seen::Call(path.into(), None)));
        // No event reports that the windows are exhausted.
        client.run(async { tokio::time::sleep(Duration::from_millis(50)).await });
        sending.send_reset(Reason::CANCEL);
        client.run_beside(|| backend.wait_for(&Seen::Reset(path.into(), Reason::CANCEL)));
        let line = proxy.access_line(path);
        assert_eq!((&line["status"], line.get("grpc_status")), (&499.into(), None));
    }
}

#[test]
fn a_grpc_message_with_trailing_white_space_is_forwarded() {
    let backend = Calls::start(|_| {
        vec![Step::Only(
            200,
            &[("grpc-status", "2"), ("grpc-message", "failed: ")],
        )]
    });
    let proxy = before(&[&backend], "");
    let got = Http2::connect(proxy.address()).ask(call("/x"), b"a").unwrap();
    assert_eq!(
        (got.field("grpc-status"), got.field("grpc-message")),
        (Some("2"), Some("failed:"))
    );
}

#[test]
fn calls_do_not_fail_after_goaway_while_a_stream_keeps_the_connection_open() {
    let backend = Calls::start(|path| match path {
        LEAVE => vec![
            Step::Head(200, GRPC),
            Step::ReadAll,
            Step::Trailers(&[("grpc-status", "0")]),
        ],
        _ => vec![Step::ReadAll, Step::Only(200, &[("grpc-status", "0")])],
    });
    let proxy = before(&[&backend], "workers: 1");
    let client = Http2::connect(proxy.address());
    let mut sender = client.sender.clone();
    let (response, mut sending) = client.run(async {
        let (response, sending) = sender.send_request(call(LEAVE), false).unwrap();
        (response.await.unwrap(), sending)
    });
    for _ in 0..20 {
        let got = client.ask(call("/x"), b"a").unwrap();
        assert_eq!(got.field("grpc-status"), Some("0"), "{got:?}");
    }
    sending.send_data(Bytes::new(), true).unwrap();
    let got = client.run(read(response, Vec::new())).unwrap();
    assert_eq!(got.trailers["grpc-status"], "0");
}

#[test]
fn a_call_sent_with_the_preface_outlives_client_header() {
    let backend = Calls::start(|_| {
        vec![
            Step::Head(200, GRPC),
            Step::Echo,
            Step::Trailers(&[("grpc-status", "0")]),
        ]
    });
    let proxy = before(&[&backend], "workers: 1\ntimeouts: { client_header: 300ms }");
    let call = frame(1, 4, 1, &[0x83, 0x86, 0x84, 0x41, 0x01, b'a']);
    let mut client = Frames::connect_at_once(proxy.address(), &call);
    assert!(client.wait_for(|frame| frame.kind == 1).is_some());
    while !client.is_silent_for(Duration::from_millis(600)) {}
    client.send(0, 1, 1, b"late");
    let back = client.wait_for(|frame| matches!(frame.kind, 0 | 3 | 7));
    assert_eq!(back.map(|frame| frame.payload), Some(b"late".to_vec()));
}

/// gRPC's own clients do this: a PING for each DATA frame that arrives alone, and window updates for what they read.
#[test]
fn a_client_that_pings_for_each_message_is_not_a_flood() {
    const MESSAGES: usize = 4_000;
    let backend = Calls::start(|_| {
        vec![
            Step::Head(200, GRPC),
            Step::Echo,
            Step::Trailers(&[("grpc-status", "0")]),
        ]
    });
    let proxy = before(&[&backend], "workers: 1");
    let mut client = Frames::connect(proxy.address(), &[]);
    client.send(1, 4, 1, &[0x83, 0x86, 0x84, 0x41, 0x01, b'a']);
    for message in 0..MESSAGES {
        client.send(0, 0, 1, b"m");
        let back = client.wait_for(|frame| matches!(frame.kind, 0 | 3 | 7));
        let payload = back.map(|frame| (frame.kind, frame.payload));
        assert_eq!(payload, Some((0, b"m".to_vec())), "message {message}");
        for (kind, stream, payload) in [(8, 0, &[0, 0, 0, 1][..]), (8, 1, &[0, 0, 0, 1]), (6, 0, &[7; 8])] {
            client.send(kind, 0, stream, payload);
        }
    }
}

#[test]
fn a_call_that_a_backend_refuses_as_unavailable_goes_to_another() {
    for (retry, status) in [
        ("{}", 0),
        ("{ non_idempotent_503: false }", 14),
        ("{ causes: [503] }", 14),
    ] {
        let refusing = Calls::start(|_| vec![Step::Only(200, &[("grpc-status", "14")])]);
        let good = Calls::start(|_| vec![Step::ReadAll, Step::Only(200, &[("grpc-status", "0")])]);
        let proxy = before(&[&refusing, &good], &format!("workers: 1\nretry: {retry}"));
        let client = Http2::connect(proxy.address());
        let statuses = ["/1", "/2"].map(|path| {
            let got = client.ask(call(path), b"hello").unwrap();
            got.field("grpc-status").unwrap().parse::<u32>().unwrap()
        });
        assert_eq!(statuses.iter().max(), Some(&status), "{retry}");
        assert!(statuses.contains(&0), "{retry}");
        let calls = refusing.calls("/1") + refusing.calls("/2");
        assert_eq!(calls, 1, "round robin asks each in turn");
        let lines = proxy.access_lines(2);
        let is_retried = |line: &Value| line["retries"][0]["reason"] == "grpc_unavailable";
        assert_eq!(lines.iter().any(is_retried), status == 0, "{lines:?}");
    }
}

/// Messages or headers were sent: the call was not refused.
#[test]
fn a_call_that_fails_as_unavailable_after_it_began_is_not_retried() {
    let failing = [(); 2].map(|()| {
        Calls::start(|_| {
            vec![
                Step::ReadAll,
                Step::Head(200, GRPC),
                Step::Trailers(&[("grpc-status", "14")]),
            ]
        })
    });
    let proxy = before(&[&failing[0], &failing[1]], "");
    let client = Http2::connect(proxy.address());
    let got = client.ask(call("/once"), b"hello").unwrap();
    assert_eq!(got.trailers.get("grpc-status").unwrap(), "14");
    assert_eq!(failing[0].calls("/once") + failing[1].calls("/once"), 1);
}
