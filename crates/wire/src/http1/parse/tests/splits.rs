//! Property tests: any bytes, split into reads anywhere, give the same result and no panic.

use super::{parse_request, parse_response_in_test};
use crate::head::{BodyLength, FieldName, Method, RequestHead, ResponseHead};
use crate::http1::parse::{request, response};
use crate::http1::scan::tests::pieces;
use crate::http1::scan::{HeadScan, Kind};
use crate::http1::{Limits, Malformed};
use proptest::prelude::*;

/// Parses as a connection does: the head's buffer grows, and is parsed once it is complete.
fn parse_in_pieces(bytes: &[u8], lengths: &[usize]) -> Result<Option<RequestHead>, Malformed> {
    let mut scan = HeadScan::default();
    let mut head = RequestHead::default();
    for length in lengths {
        head.bytes.clear();
        head.bytes.extend_from_slice(&bytes[..*length]);
        if let Some(end) = scan.advance(&head.bytes, Kind::Request, &Limits::default())? {
            request(&mut head, &scan, end)?;
            return Ok(Some(head));
        }
    }
    Ok(None)
}

/// Everything that was parsed of a request head.
fn understood(head: &RequestHead) -> String {
    let fields: Vec<_> = head
        .fields
        .iter()
        .map(|field| (field.id, field.name, field.value))
        .collect();
    let parts = (
        head.method,
        head.method_text,
        head.path,
        head.query,
        head.authority,
        head.version,
    );
    let meaning = (
        head.body,
        head.keep_alive,
        head.expects_continue,
        head.upgrade,
        head.connection_lists,
    );
    format!(
        "{parts:?} {meaning:?} {fields:?} {}",
        head.text(head.path).escape_ascii()
    )
}

/// A message written only from the parsed values, as it is forwarded.
fn written(head: &RequestHead) -> Vec<u8> {
    let query = head
        .query
        .map_or(Vec::new(), |query| [b"?", head.text(query)].concat());
    let mut out = [
        head.text(head.method_text),
        b" ",
        head.text(head.path),
        &query,
        b" ",
    ]
    .concat();
    out.extend_from_slice(head.version.as_str().as_bytes());
    out.extend_from_slice(b"\r\n");
    for field in &head.fields {
        out.extend([head.text(field.name), b": ", head.text(field.value), b"\r\n"].concat());
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn requests() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just("Host: a\r\n"),
        Just("Host: b:80\r\n"),
        Just("Content-Length: 5\r\n"),
        Just("Transfer-Encoding: chunked\r\n"),
        Just("Transfer-Encoding : chunked\r\n"),
        Just("Connection: close, x\r\n"),
        Just("Connection: upgrade\r\n"),
        Just("Upgrade: websocket\r\n"),
        Just("Expect: 100-continue\r\n"),
        Just("X:\ty z \r\n"),
        Just("X\r\n"),
        Just(" x: y\r\n"),
    ];
    let start = prop_oneof![
        Just("GET / HTTP/1.1\r\nHost: a\r\n"),
        Just("\r\nPOST /a/./b/../%2e%2e/c?d HTTP/1.1\r\nHost: a\r\n"),
        Just("OPTIONS http://a:80 HTTP/1.0\r\n"),
        Just("GET http://a/b?c HTTP/1.1\r\n"),
        Just("GET  / HTTP/1.1\r\n"),
        Just("GET / HTTP/1.2\r\n"),
    ];
    (start, proptest::collection::vec(line, 0..5))
        .prop_map(|(start, lines)| format!("{start}{}\r\nbody", lines.concat()).into_bytes())
}

/// Parses as a connection does, for a response to a request with method `asked`.
fn parse_response_in_pieces(
    bytes: &[u8],
    lengths: &[usize],
    asked: Method,
) -> Result<Option<ResponseHead>, Malformed> {
    let mut scan = HeadScan::default();
    let mut head = ResponseHead::default();
    for length in lengths {
        let seen = &bytes[..*length];
        if let Some(end) = scan.advance(seen, Kind::Response, &Limits::default())? {
            response(seen, &scan, end, asked, &mut head)?;
            return Ok(Some(head));
        }
    }
    Ok(None)
}

/// Everything that was parsed of a response head.
fn understood_response(head: &ResponseHead) -> String {
    let fields: Vec<_> = head
        .fields
        .iter()
        .map(|field| (field.id, field.name, field.value))
        .collect();
    let parts = (head.version, head.status, head.reason);
    let meaning = (
        head.body,
        head.announced_length,
        head.keep_alive,
        head.connection_lists,
    );
    format!("{parts:?} {meaning:?} {fields:?}")
}

