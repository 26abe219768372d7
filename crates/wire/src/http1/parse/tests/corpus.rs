//! Tests against two public corpora of HTTP/1 messages, h1spec and llhttp, if they are available: in `EVENKEEL_CORPORA`, or in
//! the folder `../shared/data` next to the package. Each line is an object with `id`, `raw_b64` and `expect`.

use super::{parse_request, parse_response_in_test};
use crate::head::{BodyLength, Method};
use crate::http1::Piece;
use crate::http1::chunked::ChunkedDecoder;
use crate::http1::scan::{HeadScan, Kind};
use crate::http1::{Limits, Malformed};
use std::path::PathBuf;

/// Messages that llhttp accepts and we refuse on purpose.
const STRICTER: [(&str, Malformed); 17] = [
    // `*` without OPTIONS; a fragment; user information.
    ("llhttp-request-method-5", Malformed::BadTarget),
    ("llhttp-request-uri-8", Malformed::BadTarget),
    ("llhttp-request-uri-10", Malformed::BadHost),
    // Other protocols, HTTP/0.9.
    ("llhttp-request-method-12", Malformed::BadRequestLine),
    ("llhttp-request-method-13", Malformed::BadRequestLine),
    ("llhttp-request-method-14", Malformed::BadRequestLine),
    ("llhttp-request-sample-10", Malformed::BadRequestLine),
    ("llhttp-response-sample-2", Malformed::BadStatusLine),
    ("llhttp-response-sample-3", Malformed::BadStatusLine),
    ("llhttp-response-sample-17", Malformed::BadStatusLine),
    // Codings in addition to `chunked`; in the first two cases the target has a fragment.
    ("llhttp-request-transfer-encoding-20", Malformed::BadTarget),
    ("llhttp-request-transfer-encoding-21", Malformed::BadTarget),
    (
        "llhttp-response-transfer-encoding-2",
        Malformed::BadTransferEncoding,
    ),
    (
        "llhttp-response-transfer-encoding-3",
        Malformed::BadTransferEncoding,
    ),
    (
        "llhttp-response-transfer-encoding-4",
        Malformed::UnknownTransferCoding,
    ),
    // An empty line before a response.
    ("llhttp-response-sample-19", Malformed::BadStatusLine),
    ("llhttp-response-connection-17", Malformed::BadStatusLine),
];

/// Messages that llhttp refuses and we accept: methods that it does not know, and blanks after the chunk sizes of a backend.
const LOOSER: [&str; 3] = [
    "llhttp-request-invalid-4",
    "llhttp-request-invalid-14",
    "llhttp-response-transfer-encoding-1",
];

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Accepted,
    Incomplete,
    Refused(Malformed),
}

#[test]
fn h1spec_results_are_as_expected() {
    for case in corpus("h1spec.jsonl") {
        let verdict = read(&case.bytes, Kind::Request);
        let is_accepted = |range: &[u16; 2]| range[0] < 400;
        match serde_json::from_str::<Vec<[u16; 2]>>(&case.expect) {
            Err(_) => assert_eq!(
                (case.expect.as_str(), &verdict),
                ("wait", &Verdict::Incomplete),
                "{}",
                case.id
            ),
            Ok(ranges) if ranges.iter().all(is_accepted) => {
                assert_eq!(verdict, Verdict::Accepted, "{}", case.id);
            }
            Ok(ranges) if ranges.iter().any(is_accepted) => {}
            Ok(_) => assert!(matches!(verdict, Verdict::Refused(_)), "{}: {verdict:?}", case.id),
        }
    }
}

