//! Tests of response heads. A refused response becomes 502, and the backend's connection is closed.

use super::parse_response_in_test;
use crate::head::{BodyLength, Method, ResponseHead, Version};
use crate::http1::Malformed;

fn accepted(text: &str, asked: Method) -> ResponseHead {
    match parse_response_in_test(text.as_bytes(), asked) {
        Ok(Some(head)) => head,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn refused(bytes: impl AsRef<[u8]>) -> Malformed {
    let bytes = bytes.as_ref();
    match parse_response_in_test(bytes, Method::Get) {
        Err(reason) => reason,
        other => panic!("{}: {other:?}", bytes.escape_ascii()),
    }
}

/// RFC 9112 §4.
#[test]
fn reads_status_lines_with_and_without_reason() {
    for (line, version, status, reason) in [
        ("HTTP/1.1 200 OK", Version::Http11, 200, "OK"),
        ("HTTP/1.0 404 Not Found", Version::Http10, 404, "Not Found"),
        ("HTTP/1.1 301 ", Version::Http11, 301, ""),
        ("HTTP/1.1 301", Version::Http11, 301, ""),
        ("HTTP/1.1 599  x\ty", Version::Http11, 599, " x\ty"),
        ("HTTP/1.1 100 Continue", Version::Http11, 100, "Continue"),
    ] {
        let text = format!("{line}\r\n\r\n");
        let head = accepted(&text, Method::Get);
        assert_eq!((head.version, head.status), (version, status), "{line}");
        assert_eq!(head.reason.of(text.as_bytes()), reason.as_bytes(), "{line}");
    }
}

/// P5; RFC 9110 §15: a status has three digits, the first from 1 to 5.
#[test]
fn refuses_status_lines_of_any_other_shape() {
    for line in [
        "HTTP/1.1",
        "HTTP/1.1 ",
        "HTTP/1.1 20",
        "HTTP/1.1 2000",
        "HTTP/1.1 20a OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1 200\tOK",
        "HTTP/1.1 099 x",
        "HTTP/1.1 600 x",
        "HTTP/1.1 999 x",
        "HTTP/1.1 000 x",
        "HTTP/1.1 +20 x",
        "HTTP/1.1 -20 x",
        "HTTP/1.11 200 OK",
        "HTTP/1.1 200OK",
        "HTTP/1. 200 OK",
        "HTTP/1.a 200 OK",
    ] {
        assert_eq!(
            refused(format!("{line}\r\n\r\n")),
            Malformed::BadStatusLine,
            "{line}"
        );
    }
    assert_eq!(refused("HTTP/1.2 200 OK\r\n\r\n"), Malformed::UnsupportedVersion);
}

#[test]
fn fields_point_into_the_buffer() {
    let text = "HTTP/1.1 200 OK\r\nDate: x\r\nA:  b \r\nDATE: y\r\nContent-Length: 2\r\n\r\nhi";
    let head = accepted(text, Method::Get);
    let dates: Vec<&[u8]> = head
        .values(text.as_bytes(), crate::head::FieldName::Date)
        .collect();
    assert_eq!(dates, [b"x", b"y"]);
    assert_eq!(head.fields[1].value.of(text.as_bytes()), b"b");
    assert_eq!((head.body, head.announced_length), (BodyLength::Exact(2), None));
}

/// P5.
#[test]
fn refuses_ambiguous_responses() {
    for (lines, reason) in [
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            Malformed::LengthConflict,
        ),
        (
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            Malformed::DuplicateContentLength,
        ),
        (
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            Malformed::DuplicateContentLength,
        ),
        ("Content-Length: 5, 5\r\n", Malformed::BadContentLength),
        ("Content-Length:\r\n", Malformed::BadContentLength),
        (
            "Transfer-Encoding: chunked, chunked\r\n",
            Malformed::BadTransferEncoding,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Malformed::BadTransferEncoding,
        ),
        ("Transfer-Encoding: gzip\r\n", Malformed::UnknownTransferCoding),
        ("A: b\r\n c\r\n", Malformed::ObsFold),
        (" A: b\r\n", Malformed::ObsFold),
        ("A b: c\r\n", Malformed::BadFieldName),
        ("A: b\nC: d\r\n", Malformed::BareLf),
        ("A: b\rC: d\r\n", Malformed::BareCr),
        ("A: b\0\r\n", Malformed::ControlByte),
    ] {
        assert_eq!(
            refused(format!("HTTP/1.1 200 OK\r\n{lines}\r\n")),
            reason,
            "{lines:?}"
        );
    }
    let old = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(refused(old), Malformed::UnexpectedTransferEncoding);
    // Names that imitate framing are ordinary fields in responses.
    accepted("HTTP/1.1 200 OK\r\nContent_Length: 5\r\n\r\n", Method::Get);
}

/// RFC 9112 §9.3: the connection is kept only if the end of the message is certain.
#[test]
fn keeps_the_backend_connection_only_when_the_end_is_certain() {
    for (text, asked, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", Method::Get, true),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Method::Get,
            true,
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", Method::Get, false),
        ("HTTP/1.1 200 OK\r\n\r\n", Method::Head, true),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n",
            Method::Get,
            false,
        ),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", Method::Get, false),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n",
            Method::Get,
            true,
        ),
        (
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n",
            Method::Get,
            false,
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", Method::Get, true),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
            Method::Get,
            true,
        ),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\n",
            Method::Get,
            false,
        ),
        (
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
            Method::Get,
            false,
        ),
        (
            "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n",
            Method::Get,
            false,
        ),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n",
            Method::Get,
            true,
        ),
    ] {
        assert_eq!(accepted(text, asked).keep_alive, expected, "{text:?}");
    }
}

#[test]
fn connection_options_of_responses_are_read() {
    let text = "HTTP/1.1 200 OK\r\nConnection: X-Internal, Via\r\nX-Internal: y\r\nContent-Length: 0\r\n\r\n";
    let head = accepted(text, Method::Get);
    assert!(head.connection_names(text.as_bytes(), b"x-internal"));
    assert!(!head.connection_names(text.as_bytes(), b"Via"));
}
