//! Heads that are never completed: `client_header` bounds them in total, and each request that was begun has one line
//! in the access log.

use std::thread;
use std::time::Duration;

use h2::Reason;

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS, WHOLE,
};
use super::get;
use crate::support::http2::{Frames, GET, Http2, frame, literal};
use crate::support::{Backend, DEADLINE, Gate, Proxy, Response};

/// One worker, so that its lines are in order.
fn started(config: &str) -> (Backend, Proxy, Gate) {
    let gate = Gate::default();
    let its = gate.clone();
    let backend = Backend::start(move |request| match request.start() {
        "GET /slow" => Response::ok("slow").after(&its),
        _ => Response::ok("ok"),
    });
    let config = format!("workers: 1\nhealth_check: {{ kind: none }}\n{config}");
    let proxy = Proxy::before(&[&backend]).config(&config).start();
    (backend, proxy, gate)
}

const SHORT: &str = "timeouts: { client_header: 300ms }";

#[test]
fn client_header_bounds_a_head_in_total() {
    let (_backend, proxy, _gate) = started(SHORT);
    let cases = [
        ("no end of the block", frame(HEADERS, END_STREAM, 1, GET)),
        ("half a frame", frame(HEADERS, WHOLE, 1, GET)[..11].to_vec()),
        (
            "half the head of a frame",
            frame(HEADERS, WHOLE, 1, GET)[..5].to_vec(),
        ),
        ("half a continuation", {
            let more = frame(CONTINUATION, END_HEADERS, 1, &GET[2..]);
            [&frame(HEADERS, END_STREAM, 1, &GET[..2]), &more[..10]].concat()
        }),
    ];
    for (what, bytes) in cases {
        let mut client = Frames::connect(proxy.address(), &[]);
        client.write(&bytes);
        assert_eq!(client.goodbye(), Some(Reason::ENHANCE_YOUR_CALM), "{what}");
        assert!(client.read().is_none(), "{what}");
    }
}

/// Another running stream makes no difference, and neither do frames at intervals.
#[test]
fn client_header_bounds_a_head_in_total_beside_a_running_stream() {
    let (backend, proxy, gate) = started(SHORT);
    let mut client = Frames::connect(proxy.address(), &[]);
    client.send(HEADERS, WHOLE, 1, &get("/slow"));
    backend.wait_for_request(|request| request.start() == "GET /slow");
    client.send(HEADERS, END_STREAM, 3, &GET[..2]);
    assert_eq!(client.goodbye(), Some(Reason::ENHANCE_YOUR_CALM));
    gate.open();
    assert_eq!(proxy.access_line("/slow")["status"], 499);

    let mut client = Frames::connect(proxy.address(), &[]);
    client.send(HEADERS, WHOLE, 1, &get("/slow"));
    let mut slow = client.another();
    let writing = thread::spawn(move || {
        slow.send(HEADERS, END_STREAM, 3, &[]);
        let begun = evenkeel::internals::clock::now();
        // Byte by byte, each well within the time.
        for byte in frame(CONTINUATION, 0, 3, &[b'x'; 1_000]) {
            thread::sleep(Duration::from_millis(50));
            if !slow.write(&[byte]) || begun.elapsed() > DEADLINE {
                return;
            }
        }
    });
    assert_eq!(client.goodbye(), Some(Reason::ENHANCE_YOUR_CALM));
    drop(client);
    writing.join().unwrap();
}

/// Trailers are a field block too, which no other frame may interrupt.
#[test]
fn client_header_bounds_trailers_in_total() {
    let (_backend, proxy, _gate) = started(SHORT);
    let mut client = Frames::connect(proxy.address(), &[]);
    let post = [0x83, 0x86, 0x84, 0x41, 0x01, b'a'];
    client.send(HEADERS, END_HEADERS, 1, &post);
    client.send(HEADERS, END_STREAM, 1, &[]);
    assert_eq!(client.goodbye(), Some(Reason::ENHANCE_YOUR_CALM));
    let lines = proxy.access_lines(1);
    assert_eq!((lines.len(), &lines[0]["method"]), (1, &"POST".into()));
}

#[test]
fn incomplete_first_settings_close_the_connection_without_a_line() {
    let (_backend, proxy, _gate) = started(SHORT);
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]);
    for length in [0, 5, 9, 12] {
        let mut client = Frames::connect_with(proxy.address(), &settings[..length]);
        while client.read().is_some() {}
        assert!(client.is_at_end(), "{length}");
    }
    assert_eq!(proxy.count_so_far(|line| line["msg"] == "Request completed"), 0);
}

