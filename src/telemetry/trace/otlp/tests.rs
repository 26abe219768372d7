//! Reads the encoded messages back with a small reader of Protocol Buffers.

use proptest::prelude::*;

use super::super::context::{Incoming, SampleRatio};
use super::*;

const PARENT: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The fields of a message: number and bytes, where numbers are eight bytes, little endian.
fn fields(mut input: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    while !input.is_empty() {
        let tag = number(&mut input);
        let value = match tag & 7 {
            0 => number(&mut input).to_le_bytes().to_vec(),
            1 => take(&mut input, 8),
            2 => {
                let length = number(&mut input) as usize;
                take(&mut input, length)
            }
            5 => take(&mut input, 4),
            other => panic!("wire type {other}"),
        };
        found.push((tag >> 3, value));
    }
    found
}

fn number(input: &mut &[u8]) -> u64 {
    let mut shift = 0;
    let mut number = 0;
    loop {
        let byte = take(input, 1)[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return number;
        }
        shift += 7;
    }
}

fn take(input: &mut &[u8], length: usize) -> Vec<u8> {
    let (taken, rest) = input.split_at(length);
    *input = rest;
    taken.to_vec()
}

fn only(message: &[u8], field: u64) -> Vec<u8> {
    let mut all = every(message, field);
    assert_eq!(all.len(), 1, "field {field}");
    all.remove(0)
}

fn every(message: &[u8], field: u64) -> Vec<Vec<u8>> {
    let wanted = fields(message).into_iter().filter(|(number, _)| *number == field);
    wanted.map(|(_, value)| value).collect()
}

/// The spans of an export of a request and one failed attempt.
fn exported(path: &[u8]) -> Vec<Vec<u8>> {
    let ratio = SampleRatio::new(0.0).unwrap();
    let request = TraceContext::of_request(Incoming::from_traceparent(PARENT), ratio, 1, 0xa);
    let attributes = [
        Attribute {
            name: "url.path",
            value: AttributeValue::Text(path),
        },
        Attribute {
            name: "http.request.resend_count",
            value: AttributeValue::Number(300),
        },
    ];
    let server = Span {
        context: request,
        kind: SpanKind::Server,
        name: b"GET",
        start: 20,
        end: 10,
        trace_state: b"",
        is_error: false,
        attributes: &attributes,
    };
    let client = Span {
        context: request.of_attempt(0xb),
        kind: SpanKind::Client,
        is_error: true,
        ..server
    };
    let mut spans = Vec::new();
    server.encode(&mut spans);
    client.encode(&mut spans);
    let out = encode_request("edge", "1", &spans);
    let resource_spans = only(&out, 1);
    let service = only(&only(&resource_spans, 1), 1);
    assert_eq!(only(&service, 1), b"service.name");
    assert_eq!(only(&only(&service, 2), 1), b"edge");
    every(&only(&resource_spans, 2), 2)
}

#[test]
fn an_attempt_names_the_request_as_its_parent() {
    let spans = exported(b"/");
    assert_eq!(only(&spans[0], 1), only(&spans[1], 1));
    assert_eq!(only(&spans[0], 4), 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    assert_eq!(only(&spans[1], 4), only(&spans[0], 2));
    assert_eq!(only(&spans[0], 6), 2_u64.to_le_bytes());
    assert_eq!(only(&spans[1], 6), 3_u64.to_le_bytes());
}

#[test]
fn only_a_failed_span_has_a_status() {
    let spans = exported(b"/");
    assert!(every(&spans[0], 15).is_empty());
    assert_eq!(only(&only(&spans[1], 15), 3), 2_u64.to_le_bytes());
}

#[test]
fn a_span_never_ends_before_it_starts() {
    assert_eq!(only(&exported(b"/")[0], 8), 20_u64.to_le_bytes());
}

#[test]
fn hostile_text_is_bounded_and_becomes_utf_8() {
    for path in [
        &b"/\xff\xfe"[..],
        &[b'a'; 100_000][..],
        "é".repeat(1000).as_bytes(),
    ] {
        let attributes = every(&exported(path)[0], 9);
        let value = only(&only(&attributes[0], 2), 1);
        assert!(String::from_utf8(value.clone()).is_ok());
        assert!(value.len() <= 3 * VALUE_BOUND);
        assert_eq!(only(&only(&attributes[1], 2), 3), 300_u64.to_le_bytes());
    }
}

#[test]
fn a_trace_state_keeps_only_whole_members() {
    let members = |count: usize| vec!["vendor=0123456789abcdef"; count].join(",");
    let whole = members(42);
    assert_eq!(bounded_state(whole.as_bytes()), whole.as_bytes());
    let long = members(100);
    assert_eq!(bounded_state(long.as_bytes()), whole.as_bytes());
    // The last one ends exactly at the bound, and one byte after it.
    for (size, kept) in [(VALUE_BOUND, VALUE_BOUND), (VALUE_BOUND + 1, 0)] {
        let state = [&b"a".repeat(size)[..], b",b=1"].concat();
        assert_eq!(bounded_state(&state), b"a".repeat(kept));
    }
}

#[test]
fn a_response_says_how_many_spans_were_refused() {
    for (response, count) in [
        (&[][..], 0),
        (&[0x0a, 0x00], 0),
        (&[0x0a, 0x02, 0x08, 0x05], 5),
        // The message of the error comes first.
        (&[0x0a, 0x06, 0x12, 0x01, b'x', 0x08, 0xac, 0x02], 300),
        // Cut off, and no message at all.
        (&[0x0a, 0x05, 0x08, 0x05], 0),
        (&[0xff; 20], 0),
        (b"<html>", 0),
    ] {
        assert_eq!(rejected_spans(response), count, "{response:?}");
    }
}

proptest! {
    #[test]
    fn any_response_of_a_collector_can_be_read(response in proptest::collection::vec(any::<u8>(), 0..100)) {
        rejected_spans(&response);
        rejected_spans(&[&[0x0a, response.len() as u8], &response[..]].concat());
    }
}
