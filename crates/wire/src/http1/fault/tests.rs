//! Tests that each fault is described with its place, and that any bytes can be read again.

use super::*;
use crate::head::{Method, RequestHead, ResponseHead};
use crate::http1::{HeadScan, parse_request, parse_response};
use proptest::prelude::*;

const SMALL: Limits = Limits {
    head: 200,
    line: 60,
    fields: 4,
    chunk_extensions: 16,
    trailers: 60,
};

/// The parser's reason for refusing a request.
fn refused(bytes: &[u8], limits: &Limits) -> Option<Malformed> {
    let mut scan = HeadScan::default();
    let mut head = RequestHead::default();
    head.bytes.extend_from_slice(bytes);
    match scan.advance(bytes, Kind::Request, limits) {
        Ok(Some(end)) => parse_request(&mut head, &scan, end).err(),
        Ok(None) => None,
        Err(reason) => Some(reason),
    }
}

fn refused_response(bytes: &[u8], limits: &Limits) -> Option<Malformed> {
    let mut scan = HeadScan::default();
    match scan.advance(bytes, Kind::Response, limits) {
        Ok(Some(end)) => parse_response(bytes, &scan, end, Method::Get, &mut ResponseHead::default()).err(),
        Ok(None) => None,
        Err(reason) => Some(reason),
    }
}

#[track_caller]
fn detail(request: &str) -> String {
    let bytes = request.as_bytes();
    let reason = refused(bytes, &SMALL).expect("it is refused");
    let fault = Fault::find(bytes, Kind::Request, reason, &SMALL);
    format!("{} @{} {fault}", reason.code(), fault.at)
}

#[test]
fn names_the_rule_that_a_request_breaks_and_the_place() {
    let host = "Host: a\r\n";
    for (request, expected) in [
        (
            format!("GET / HTTP/1.1\r\n{host}A : b\r\n\r\n"),
            "bad_field_name @26 no whitespace is allowed between a header name and its colon: line 3, A, byte 0x20",
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}nonsense\r\n\r\n"),
            "bad_field_name @25 a header line must have a colon after the name: line 3",
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}a(b: c\r\n\r\n"),
            "bad_field_name @26 a header name must consist of letters, digits and !#$%&'*+-.^_`|~: line 3, byte (",
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}:c\r\n\r\n"),
            "bad_field_name @25 a header name must not be empty: line 3",
        ),
        (
            format!("\r\nGET / HTTP/1.1\r\n{host}X: a\0b\r\n\r\n"),
            "control_byte @31 the start line and headers must not contain control characters; a tab is allowed in header values only: line 3, X, byte 0x00",
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}X: a\nY: b\r\n\r\n"),
            "bare_lf @29 a line must end with CR LF, not with LF alone: line 3, X, byte 0x0a",
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}X: a\ry\r\n\r\n"),
            "bare_cr @29 CR must be followed by LF: line 3, X, byte 0x0d",
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}X: a\r\n b\r\n\r\n"),
            "obs_fold @31 a header must not continue on the next line: line 4",
        ),
        (
            "GET /a%2 HTTP/1.1\r\n\r\n".to_owned(),
            "bad_escape @6 a % in a path must be followed by two hexadecimal digits that are not 00: line 1",
        ),
        (
            "GET /a#b HTTP/1.1\r\n\r\n".to_owned(),
            "bad_target @6 a request target must not contain this character unless it is percent-encoded: line 1, byte #",
        ),
        (
            "GET a HTTP/1.1\r\n\r\n".to_owned(),
            "bad_target @4 a request target must be a path that begins with /, an http or https URL, or * with OPTIONS: line 1",
        ),
        (
            "GET / HTTP/2.0\r\n\r\n".to_owned(),
            "unsupported_version @6 the version must be HTTP/1.0 or HTTP/1.1: line 1",
        ),
        (
            "G(T / HTTP/1.1\r\n\r\n".to_owned(),
            "bad_method @1 a method must consist of letters, digits and !#$%&'*+-.^_`|~: line 1, byte (",
        ),
    ] {
        assert_eq!(detail(&request), expected, "{request:?}");
    }
}

#[test]
fn names_the_header_at_fault() {
    let host = "Host: a\r\n";
    for (request, expected) in [
        (
            "GET / HTTP/1.1\r\nX: y\r\n\r\n".to_owned(),
            "missing_host @0 an HTTP/1.1 request needs a Host header, and an HTTP/2 request an :authority",
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}X: y\r\nhost: b\r\n\r\n"),
            "duplicate_host @37 a request must not have more than one Host header: line 4, host",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(),
            "bad_host @22 a host must be a name or an IP address, and may have a port: line 2, Host",
        ),
        (
            format!("GET http://u@a/ HTTP/1.1\r\n{host}\r\n"),
            "bad_host @9 a host must be a name or an IP address, and may have a port: line 1",
        ),
        (
            format!("POST / HTTP/1.1\r\n{host}Content-Length: +5\r\n\r\n"),
            "bad_content_length @42 Content-Length must be one decimal number below 2^63: line 3, Content-Length",
        ),
        (
            format!("POST / HTTP/1.1\r\n{host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
            "length_conflict @64 a message must not have both Content-Length and Transfer-Encoding: line 4, Transfer-Encoding",
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}Connection: a, b c\r\n\r\n"),
            "bad_connection @37 Connection must contain at most 32 options, each of letters, digits and !#$%&'*+-.^_`|~: line 3, Connection",
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}Content_Length: 5\r\n\r\n"),
            "framing_alias @41 a header name must not imitate Content-Length or Transfer-Encoding: line 3, Content_Length",
        ),
    ] {
        assert_eq!(detail(&request), expected, "{request:?}");
    }
}

