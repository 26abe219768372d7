//! Tests the keys of a line, their order and its bound, and that no bytes break a line.

use super::super::entry::Extra;
use crate::telemetry::trace::TraceId;

use super::*;
use crate::telemetry::json::{CUT_MARK, GROWTH};
use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Maximum length of a line with its newline: the sum of the bounds above with every byte escaped.
const LINE_BOUND: usize = FRAME
    + 2 * PATH_BOUND * GROWTH
    + STRINGS * (VALUE_BOUND * GROWTH + CUT_MARK.len())
    + (DETAIL_BOUND * GROWTH + CUT_MARK.len())
    + RETRIES_BOUND * 3 * (VALUE_BOUND * GROWTH + CUT_MARK.len() + RETRY_FRAME);

/// Upper bound of the keys, the punctuation and all numbers, dates and addresses.
const FRAME: usize = 768;

/// Number of values bounded by `VALUE_BOUND`, with room for the truncation marks of path and query.
const STRINGS: usize = 13;

/// More than a third of `{"backend":"","reason":"","detail":""},`.
const RETRY_FRAME: usize = 16;

/// An object with its keys in the order of the text.
struct Ordered(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Ordered;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

const FIRST: [&str; 9] = [
    "time",
    "level",
    "msg",
    "client_ip",
    "method",
    "path",
    "backend",
    "status",
    "latency_ms",
];
const SECOND: [&str; 9] = [
    "host",
    "protocol",
    "route",
    "pool",
    "request_id",
    "attempts",
    "bytes_received",
    "bytes_sent",
    "backend_ms",
];

/// A label that lives as long as the tests.
fn named(text: &str) -> &'static Label {
    Box::leak(Box::new(Label::new(text)))
}

fn entry() -> Entry<'static> {
    Entry {
        time: UNIX_EPOCH + Duration::from_millis(1_795_515_330_120),
        method: Some(b"GET"),
        path: Some(b"/v1/users"),
        query: Some(b"token=secret"),
        backend: Some(named("http://localhost:8001")),
        latency: Duration::from_micros(1_234),
        host: Some(b"api.example.com"),
        protocol: Some("HTTP/1.1"),
        route: Some(named("api.example.com/v1")),
        pool: Some(named("api")),
        request_id: Some(b"0123456789abcdef"),
        attempts: 1,
        bytes_sent: 512,
        backend_time: Some(Duration::from_micros(1_000)),
        ..Entry::new(200, Client::Direct(named("192.0.2.1:50123")))
    }
}

fn bare() -> Entry<'static> {
    let Entry {
        time,
        client,
        latency,
        bytes_sent,
        ..
    } = entry();
    Entry {
        time,
        latency,
        bytes_sent,
        error: Some("bad_request"),
        ..Entry::new(400, client)
    }
}

fn line(entry: &Entry<'_>, options: Options) -> String {
    let mut out = Vec::new();
    encode(entry, &mut Timestamp::default(), options, &mut out);
    String::from_utf8(out).expect("a line is UTF-8")
}

fn keys(line: &str) -> Vec<String> {
    let Ordered(entries) = serde_json::from_str(line).expect("a line is an object");
    entries.into_iter().map(|(key, _)| key).collect()
}

#[test]
fn a_line_has_exactly_the_promised_keys_in_the_promised_order() {
    let promised: Vec<&str> = FIRST.into_iter().chain(SECOND).collect();
    assert_eq!(keys(&line(&entry(), Options::default())), promised);
    let retries = [Retry {
        backend: named("http://localhost:8002"),
        reason: "connect_failure",
        detail: None,
    }];
    let failed = Entry {
        retries: &retries,
        grpc_status: Some(14),
        client_cert: Some(named("CN=client")),
        user: Some(b"alice"),
        policy: Some("office"),
        error: Some("no_backend"),
        detail: Some("no backend was up"),
        ..entry()
    };
    let promised: Vec<&str> = FIRST
        .into_iter()
        .chain(SECOND)
        .chain([
            "retries",
            "grpc_status",
            "client_cert",
            "user",
            "policy",
            "error",
            "detail",
        ])
        .collect();
    assert_eq!(keys(&line(&failed, Options::default())), promised);
}

#[test]
fn a_line_says_what_happened() {
    assert_eq!(
        line(&entry(), Options::default()),
        concat!(
            r#"{"time":"2026-11-24T10:15:30.120Z","level":"INFO","msg":"Request completed","#,
            r#""client_ip":"192.0.2.1:50123","method":"GET","path":"/v1/users","#,
            r#""backend":"http://localhost:8001","status":200,"latency_ms":1.234,"#,
            r#""host":"api.example.com","protocol":"HTTP/1.1","route":"api.example.com/v1","pool":"api","#,
            r#""request_id":"0123456789abcdef","attempts":1,"bytes_received":0,"bytes_sent":512,"#,
            r#""backend_ms":1.000}"#,
            "\n"
        )
    );
}

#[test]
fn what_is_not_known_is_null() {
    let read: Value = serde_json::from_str(&line(&bare(), Options::default())).expect("JSON");
    for key in [
        "method",
        "path",
        "backend",
        "host",
        "protocol",
        "route",
        "pool",
        "request_id",
        "backend_ms",
    ] {
        assert_eq!(read.get(key), Some(&Value::Null), "{key}");
    }
    assert_eq!(read["attempts"], 0);
    assert_eq!(read["error"], "bad_request");
}

