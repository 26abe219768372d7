//! Local responses to refused request heads are complete HTTP/2 messages (RFC 9113 §8.1.1) to every client.

use std::process::Command;

use http::Request;

use super::started;
use crate::support::Proxy;
use crate::support::ability::skip;
use crate::support::http2::{Http2, request};

/// Requests that are refused with another status than 400, each with its status and error code in the log.
fn refused() -> Vec<(Request<()>, u16, &'static str)> {
    let with = |method: &str, name: &'static str, value: &str| {
        let mut asked = request(method, "/x");
        asked.headers_mut().insert(name, value.parse().unwrap());
        asked
    };
    let mut many = request("GET", "/x");
    for at in 0..200 {
        let name: http::HeaderName = format!("x-{at}").parse().unwrap();
        many.headers_mut().insert(name, "1".parse().unwrap());
    }
    let mut large = request("POST", "/x");
    for _ in 0..90 {
        large.headers_mut().append("x", "y".repeat(500).parse().unwrap());
    }
    let mut connect = Request::builder()
        .method("CONNECT")
        .uri("test:80")
        .body(())
        .unwrap();
    *connect.version_mut() = http::Version::HTTP_2;
    vec![
        (many, 431, "too_many_fields"),
        (large, 431, "head_too_large"),
        (with("GET", "x", &"y".repeat(20_000)), 431, "field_too_long"),
        (
            request("GET", &format!("/{}", "y".repeat(20_000))),
            414,
            "target_too_long",
        ),
        (with("POST", "expect", "200-ok"), 417, "unknown_expectation"),
        (request(&"M".repeat(1_000), "/x"), 501, "method_too_long"),
        (connect, 501, "connect_method"),
        (with("HEAD", "x", &"y".repeat(20_000)), 431, "field_too_long"),
        (
            request("HEAD", &format!("/{}", "y".repeat(20_000))),
            414,
            "target_too_long",
        ),
    ]
}

#[test]
fn refused_heads_get_complete_messages() {
    let (_backend, proxy) = started();
    for (asked, status, word) in refused() {
        let what = format!("{} {word}", asked.method());
        let is_head = asked.method() == http::Method::HEAD;
        let client = Http2::connect(proxy.address());
        let got = client
            .ask(asked, b"")
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(got.head.status(), status, "{what}");
        let length: usize = got.field("content-length").unwrap().parse().unwrap();
        assert!(length > word.len(), "{what}: {length}");
        assert_eq!(got.body.len(), if is_head { 0 } else { length }, "{what}");
        assert!(is_head || got.text().contains(word), "{what}: {:?}", got.text());
        assert_eq!(client.get("/next").text(), "ok", "{what}");
        let mark = proxy.wait_for_line(|line| line["error"] == word);
        assert_eq!(mark["status"], status, "{what}");
    }
}

/// A refused gRPC call gets a gRPC status, whatever else its head contains and in which order.
#[test]
fn refused_grpc_calls_get_a_grpc_status() {
    let (_backend, proxy) = started();
    let client = Http2::connect(proxy.address());
    let call = |name: &'static str, value: &str| {
        let mut asked = request("POST", "/x");
        let fields = asked.headers_mut();
        fields.insert(name, value.parse().unwrap());
        fields.insert("content-type", "application/grpc".parse().unwrap());
        asked
    };
    for (asked, status, word) in [
        (call("x", &"y".repeat(20_000)), "8", "field_too_long"),
        (call("expect", "200-ok"), "2", "unknown_expectation"),
    ] {
        let got = client.ask(asked, b"").unwrap();
        assert_eq!((got.head.status().as_u16(), got.body.len()), (200, 0), "{word}");
        assert_eq!(got.field("grpc-status"), Some(status), "{word}");
        assert_eq!(got.field("content-length"), None, "{word}");
        assert!(got.field("grpc-message").unwrap().starts_with(word));
        let line = proxy.wait_for_line(|line| line["error"] == word);
        assert_eq!(
            (&line["status"], line["grpc_status"].to_string()),
            (&200.into(), status.to_owned()),
            "{line}"
        );
    }
    assert_eq!(client.get("/next").text(), "ok");
}

/// curl reports violations most clearly; skipped if it is not installed.
#[test]
fn curl_accepts_the_responses_to_refused_heads() {
    let version = Command::new("curl").arg("--version").output();
    if !version.is_ok_and(|version| String::from_utf8_lossy(&version.stdout).contains("HTTP2")) {
        return skip("there is no curl with HTTP/2 here");
    }
    let (_backend, proxy) = started();
    let long = "y".repeat(20_000);
    let field = format!("x: {long}");
    let cases: [(&[&str], &str, &str); 4] = [
        (&["-H", &field], "/x", "431"),
        (&["-H", "expect: 200-ok"], "/x", "417"),
        (&["-I", "-H", &field], "/x", "431"),
        (&[], &format!("/{long}"), "414"),
    ];
    for (words, path, status) in cases {
        let got = curl(&proxy, words, path);
        assert_eq!((got.0, got.1.as_str()), (Some(0), status), "{words:.20?}");
    }
}

/// curl's exit code, and the status that it received.
fn curl(proxy: &Proxy, words: &[&str], path: &str) -> (Option<i32>, String) {
    let output = Command::new("curl")
        .args(["-s", "--http2-prior-knowledge", "--max-time", "20"])
        .args(["-o", "/dev/null", "-w", "%{http_code}"])
        .args(words)
        .arg(format!("http://{}{path}", proxy.address()))
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}