#[test]
fn names_an_exceeded_limit_with_its_value_and_the_size_received() {
    let long = "x".repeat(70);
    for (request, expected) in [
        (
            format!("GET /{long} HTTP/1.1\r\n\r\n"),
            "target_too_long @0 a request line must not be longer than `limits.line`: line 1, limits.line is 60, received 86",
        ),
        (
            format!("GET / HTTP/1.1\r\nX: y\r\nA-Long: {long}"),
            "field_too_long @22 a header line must not be longer than `limits.line`: line 3, A-Long, limits.line is 60, received at least 80",
        ),
        (
            format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(5)),
            "too_many_fields @40 a message must not have more headers than `limits.fields`: line 6, A, limits.fields is 4, received at least 5",
        ),
        (
            format!(
                "GET / HTTP/1.1\r\n{}",
                format!("B: {}\r\n", "x".repeat(50)).repeat(4)
            ),
            "head_too_large @200 the start line and headers together must not be larger than `limits.head`: line 5, B, limits.head is 200, received at least 236",
        ),
    ] {
        assert_eq!(detail(&request), expected, "{request:?}");
    }
}

#[test]
fn names_the_header_at_fault_in_http2() {
    let limits = Limits::default();
    let of = |reason, name: &[u8], value: &[u8]| {
        Fault::of_flaw(reason, &Flaw::of_field(5, name, value), &limits).to_string()
    };
    for (detail, expected) in [
        (
            of(Malformed::BadFieldName, b"X-Upper", b"1"),
            "an HTTP/2 header name must consist of lower-case letters, digits and !#$%&'*+-.^_`|~: header 5, X-Upper",
        ),
        (
            of(Malformed::BadFieldName, b":odd", b"1"),
            "a pseudo-header must be defined for its message, occur once and come before all other headers: header 5, :odd",
        ),
        (
            of(Malformed::ControlByte, b"x", b"a\rb"),
            "the start line and headers must not contain control characters; a tab is allowed in header values only: header 5, x, byte 0x0d",
        ),
        (
            of(Malformed::BadConnection, b"upgrade", b"x"),
            "HTTP/2 does not allow connection-specific headers, nor TE other than `trailers`: header 5, upgrade",
        ),
    ] {
        assert_eq!(detail, expected);
    }
}

/// Heads that are nearly valid.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"GET / HTTP/1.1\r\n".to_vec()),
        Just(b"HTTP/1.1 200 OK\r\n".to_vec()),
        Just(b"Host: a\r\n".to_vec()),
        Just(b"Content-Length: 5\r\n".to_vec()),
        Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..8),
        proptest::collection::vec(
            prop_oneof![Just(b'\r'), Just(b'\n'), Just(b' '), Just(b':'), Just(0)],
            0..3
        ),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_bytes_have_a_bounded_plain_detail(bytes in nearly(), reason in 0..Malformed::ALL.len()) {
        for kind in [Kind::Request, Kind::Response, Kind::Trailers] {
            let fault = Fault::find(&bytes, kind, Malformed::ALL[reason], &SMALL);
            prop_assert!(fault.at <= bytes.len());
            let text = fault.to_string();
            prop_assert!(text.len() < 400, "{text}");
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
        }
    }

    /// The place is where the parser found the fault: what follows changes nothing.
    #[test]
    fn reports_the_byte_at_which_the_parser_stopped(bytes in nearly()) {
        for (kind, reason) in [
            (Kind::Request, refused(&bytes, &SMALL)),
            (Kind::Response, refused_response(&bytes, &SMALL)),
        ] {
            let Some(reason @ (Malformed::BareLf | Malformed::BareCr | Malformed::ControlByte)) = reason else {
                continue;
            };
            let fault = Fault::find(&bytes, kind, reason, &SMALL);
            prop_assert!(fault.byte.is_some(), "{fault}");
            // A CR is known to be alone only with the next byte.
            let front = &bytes[..(fault.at + 2).min(bytes.len())];
            let again = match kind {
                Kind::Request => refused(front, &SMALL),
                _ => refused_response(front, &SMALL),
            };
            prop_assert_eq!(again, Some(reason));
        }
    }
}
