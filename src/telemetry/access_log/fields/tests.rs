//! Tests lines with selected fields.

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::encode::combined::tests::head;
use super::super::entry::{Client, Extra, Retry};
use super::super::headers::HEADER_BOUND;
use super::*;
use crate::telemetry::trace::TraceId;

fn all(more: &[&str]) -> Vec<Field> {
    let names = FIELDS.iter().map(|field| field.name);
    names
        .chain(more.iter().copied())
        .map(|name| Field::parse(name).expect("a field"))
        .collect()
}

fn line(fields: &[Field], entry: &Entry<'_>) -> String {
    let mut out = Vec::new();
    let options = Options { query: true };
    Selected::new(fields).encode(entry, &mut Timestamp::default(), options, &mut out);
    String::from_utf8(out).expect("a line is UTF-8")
}

fn client() -> Client<'static> {
    Client::Forwarded([192, 0, 2, 1].into())
}

fn tls() -> TlsFacts {
    TlsFacts {
        version: "TLSv1.3",
        group: Some("X25519MLKEM768"),
        cipher: Some("TLS_AES_256_GCM_SHA384"),
        alpn: Some("h2"),
        server_name: "a.test".into(),
    }
}

#[test]
fn every_field_has_its_value_in_the_order_of_the_config() {
    let request = head(&[("user-agent", b"curl/8"), ("X-Tag", b"a"), ("x-tag", b"b\"")]);
    let tls = tls();
    let (backend, other) = (Label::new("http://b:1"), Label::new("http://c:1"));
    let subject = Label::new("CN=client");
    let retries = [Retry {
        backend: &other,
        reason: "reset",
        detail: None,
    }];
    let entry = Entry {
        time: UNIX_EPOCH + Duration::from_millis(1_795_515_330_120),
        method: Some(b"GET"),
        path: Some(b"/v1"),
        query: Some(b"a=b"),
        backend: Some(&backend),
        latency: Duration::from_micros(1_234),
        host: Some(b"a.test"),
        protocol: Some("HTTP/2.0"),
        route: Some(&other),
        pool: Some(&backend),
        request_id: Some(b"0123"),
        trace_id: Some(TraceId::from_bits(0xa)),
        attempts: 2,
        bytes_received: 3,
        bytes_sent: 4,
        backend_time: Some(Duration::from_micros(1_000)),
        retries: &retries,
        grpc_status: Some(14),
        client_cert: Some(&subject),
        user: Some(b"alice"),
        policy: Some("office"),
        error: Some("no_backend"),
        detail: Some("no backend was up"),
        extra: Extra {
            tls: Some(&tls),
            request: Some(&request),
            response: Some(b"HTTP/1.1 503 Service Unavailable\r\nServer: x\r\nX-Cache:  HIT \r\n\r\n"),
        },
        ..Entry::new(503, client())
    };
    let more = [
        "header.User-Agent",
        "header.X-Tag",
        "header.None",
        "response_header.x-cache",
    ];
    assert_eq!(
        line(&all(&more), &entry),
        concat!(
            r#"{"time":"2026-11-24T10:15:30.120Z","level":"WARN","msg":"Request completed","client_ip":"192.0.2.1","#,
            r#""method":"GET","path":"/v1?a=b","backend":"http://b:1","status":503,"latency_ms":1.234,"#,
            r#""host":"a.test","protocol":"HTTP/2.0","route":"http://c:1","pool":"http://b:1","request_id":"0123","#,
            r#""attempts":2,"bytes_received":3,"bytes_sent":4,"backend_ms":1.000,"trace_id":"0000000000000000000000000000000a","#,
            r#""retries":[{"backend":"http://c:1","reason":"reset"}],"grpc_status":14,"client_cert":"CN=client","#,
            r#""user":"alice","policy":"office","error":"no_backend","detail":"no backend was up","#,
            r#""tls_version":"TLSv1.3","tls_group":"X25519MLKEM768","tls_cipher":"TLS_AES_256_GCM_SHA384","#,
            r#""alpn":"h2","sni":"a.test","header.User-Agent":"curl/8","header.X-Tag":"a, b\"","header.None":null,"#,
            r#""response_header.x-cache":"HIT"}"#,
            "\n"
        )
    );
    let fields = ["status", "time"].map(|name| Field::parse(name).expect("a field"));
    assert_eq!(
        line(&fields, &entry),
        "{\"status\":503,\"time\":\"2026-11-24T10:15:30.120Z\"}\n"
    );
}