/// A new head begins each time, though there is always one in progress.
#[test]
fn each_of_many_heads_has_its_own_time() {
    let (_backend, proxy, _gate) = started("timeouts: { client_header: 1s }");
    let mut client = Frames::connect(proxy.address(), &[]);
    let streams = 60;
    for stream in (1..).step_by(2).take(streams) {
        let head = frame(HEADERS, WHOLE, stream, GET);
        let next = frame(HEADERS, WHOLE, stream + 2, GET);
        let from = if stream == 1 { 0 } else { 11 };
        assert!(client.write(&[&head[from..], &next[..11]].concat()));
        thread::sleep(Duration::from_millis(25));
        let response = client.wait_for(|frame| frame.kind == HEADERS && frame.stream == stream);
        assert!(response.is_some(), "{stream}");
    }
}

/// What the client does after its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Closes,
    Waits,
}

/// Requests that end within their headers, each with the expected error and status in the log.
#[rustfmt::skip]
fn ends() -> Vec<(&'static str, Vec<u8>, Ending, &'static str, u16)> {
    use Ending::{Closes, Waits};
    let (broken, gone, late) = ("http2_connection_error", "client_gone", "client_header_timeout");
    let whole = frame(HEADERS, WHOLE, 1, GET);
    let begun = frame(HEADERS, END_STREAM, 1, GET);
    let next = |bytes: &[u8]| [&begun[..], bytes].concat();
    let many: Vec<u8> = (0..20).flat_map(|_| frame(CONTINUATION, 0, 1, b"")).collect();
    vec![
        ("half a block", begun.clone(), Closes, gone, 499),
        ("half a frame", whole[..11].to_vec(), Closes, gone, 499),
        ("the head of a frame", whole[..9].to_vec(), Closes, gone, 499),
        ("half a continuation", next(&frame(CONTINUATION, END_HEADERS, 1, GET)[..10]), Closes, gone, 499),
        ("half a block, and no more", begun.clone(), Waits, late, 408),
        ("half a frame, and no more", whole[..11].to_vec(), Waits, late, 408),
        ("a block that cannot be decoded", frame(HEADERS, WHOLE, 1, &[0x80]), Waits, broken, 400),
        ("a block that cannot be decoded, in two", next(&frame(CONTINUATION, END_HEADERS, 1, &[0x80])), Waits, broken, 400),
        ("another frame in a block", next(&frame(PING, 0, 0, &[0; 8])), Waits, broken, 400),
        ("another stream in a block", next(&frame(CONTINUATION, END_HEADERS, 3, GET)), Waits, broken, 400),
        ("a block in too many frames", next(&many), Waits, broken, 400),
        ("DATA on an idle stream", frame(DATA, END_STREAM, 1, b"x"), Waits, broken, 400),
        ("CONTINUATION on an idle stream", frame(CONTINUATION, END_HEADERS, 1, GET), Waits, broken, 400),
        ("a stream of ours", frame(HEADERS, WHOLE, 2, GET), Waits, broken, 400),
        ("no stream", frame(HEADERS, WHOLE, 0, GET), Waits, broken, 400),
        ("a frame that is too large", frame(HEADERS, WHOLE, 1, &[0; 16_385]), Waits, broken, 400),
        ("padding as long as the frame", frame(HEADERS, WHOLE | 8, 1, &[9, 0x82]), Waits, broken, 400),
    ]
}

#[test]
fn requests_that_end_within_their_headers_get_one_line() {
    let (_backend, proxy, _gate) = started(SHORT);
    let is_refused =
        |line: &serde_json::Value| line["msg"] == "Request completed" && line["method"].is_null();
    for (at, (what, bytes, then, error, status)) in ends().into_iter().enumerate() {
        let mut client = Frames::connect(proxy.address(), &[]);
        client.write(&bytes);
        match then {
            Ending::Closes => client.close(),
            Ending::Waits => while client.read().is_some() {},
        }
        proxy.wait_for_count(at + 1, is_refused);
        // The next case begins after all lines of the previous one.
        let path = format!("/behind/{at}");
        Http2::connect(proxy.address()).get(&path);
        proxy.access_line(&path);
        assert_eq!(proxy.count_so_far(is_refused), at + 1, "{what}");
        let lines = proxy.access_lines(2 * (at + 1));
        let line = lines.iter().rfind(|line| line["method"].is_null()).unwrap();
        assert_eq!(
            (&line["error"], &line["status"]),
            (&error.into(), &status.into()),
            "{what}"
        );
        assert!(line["bytes_received"].as_u64() >= Some(9), "{what}: {line}");
        assert!(
            line["client_ip"].as_str().unwrap().starts_with("127.0.0.1:"),
            "{what}"
        );
    }
}

