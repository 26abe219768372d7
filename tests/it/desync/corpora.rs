//! The requests and responses of two public corpora, h1spec and llhttp, if they are available: in the folder
//! `EVENKEEL_CORPORA`, or `../shared/data` beside the package.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

/// A message of a corpus.
#[derive(Debug)]
pub(super) struct Case {
    /// Its name in the corpus.
    pub(super) name: String,
    /// The bytes.
    pub(super) bytes: Vec<u8>,
    /// The corpus's verdict.
    pub(super) expected: Expected,
}

/// A corpus's verdict on a request.
#[derive(Debug)]
pub(super) enum Expected {
    /// The status of the first response is in one of these ranges.
    Ranges(Vec<[u16; 2]>),
    /// There is no response until more bytes arrive.
    Nothing,
    /// Nothing that is visible from outside: the parser's unit tests cover llhttp's verdicts.
    Unsaid,
}

impl Expected {
    /// Whether the first final response, if any, is as expected.
    pub(super) fn allows(&self, status: Option<u16>) -> bool {
        match (self, status) {
            (Self::Unsaid, _) | (Self::Nothing, None) => true,
            (Self::Ranges(ranges), Some(status)) => {
                ranges.iter().any(|[low, high]| (*low..=*high).contains(&status))
            }
            _ => false,
        }
    }
}

/// All available requests.
pub(super) fn requests() -> Vec<Case> {
    let lines = lines(|name| !name.contains("-response-"));
    lines.into_iter().flat_map(|line| requests_of(&line)).collect()
}

/// All available responses.
pub(super) fn responses() -> Vec<Case> {
    let lines = lines(|name| name.contains("-response-"));
    lines.iter().map(case).collect()
}

/// The lines of all files that `is_meant` accepts.
fn lines(is_meant: impl Fn(&str) -> bool) -> Vec<Value> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("EVENKEEL_CORPORA").map_or_else(beside, PathBuf::from);
    let mut found = Vec::new();
    for file in ["h1spec.jsonl", "llhttp.jsonl"] {
        let path = folder.join(file);
        let Ok(text) = fs::read_to_string(&path) else {
            eprintln!("skipped: there is no {}", path.display());
            continue;
        };
        let values = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
        let values: Vec<Value> = values.collect();
        assert!(
            values.len() > 30,
            "{} holds only {}",
            path.display(),
            values.len()
        );
        found.extend(values);
    }
    found.retain(|value| value["raw_b64"] != "" && is_meant(value["id"].as_str().unwrap_or_default()));
    found
}

/// A request unchanged and with a `Host`: llhttp's have none, which would hide every other reason to refuse them.
fn requests_of(value: &Value) -> Vec<Case> {
    let plain = case(value);
    let with_host = String::from_utf8_lossy(&plain.bytes).replacen("\r\n", "\r\nHost: a\r\n", 1);
    let with_host = Case {
        name: format!("{} with a Host", plain.name),
        bytes: with_host.into_bytes(),
        expected: Expected::Unsaid,
    };
    vec![plain, with_host]
}

fn case(value: &Value) -> Case {
    let text = |key: &str| value[key].as_str().expect(key);
    let expected = match (text("expect"), serde_json::from_str(text("expect"))) {
        (_, Ok(ranges)) => Expected::Ranges(ranges),
        ("wait", _) => Expected::Nothing,
        _ => Expected::Unsaid,
    };
    Case {
        name: text("id").to_owned(),
        bytes: base64(text("raw_b64")),
        expected,
    }
}

fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let digit = DIGITS.iter().position(|digit| *digit == byte).expect("base64");
        bits = bits << 6 | digit as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    bytes
}