#[test]
fn what_is_not_known_is_null() {
    let more = ["header.X", "response_header.X"];
    let fields = all(&more);
    let line = line(&fields, &Entry::new(400, client()));
    let read: Value = serde_json::from_str(&line).expect("JSON");
    let known = [
        "time",
        "level",
        "msg",
        "client_ip",
        "status",
        "latency_ms",
        "attempts",
        "bytes_received",
        "bytes_sent",
    ];
    for field in &fields {
        let name = field.name();
        let is_null = read.get(&name) == Some(&Value::Null);
        assert_eq!(is_null, !known.contains(&name.as_str()), "{name}: {line}");
    }
}

#[test]
fn the_description_names_every_field() {
    let named: Vec<&str> = FIELDS_FORM.split([' ', ',']).collect();
    for field in &FIELDS {
        assert!(named.contains(&field.name), "{}", field.name);
    }
}

#[test]
fn headers_are_named_and_never_hold_credentials() {
    assert_eq!(
        Field::parse("header.X-Key").map(|field| field.name()),
        Ok("header.X-Key".to_owned())
    );
    for name in [
        "header.",
        "header.a b",
        "header.a:b",
        "response_header.\u{e9}",
        "header.a\"b",
    ] {
        assert_eq!(Field::parse(name), Err(FieldError::Name), "{name}");
    }
    for name in [
        "header.Authorization",
        "header.cookie",
        "header.PROXY-AUTHORIZATION",
        "response_header.Set-Cookie",
        "response_header.Authorization",
    ] {
        assert_eq!(Field::parse(name), Err(FieldError::Credentials), "{name}");
    }
    for name in ["", "Status", "header", "cookie.a", "headers.X"] {
        assert_eq!(Field::parse(name), Err(FieldError::Unknown), "{name}");
    }
}

#[test]
fn a_header_is_cut_over_all_its_lines() {
    let request = head(&[("X", &[b'a'; 1000]), ("X", &[b'b'; 1000]), ("X", b"c")]);
    let extra = Extra {
        request: Some(&request),
        ..Extra::default()
    };
    let entry = Entry {
        extra,
        ..Entry::new(200, client())
    };
    let line = line(&[Field::parse("header.X").expect("a field")], &entry);
    let read: Value = serde_json::from_str(&line).expect("JSON");
    let left = HEADER_BOUND - 1000 - 2;
    let expected = format!("{}, {}…[truncated]", "a".repeat(1000), "b".repeat(left));
    assert_eq!(read, json!({ "header.X": expected }));
}

proptest! {
    #[test]
    fn no_bytes_break_a_line(
        one in proptest::collection::vec(any::<u8>(), 0..60),
        other in proptest::collection::vec(any::<u8>(), 0..60),
        name in "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}",
    ) {
        let name = format!("header.{name}");
        let response = ["HTTP/1.1 200 OK\r\nX: ".as_bytes(), &other, b"\r\n\r\n"].concat();
        let request = head(&[(name.strip_prefix("header.").expect("a header"), &one), ("Y", &other), ("Y", &one)]);
        let extra = Extra { request: Some(&request), response: Some(&response), tls: None };
        let entry = Entry { method: Some(&one), path: Some(&other), user: Some(&one), extra, ..Entry::new(200, client()) };
        let Ok(field) = Field::parse(&name) else { return Ok(()) };
        let mut fields = all(&["header.Y", "response_header.X"]);
        fields.push(field);
        let line = line(&fields, &entry);
        prop_assert_eq!(line.lines().count(), 1);
        prop_assert_eq!(line.matches(char::is_control).count(), 1);
        let read: Value = serde_json::from_str(&line).expect("JSON");
        prop_assert!(read.get(&name).is_some_and(Value::is_string), "{}", line);
    }
}