/// Frames outside a request leave no line, and streams that have a line get no second one.
#[test]
fn frames_outside_a_request_leave_no_line() {
    let (_backend, proxy, _gate) = started(SHORT);
    let whole = frame(HEADERS, WHOLE, 1, GET);
    let open = frame(HEADERS, END_HEADERS, 1, GET);
    let nothing: [(&str, Vec<u8>); 5] = [
        ("nothing", Vec::new()),
        ("half the head of a frame", whole[..5].to_vec()),
        ("a PING that is too long", frame(PING, 0, 0, &[0; 9])),
        ("RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, &[0; 4])),
        ("half a PING", frame(PING, 0, 0, &[0; 8])[..12].to_vec()),
    ];
    for (_, bytes) in &nothing {
        let mut client = Frames::connect(proxy.address(), &[]);
        client.write(bytes);
        client.close();
    }
    let one: [(&str, Vec<u8>); 4] = [
        (
            "DATA on a stream that was ended",
            [whole.clone(), frame(DATA, 0, 1, b"x")].concat(),
        ),
        (
            "a head on a stream that was ended",
            [whole.clone(), whole.clone()].concat(),
        ),
        (
            "half of its trailers",
            [open.clone(), frame(HEADERS, END_STREAM, 1, &[])].concat(),
        ),
        (
            "trailers that cannot be decoded",
            [open, frame(HEADERS, WHOLE, 1, &[0x80])].concat(),
        ),
    ];
    for (at, (what, bytes)) in one.iter().enumerate() {
        let mut client = Frames::connect(proxy.address(), &[]);
        client.write(bytes);
        while client.read().is_some() {}
        let path = format!("/behind/{at}");
        Http2::connect(proxy.address()).get(&path);
        proxy.access_line(&path);
        let lines = proxy.access_lines(2 * (at + 1));
        assert_eq!(lines.len(), 2 * (at + 1), "{what}: {lines:#?}");
        assert!(lines.iter().all(|line| !line["method"].is_null()), "{what}");
    }
}

/// An incomplete head has its own line, and so do the streams beside it.
#[test]
fn an_incomplete_head_and_the_stream_beside_it_get_a_line_each() {
    let (backend, proxy, gate) = started("");
    let mut client = Frames::connect(proxy.address(), &[]);
    client.send(HEADERS, WHOLE, 1, &get("/slow"));
    backend.wait_for_request(|request| request.start() == "GET /slow");
    client.write(
        &[
            frame(
                HEADERS,
                WHOLE,
                3,
                &[&get("/x")[..], &literal(b"x", b"y")].concat(),
            ),
            frame(DATA, 0, 5, b"x"),
        ]
        .concat(),
    );
    assert_eq!(client.goodbye(), Some(Reason::PROTOCOL_ERROR));
    gate.open();
    let lines = proxy.access_lines(3);
    let mut errors: Vec<_> = lines
        .iter()
        .map(|line| line["error"].as_str().unwrap_or("none"))
        .collect();
    errors.sort_unstable();
    assert_eq!(errors, ["client_gone", "client_gone", "http2_connection_error"]);
}

/// A head that is evicted is logged as evicted, as over HTTP/1.
#[test]
fn an_evicted_incomplete_head_gets_one_line() {
    let (_backend, proxy, _gate) = started("limits: { connections: 2 }");
    let mut client = Frames::connect(proxy.address(), &[]);
    client.send(HEADERS, END_STREAM, 1, GET);
    client.send(CONTINUATION, 0, 1, b"");
    let others = [proxy.client(), proxy.client()];
    while client.read().is_some() {}
    let line = proxy.wait_for_line(|line| line["error"] == "evicted");
    assert_eq!((&line["status"], line["method"].is_null()), (&408.into(), true));
    drop(others);
    assert_eq!(
        proxy.count_so_far(|line| line["msg"] == "Request completed"),
        1,
        "{line}"
    );
}
