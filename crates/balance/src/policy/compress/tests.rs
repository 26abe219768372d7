//! Heads of requests and responses, and what becomes of them.

use evenkeel_wire::head::ResponseHead;
use evenkeel_wire::http1::{self, HeadScan, Kind as HeadKind, Limits};
use proptest::prelude::*;

use super::*;
use crate::kept::Kept;
use crate::policy::Edit;
use crate::request::tests::head;

fn build_with(params: &Params) -> Result<Box<dyn Policy>, BuildError> {
    build(Context {
        name: "compress",
        params,
        kept: &mut Kept::default().next(),
    })
}

fn compression(values: Vec<(&'static str, Value)>) -> Compression {
    let mut params = Params::default();
    values.into_iter().for_each(|(key, value)| params.set(key, value));
    build_with(&params).unwrap().compression().unwrap().clone()
}

fn texts_of(texts: &[&str]) -> Value {
    Value::List(texts.iter().map(|text| Value::Text((*text).to_owned())).collect())
}

/// The outcome and the changes, as lines; a removed header ends with `-`.
fn outcome_of(
    compression: &Compression,
    request: &str,
    response: &str,
    edits: &[Edit],
) -> (Outcome, Vec<String>) {
    let request = head(&format!("{request}\r\n\r\n"));
    let bytes = format!("{response}\r\n\r\n").into_bytes();
    let mut scan = HeadScan::default();
    let end = scan.advance(&bytes, HeadKind::Response, &Limits::default());
    let mut parsed = ResponseHead::default();
    http1::parse_response(&bytes, &scan, end.unwrap().unwrap(), request.method, &mut parsed).unwrap();
    let facts = ResponseFacts::of(&parsed, &bytes, edits);
    let outcome = compression.choose(&request, &facts);
    let lines = outcome.edits(&facts).into_iter().map(|edit| match &edit {
        Edit::Remove(name) => format!("{name}-"),
        Edit::Set(name, value) => format!("{name}: {}", String::from_utf8_lossy(value)),
        Edit::Add(..) => panic!("{edit:?}"),
    });
    (outcome, lines.collect())
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip";
const HTML: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked";
const GZIP: Outcome = Outcome::Encoded(ContentCoding::Gzip);

fn outcome(request: &str, response: &str) -> Outcome {
    outcome_of(&compression(vec![]), request, response, &[]).0
}

fn edits(request: &str, response: &str) -> Vec<String> {
    outcome_of(&compression(vec![]), request, response, &[]).1
}

#[test]
fn a_response_of_a_listed_type_is_compressed() {
    assert_eq!(outcome(GET, HTML), GZIP);
    assert_eq!(
        edits(GET, HTML),
        ["Vary: Accept-Encoding", "Content-Encoding: gzip"]
    );
    for status in [201, 203, 301, 400, 404, 500, 503] {
        let response = HTML.replace("200", &status.to_string());
        assert_eq!(outcome(GET, &response), GZIP, "{status}");
    }
    let post = GET.replace("GET", "POST");
    assert_eq!(outcome(&post, HTML), GZIP);
}

#[test]
fn what_cannot_be_compressed_is_left_alone() {
    let with = |line: &str| format!("{HTML}\r\n{line}");
    for response in [
        with("Content-Encoding: br"),
        with("Content-Encoding: identity\r\nContent-Encoding: gzip"),
        with("Cache-Control: public, No-Transform"),
        with("Cache-Control: public\r\nCache-Control: no-transform"),
        with("Content-Range: bytes 0-1/2"),
        with("Content-Type: text/html"),
        HTML.replace("text/html", "image/png"),
        HTML.replace("text/html", "text/event-stream"),
        HTML.replace("Content-Type: text/html\r\n", ""),
        HTML.replace("200", "206"),
        "HTTP/1.1 204 No\r\nContent-Type: text/html".to_owned(),
        "HTTP/1.1 205 Reset\r\nContent-Type: text/html\r\nContent-Length: 5000".to_owned(),
        HTML.replace("Transfer-Encoding: chunked", "Content-Length: 1023"),
        HTML.replace("Transfer-Encoding: chunked", "Content-Length: 0"),
    ] {
        assert_eq!(outcome(GET, &response), Outcome::Untouched, "{response}");
        assert!(edits(GET, &response).is_empty(), "{response}");
    }
}

#[test]
fn bodies_from_the_smallest_size_on_are_compressed() {
    let response = HTML.replace("Transfer-Encoding: chunked", "Content-Length: 1024");
    assert_eq!(outcome(GET, &response), GZIP);
    let small = compression(vec![("min_size", Value::Size(10))]);
    let response = HTML.replace("Transfer-Encoding: chunked", "Content-Length: 10");
    assert_eq!(outcome_of(&small, GET, &response, &[]).0, GZIP);
    let response = HTML.replace("Transfer-Encoding: chunked", "Content-Length: 9");
    assert_eq!(outcome_of(&small, GET, &response, &[]).0, Outcome::Untouched);
}

#[test]
fn caches_learn_that_other_clients_get_it_compressed() {
    for accepts in [
        "",
        "Accept-Encoding: \r\n",
        "Accept-Encoding: deflate\r\n",
        "Accept-Encoding: gzip;q=0\r\n",
    ] {
        let request = format!("GET / HTTP/1.1\r\n{accepts}Host: a");
        assert_eq!(outcome(&request, HTML), Outcome::Varies, "{accepts}");
        let response = format!("{HTML}\r\nETag: \"a\"\r\nAccept-Ranges: bytes");
        assert_eq!(edits(&request, &response), ["Vary: Accept-Encoding"], "{accepts}");
    }
    let request = format!("{GET}\r\nCache-Control: no-transform");
    assert_eq!(outcome(&request, HTML), Outcome::Varies);
}

#[test]
fn vary_is_merged() {
    for (lines, expected) in [
        ("Vary: Origin", Some("Vary: Origin, Accept-Encoding")),
        (
            "Vary: Origin,Accept\r\nVary: , Cookie",
            Some("Vary: Origin, Accept, Cookie, Accept-Encoding"),
        ),
        ("Vary: *", None),
        ("Vary: Origin, accept-encoding", None),
        ("Vary: Origin\r\nVary: Accept-Encoding", None),
    ] {
        let edits = edits(GET, &format!("{HTML}\r\n{lines}"));
        let vary = edits.iter().find(|edit| edit.starts_with("Vary"));
        assert_eq!(vary.map(String::as_str), expected, "{lines}");
    }
}

#[test]
fn what_holds_only_for_the_bytes_as_they_were_is_removed() {
    for (line, expected) in [
        ("ETag: \"a\"", Some("ETag: W/\"a\"")),
        ("ETag: W/\"a\"", None),
        ("ETag: a", Some("ETag-")),
        ("Accept-Ranges: bytes", Some("Accept-Ranges-")),
        ("Content-MD5: YQ==", Some("Content-MD5-")),
        ("digest: sha-256=YQ==", Some("digest-")),
        ("Content-Digest: sha-256=:YQ==:", Some("Content-Digest-")),
        ("Repr-Digest: sha-256=:YQ==:", Some("Repr-Digest-")),
        ("Unencoded-Digest: sha-256=:YQ==:", None),
        ("Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT", None),
    ] {
        let mut edits = edits(GET, &format!("{HTML}\r\n{line}"));
        edits.retain(|edit| !edit.starts_with("Vary") && !edit.starts_with("Content-Encoding"));
        assert_eq!(edits.first().map(String::as_str), expected, "{line}");
        assert!(edits.len() <= 1, "{edits:?}");
    }
}

#[test]
fn a_response_without_a_body_promises_nothing_that_may_not_hold() {
    let response = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5000\r\nETag: \"a\"\r\nAccept-Ranges: bytes";
    let expected = ["Vary: Accept-Encoding", "ETag: W/\"a\"", "Accept-Ranges-"];
    let request = GET.replace("GET", "HEAD");
    assert_eq!(outcome(&request, response), Outcome::HeadOnly);
    assert!(outcome(&request, response).hides_length());
    assert_eq!(edits(&request, response), expected);
    // As small as one that would not be compressed.
    assert_eq!(
        outcome(&request, &response.replace("5000", "500")),
        Outcome::Untouched
    );
    assert_eq!(outcome("HEAD / HTTP/1.1\r\nHost: a", response), Outcome::Varies);
    // What a cache has stored is updated with the headers of a 304.
    let unchanged = "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nVary: Origin";
    assert_eq!(outcome(GET, unchanged), Outcome::HeadOnly);
    assert_eq!(
        edits(GET, unchanged),
        ["Vary: Origin, Accept-Encoding", "ETag: W/\"a\""]
    );
    let picture = format!("{unchanged}\r\nContent-Type: image/png");
    assert_eq!(outcome(GET, &picture), Outcome::Untouched);
}

#[test]
fn changes_of_headers_count() {
    let compression = compression(vec![]);
    let set = |name: &str, value: &str| Edit::Set(name.into(), value.as_bytes().into());
    let decide = |response: &str, edits: &[Edit]| outcome_of(&compression, GET, response, edits);
    assert_eq!(
        decide(HTML, &[set("content-type", "image/png")]).0,
        Outcome::Untouched
    );
    assert_eq!(
        decide(HTML, &[set("Cache-Control", "no-transform")]).0,
        Outcome::Untouched
    );
    let picture = HTML.replace("text/html", "image/png");
    assert_eq!(decide(&picture, &[set("Content-Type", "text/css")]).0, GZIP);
    let fixed = format!("{HTML}\r\nCache-Control: no-transform");
    assert_eq!(decide(&fixed, &[Edit::Remove("cache-control".into())]).0, GZIP);
    let added = Edit::Add("Vary".into(), b"Origin"[..].into());
    assert_eq!(decide(HTML, &[added]).1[0], "Vary: Origin, Accept-Encoding");
    let twice = [set("Content-Type", "image/png"), set("Content-Type", "text/css")];
    assert_eq!(decide(HTML, &twice).0, GZIP);
}

#[test]
fn the_parameters_are_followed() {
    let accepts_all = GET.replace("gzip", "gzip, br, zstd");
    let all = compression(vec![]);
    assert_eq!(all.level(), Level::Default);
    assert_eq!(
        outcome_of(&all, &accepts_all, HTML, &[]).0.coding(),
        Some(ContentCoding::Zstd)
    );
    let other = compression(vec![
        (
            "encodings",
            Value::List(vec![Value::Word("br"), Value::Word("zstd")]),
        ),
        ("types", texts_of(&["application/json"])),
        ("level", Value::Word("best")),
    ]);
    assert_eq!(other.level(), Level::Best);
    assert_eq!(outcome_of(&other, &accepts_all, HTML, &[]).0, Outcome::Untouched);
    let json = HTML.replace("text/html", "application/json; charset=utf-8");
    assert_eq!(
        outcome_of(&other, &accepts_all, &json, &[]).0.coding(),
        Some(ContentCoding::Br)
    );
    assert_eq!(outcome_of(&other, GET, &json, &[]).0, Outcome::Varies);
}

#[test]
fn empty_and_repeated_lists_are_errors() {
    let with = |key, value| {
        let mut params = Params::default();
        params.set(key, value);
        build_with(&params).unwrap_err()
    };
    assert_eq!(with("encodings", Value::List(vec![])).key, Some("encodings"));
    let twice = Value::List(vec![Value::Word("gzip"), Value::Word("gzip")]);
    assert!(
        with("encodings", twice)
            .message
            .contains("`gzip` is listed twice")
    );
    assert_eq!(with("types", Value::List(vec![])).key, Some("types"));
}

#[test]
fn the_documented_defaults_are_those_that_hold() {
    let listed = DEFAULT_TYPES.join(", ");
    let text = KEYS
        .iter()
        .find(|key| key.name == "types")
        .unwrap()
        .default_text();
    assert_eq!(text, format!("[{listed}]"));
    for text in DEFAULT_TYPES {
        assert!(MediaRange::parse(text).is_some(), "{text}");
    }
    let size = KEYS.iter().find(|key| key.name == "min_size").unwrap();
    assert_eq!(size.kind.parse(size.default_text()), Some(Value::Size(MIN_SIZE)));
}

proptest! {
    #[test]
    fn vary_names_accept_encoding_whenever_a_client_could_get_it_compressed(
        accepts in "(gzip|br|zstd|identity|\\*)(;q=(0|0\\.5|1))?(, (gzip|br|zstd|identity|\\*)(;q=(0|0\\.5|1))?){0,3}",
        kind in prop::sample::select(vec!["text/html", "image/png", "application/json", "text/event-stream"]),
        status in prop::sample::select(vec![200_u16, 204, 206, 304, 404]),
        method in prop::sample::select(vec!["GET", "HEAD", "POST"]),
        length in prop_oneof![Just(0_u64), Just(500), Just(5000)],
    ) {
        let response = format!("HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nETag: \"a\"");
        let ask = |accepts: &str| {
            outcome_of(&compression(vec![]), &format!("{method} / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {accepts}"), &response, &[])
        };
        let (outcome, edits) = ask(&accepts);
        let (best, _) = ask("gzip, br, zstd");
        // Whether it can be compressed does not depend on who asks.
        prop_assert_eq!(outcome == Outcome::Untouched, best == Outcome::Untouched);
        let has = |start: &str| edits.iter().any(|edit| edit.starts_with(start));
        prop_assert_eq!(has("Vary: Accept-Encoding"), outcome != Outcome::Untouched);
        prop_assert_eq!(has("Content-Encoding"), outcome.coding().is_some());
        prop_assert_eq!(has("ETag: W/"), outcome.hides_length());
        prop_assert!(outcome.coding().is_none() || (method != "HEAD" && matches!(status, 200 | 404)));
    }
}