#[test]
fn only_server_errors_are_warnings() {
    for (status, level) in [
        (200, "INFO"),
        (404, "INFO"),
        (499, "INFO"),
        (500, "WARN"),
        (503, "WARN"),
    ] {
        let read: Value =
            serde_json::from_str(&line(&Entry { status, ..entry() }, Options::default())).expect("JSON");
        assert_eq!(read["level"], level, "{status}");
        assert_eq!(read["status"], status);
    }
}

#[test]
fn the_client_has_a_port_only_when_it_is_its_own() {
    for (client, shown) in [
        (Client::Direct(named("[2001:db8::7]:443")), "[2001:db8::7]:443"),
        (
            Client::Forwarded("2001:db8::7".parse().expect("an address")),
            "2001:db8::7",
        ),
        (
            Client::Forwarded("192.0.2.9".parse().expect("an address")),
            "192.0.2.9",
        ),
    ] {
        let read: Value =
            serde_json::from_str(&line(&Entry { client, ..entry() }, Options::default())).expect("JSON");
        assert_eq!(read["client_ip"], shown);
    }
}

#[test]
fn the_query_is_shown_only_when_asked_for() {
    assert!(!line(&entry(), Options { query: false }).contains("secret"));
    let read: Value = serde_json::from_str(&line(&entry(), Options { query: true })).expect("JSON");
    assert_eq!(read["path"], "/v1/users?token=secret");
}

#[test]
fn retries_are_listed_up_to_a_bound() {
    let retries = [Retry {
        backend: named("http://localhost:8002"),
        reason: "503",
        detail: None,
    }; RETRIES_BOUND + 5];
    let read: Value = serde_json::from_str(&line(
        &Entry {
            retries: &retries,
            ..entry()
        },
        Options::default(),
    ))
    .expect("JSON");
    let listed = read["retries"].as_array().expect("a list");
    assert_eq!(listed.len(), RETRIES_BOUND);
    assert_eq!(
        listed[0],
        json!({"backend": "http://localhost:8002", "reason": "503"})
    );
}

#[test]
fn the_id_of_the_trace_is_there_while_tracing_is_on() {
    let traced = Entry {
        trace_id: Some(TraceId::from_bits(0xabc)),
        ..entry()
    };
    let shown = line(&traced, Options::default());
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["trace_id"], "00000000000000000000000000000abc");
}

#[test]
fn the_longest_line_is_within_the_bound() {
    let bytes = [0_u8; 20_000];
    let text = "\0".repeat(20_000);
    let label = named(&text);
    let retries = [Retry {
        backend: label,
        reason: "first_byte_timeout",
        detail: Some(&text),
    }; RETRIES_BOUND];
    let longest = Entry {
        time: SystemTime::UNIX_EPOCH,
        client: Client::Direct(label),
        method: Some(&bytes),
        path: Some(&bytes),
        query: Some(&bytes),
        backend: Some(label),
        status: u16::MAX,
        latency: Duration::MAX,
        host: Some(&bytes),
        protocol: Some("HTTP/1.1"),
        route: Some(label),
        pool: Some(label),
        request_id: Some(&bytes),
        trace_id: Some(TraceId::from_bits(u128::MAX)),
        attempts: u32::MAX,
        bytes_received: u64::MAX,
        bytes_sent: u64::MAX,
        backend_time: Some(Duration::MAX),
        retries: &retries,
        grpc_status: Some(u32::MAX),
        client_cert: Some(label),
        user: Some(&bytes),
        policy: Some(&text),
        error: Some("response_truncated"),
        detail: Some(&text),
        extra: Extra::default(),
    };
    let line = line(&longest, Options { query: true });
    assert!(line.len() <= LINE_BOUND, "{} > {LINE_BOUND}", line.len());
    assert!(line.len() > LINE_BOUND / 2, "the bound says something");
    serde_json::from_str::<Value>(&line).expect("JSON");
}

/// Bytes that are as likely to break a line as bytes can be.
fn nasty() -> impl Strategy<Value = Vec<u8>> {
    let batch = prop_oneof![
        Just(b"\"}\n{\"time\":\"".to_vec()),
        Just(b"\\".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\x1b[31m".to_vec()),
        Just("\u{202E}\u{2028}".as_bytes().to_vec()),
        Just(b"\xff\xfe\xc3".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..40),
        Just(vec![b'a'; 700]),
    ];
    proptest::collection::vec(batch, 0..8).prop_map(|batches| batches.concat())
}

proptest! {
    #[test]
    fn no_bytes_of_a_client_break_a_line(
        method in proptest::option::of(nasty()),
        path in proptest::option::of(nasty()),
        query in proptest::option::of(nasty()),
        host in proptest::option::of(nasty()),
        request_id in proptest::option::of(nasty()),
        detail in nasty(),
        user in nasty(),
    ) {
        let detail = String::from_utf8_lossy(&detail);
        let nasty = Entry {
            method: method.as_deref(),
            path: path.as_deref(),
            query: query.as_deref(),
            host: host.as_deref(),
            request_id: request_id.as_deref(),
            user: Some(&user),
            policy: Some(&detail),
            detail: Some(&detail),
            ..entry()
        };
        let line = line(&nasty, Options { query: true });
        prop_assert!(line.len() <= LINE_BOUND);
        prop_assert_eq!(line.lines().count(), 1);
        prop_assert!(line.ends_with('\n'));
        prop_assert_eq!(line.matches(char::is_control).count(), 1);
        let promised: Vec<&str> = FIRST.into_iter().chain(SECOND).chain(["user", "policy", "detail"]).collect();
        prop_assert_eq!(keys(&line), promised);
    }
}