#[test]
fn refuses_what_llhttp_refuses_and_only_known_messages_more() {
    let mut wrong = Vec::new();
    for case in corpus("llhttp.jsonl") {
        let kind = if case.id.contains("-request-") {
            Kind::Request
        } else {
            Kind::Response
        };
        let verdict = read(&with_host(&case.bytes, kind), kind);
        let known = STRICTER
            .iter()
            .find(|(id, _)| *id == case.id)
            .map(|(_, reason)| *reason);
        let is_error = case.expect.starts_with("error:");
        // These describe what llhttp does after a valid message.
        let is_about_afterwards = ["Pause on", "Data after"]
            .iter()
            .any(|text| case.expect.contains(text))
            || LOOSER.contains(&case.id.as_str());
        let is_expected = match verdict {
            Verdict::Refused(reason) => is_error || case.is_lenient || known == Some(reason),
            Verdict::Accepted => known.is_none() && (!is_error || is_about_afterwards),
            Verdict::Incomplete => known.is_none(),
        };
        if !is_expected {
            wrong.push(format!(
                "{} {verdict:?}, not {}: {}",
                case.id,
                case.expect,
                case.bytes.escape_ascii()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Reads message after message, as a connection does. Bytes after the final response are not a response.
fn read(mut bytes: &[u8], kind: Kind) -> Verdict {
    loop {
        let mut scan = HeadScan::default();
        let end = match scan.advance(bytes, kind, &Limits::default()) {
            Err(reason) => return Verdict::Refused(reason),
            Ok(None) => return Verdict::Incomplete,
            Ok(Some(end)) => end,
        };
        let parsed = match kind {
            Kind::Request => parse_request(bytes)
                .map(|head| head.map(|head| (head.body, head.keep_alive && head.upgrade.is_none()))),
            _ => parse_response_in_test(bytes, Method::Get)
                .map(|head| head.map(|head| (head.body, matches!(head.status, 100 | 102..=199)))),
        };
        let (body, is_followed) = match parsed {
            Err(reason) => return Verdict::Refused(reason),
            Ok(head) => head.expect("scanned to its end"),
        };
        bytes = match after_body(&bytes[end..], body, kind) {
            Err(reason) => return Verdict::Refused(reason),
            Ok(None) => return Verdict::Incomplete,
            Ok(Some(rest)) if rest.is_empty() || !is_followed => return Verdict::Accepted,
            Ok(Some(rest)) => rest,
        };
    }
}

fn after_body(bytes: &[u8], body: BodyLength, kind: Kind) -> Result<Option<&[u8]>, Malformed> {
    match body {
        BodyLength::None => Ok(Some(bytes)),
        BodyLength::UntilClose => Ok(Some(&[])),
        BodyLength::Exact(length) => Ok(usize::try_from(length)
            .ok()
            .and_then(|length| bytes.get(length..))),
        BodyLength::Chunked => {
            let mut decoder = ChunkedDecoder::new(kind, Limits::default());
            let mut rest = bytes;
            loop {
                match decoder.next(rest)? {
                    Piece::Data { skip, len } => rest = &rest[skip + len..],
                    Piece::NeedMore { .. } => return Ok(None),
                    Piece::End { skip, .. } => return Ok(Some(&rest[skip..])),
                }
            }
        }
    }
}

/// Adds a `Host` to each request that has none: the corpus omits it, which would hide every other reason.
fn with_host(bytes: &[u8], kind: Kind) -> Vec<u8> {
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let has_host = lines.iter().any(|line| {
        line.get(..5)
            .is_some_and(|name| name.eq_ignore_ascii_case(b"host:"))
    });
    if kind == Kind::Response || has_host {
        return bytes.to_vec();
    }
    let is_start = |line: &[u8]| line.ends_with(b" HTTP/1.1\r\n");
    lines
        .iter()
        .flat_map(|line| [*line, if is_start(line) { b"Host: a\r\n" } else { b"" }])
        .flatten()
        .copied()
        .collect()
}

struct Case {
    id: String,
    expect: String,
    bytes: Vec<u8>,
    /// Whether llhttp ran with one of its lenient flags.
    is_lenient: bool,
}

/// The cases of one file; none if it is not available.
fn corpus(name: &str) -> Vec<Case> {
    let shared_data = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let path = std::env::var_os("EVENKEEL_CORPORA")
        .map_or_else(shared_data, PathBuf::from)
        .join(name);
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: there is no {}", path.display());
        return Vec::new();
    };
    let cases: Vec<Case> = text.lines().map(case).collect();
    assert!(
        cases.len() > 30,
        "{} holds only {} cases",
        path.display(),
        cases.len()
    );
    cases
}

fn case(line: &str) -> Case {
    let value: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
    let text = |key: &str| value[key].as_str().expect(key).to_owned();
    Case {
        id: text("id"),
        expect: text("expect"),
        bytes: base64(&text("raw_b64")),
        is_lenient: value["meta"]["type"]
            .as_str()
            .is_some_and(|kind| kind.contains("lenient")),
    }
}

fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |byte: u8| DIGITS.iter().position(|digit| *digit == byte).expect("base64") as u32;
    text.trim_end_matches('=')
        .as_bytes()
        .chunks(4)
        .flat_map(|group| {
            let bits = group.iter().fold(0, |bits, byte| bits << 6 | digit(*byte)) << (6 * (4 - group.len()));
            bits.to_be_bytes()[1..group.len()].to_vec()
        })
        .collect()
}