fn responses() -> impl Strategy<Value = Vec<u8>> {
    let start = prop_oneof![
        Just("HTTP/1.1 200 OK\r\n"),
        Just("HTTP/1.0 404\r\n"),
        Just("HTTP/1.1 304 \r\n"),
        Just("HTTP/1.1 103 Early\tHints\r\n"),
        Just("HTTP/1.1 204 x\r\n"),
        Just("HTTP/1.1 2000 x\r\n"),
        Just("\r\nHTTP/1.1 200 OK\r\n"),
    ];
    let line = prop_oneof![
        Just("Content-Length: 5\r\n"),
        Just("Content-Length: 05\r\n"),
        Just("Transfer-Encoding: chunked\r\n"),
        Just("Connection: close, x\r\n"),
        Just("Keep-Alive: timeout=5\r\n"),
        Just("X:\ty z \r\n"),
        Just("X\r\n"),
        Just(" x: y\r\n"),
        Just("X: y\n"),
    ];
    (start, proptest::collection::vec(line, 0..5))
        .prop_map(|(start, lines)| format!("{start}{}\r\nbody", lines.concat()).into_bytes())
}

proptest! {
    #[test]
    fn any_split_of_a_response_gives_the_same_head(
        bytes in prop_oneof![responses(), pieces()],
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        is_head in any::<bool>(),
    ) {
        let asked = if is_head { Method::Head } else { Method::Get };
        let mut lengths: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        lengths.push(bytes.len());
        lengths.sort_unstable();
        let expected = parse_response_in_test(&bytes, asked).map(|head| head.as_ref().map(understood_response));
        let understood = |lengths: &[usize]| {
            parse_response_in_pieces(&bytes, lengths, asked).map(|head| head.as_ref().map(understood_response))
        };
        prop_assert_eq!(understood(&lengths), expected.clone());
        let singles: Vec<usize> = (0..=bytes.len()).collect();
        prop_assert_eq!(understood(&singles), expected);
    }

    #[test]
    fn any_split_of_a_request_gives_the_same_head(
        bytes in prop_oneof![requests(), pieces()],
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut lengths: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        lengths.push(bytes.len());
        lengths.sort_unstable();
        let expected = parse_request(&bytes).map(|head| head.as_ref().map(understood));
        let split = parse_in_pieces(&bytes, &lengths).map(|head| head.as_ref().map(understood));
        prop_assert_eq!(split, expected.clone());
        let singles: Vec<usize> = (0..=bytes.len()).collect();
        let single = parse_in_pieces(&bytes, &singles).map(|head| head.as_ref().map(understood));
        prop_assert_eq!(single, expected);
    }

    #[test]
    fn accepted_requests_have_unambiguous_framing(bytes in prop_oneof![requests(), pieces()]) {
        if let Ok(Some(head)) = parse_request(&bytes) {
            let lengths = head.values(FieldName::ContentLength).count();
            let encodings = head.values(FieldName::TransferEncoding).count();
            let expected = match head.body {
                BodyLength::None => (0, 0),
                BodyLength::Exact(_) => (1, 0),
                BodyLength::Chunked => (0, 1),
                BodyLength::UntilClose => return Err(TestCaseError::fail("a request that ends with the connection")),
            };
            prop_assert_eq!((lengths, encodings), expected);
            prop_assert!(head.values(FieldName::Host).count() <= 1);
            prop_assert!(matches!(head.text(head.path).first(), Some(b'/' | b'*')));
        }
    }

    #[test]
    fn a_head_that_is_written_parses_to_the_same_head(bytes in prop_oneof![requests(), pieces()]) {
        if let Ok(Some(head)) = parse_request(&bytes) {
            let again = written(&head);
            let read = parse_request(&again).expect("what was accepted").expect("a whole head");
            prop_assert_eq!(written(&read), again);
            prop_assert_eq!((read.method, read.version, read.body), (head.method, head.version, head.body));
            prop_assert_eq!(read.keep_alive, head.keep_alive);
            prop_assert_eq!(read.upgrade.is_some(), head.upgrade.is_some());
            prop_assert_eq!(read.fields.len(), head.fields.len());
        }
    }

    #[test]
    fn responses_never_panic(bytes in pieces(), rest in pieces(), is_head in any::<bool>()) {
        let asked = if is_head { Method::Head } else { Method::Get };
        let _ = parse_response_in_test(&bytes, asked);
        let _ = parse_response_in_test(&[b"HTTP/1.1 200 OK\r\n", &rest[..], b"\r\n\r\n"].concat(), asked);
    }
}
