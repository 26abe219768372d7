//! Tests of request heads. F and I numbers name classes of attack.

use super::{accepted, get, post, refused, text};
use crate::head::{BodyLength, FieldName, Method, Version};
use crate::http1::Malformed;

#[test]
fn splits_a_request_into_its_parts() {
    let head = accepted(
        "POST /a/../b?c=d HTTP/1.1\r\nHost: a.example:80\r\nUser-Agent:\tx y\t \r\nempty:\r\ncontent-LENGTH: 5\r\n\r\nhello",
    );
    assert_eq!(head.method, Method::Post);
    assert_eq!(head.text(head.method_text), b"POST");
    assert_eq!(head.text(head.path), b"/b");
    assert_eq!(head.query.map(|query| head.text(query)), Some(&b"c=d"[..]));
    assert_eq!(head.text(head.authority), b"a.example:80");
    assert_eq!(head.version, Version::Http11);
    assert_eq!(head.body, BodyLength::Exact(5));
    assert!(head.keep_alive);
    assert_eq!(head.upgrade, None);
    let lines: Vec<_> = head
        .fields
        .iter()
        .map(|field| (field.id, head.text(field.name), head.text(field.value)))
        .collect();
    let expected: [(FieldName, &[u8], &[u8]); 4] = [
        (FieldName::Host, b"Host", b"a.example:80"),
        (FieldName::Other, b"User-Agent", b"x y"),
        (FieldName::Other, b"empty", b""),
        (FieldName::ContentLength, b"content-LENGTH", b"5"),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn parses_again_into_the_same_head() {
    let mut head = accepted(get("Connection: close, x\r\nUpgrade: y\r\n"));
    head.bytes = b"HEAD /z HTTP/1.0\r\n\r\n".to_vec();
    let mut scan = super::HeadScan::default();
    let end = scan
        .advance(&head.bytes, super::Kind::Request, &super::Limits::default())
        .unwrap()
        .unwrap();
    super::request(&mut head, &scan, end).unwrap();
    assert_eq!(
        (head.method, head.version, head.fields.len()),
        (Method::Head, Version::Http10, 0)
    );
    assert!(head.authority.is_empty() && !head.connection_lists && !head.keep_alive);
}

/// RFC 9112 §2.2.
#[test]
fn spans_are_right_after_a_leading_empty_line() {
    let head = accepted("\r\nGET http://b/x HTTP/1.1\r\nHost: b\r\n\r\n");
    assert_eq!(head.text(head.method_text), b"GET");
    assert_eq!(head.text(head.path), b"/x");
    assert_eq!(text(&head, FieldName::Host), ["b"]);
}

#[test]
fn keeps_unknown_methods() {
    for method in ["PURGE", "get", "M-SEARCH", "QUERY", "X!#$%&'*+-.^_`|~9"] {
        let head = accepted(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(head.method, Method::Other);
        assert_eq!(head.text(head.method_text), method.as_bytes());
    }
}

/// F19, F21; RFC 9112 §3.
#[test]
fn refuses_request_lines_of_any_other_shape() {
    for line in [
        "GET",
        "GET ",
        "GET /",
        "GET / ",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / x HTTP/1.1",
        "GET /HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1.32",
        "GET / HTTP/4294967295.255",
        "GET / HTTP/1",
        "GET / HTTP/1.",
        "GET / HTTP/11",
        "GET / HTTP/+1.1",
        "GET / HTTP/1.1.1",
        "GET / HTTPS/1.1",
        "GET / ICE/1.0",
    ] {
        assert_eq!(
            refused(format!("{line}\r\nHost: a\r\n\r\n")),
            Malformed::BadRequestLine,
            "{line}"
        );
    }
    for version in ["HTTP/0.9", "HTTP/1.2", "HTTP/1.9", "HTTP/2.0", "HTTP/9.9"] {
        let reason = refused(format!("GET / {version}\r\nHost: a\r\n\r\n"));
        assert_eq!(
            (reason, reason.status()),
            (Malformed::UnsupportedVersion, 505),
            "{version}"
        );
    }
    assert_eq!(
        refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        Malformed::Http2Preface
    );
}

/// F14: CONNECT is for forward proxies.
#[test]
fn refuses_connect_with_any_target() {
    for target in ["a:80", "/", "http://a/", "*", ""] {
        let reason = refused(format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(
            (reason, reason.status()),
            (Malformed::ConnectRefused, 501),
            "{target}"
        );
    }
}

/// F9; RFC 9112 §5.1.
#[test]
fn refuses_field_names_that_are_not_tokens() {
    for line in [
        "X",
        "X Y: z",
        "X : y",
        "X\u{a0}: y",
        "X[]: y",
        "X\"y\": z",
        "Content-Length\u{85}: 5",
        "X/y: z",
        "X(y): z",
        "Transfer-Encoding : chunked",
        "X;: y",
        "X,y: z",
        "{x}: y",
        "X@: y",
        "X\\: y",
        "\u{feff}Host: a",
    ] {
        assert_eq!(
            refused(get(&format!("{line}\r\n"))),
            Malformed::BadFieldName,
            "{line:?}"
        );
    }
    assert_eq!(refused(get(": x\r\n")), Malformed::BadFieldName);
    assert_eq!(refused(get("X\t: y\r\n")), Malformed::ControlByte);
    assert_eq!(refused(get("A: b\r\n c: d\r\n")), Malformed::ObsFold);
}

/// RFC 9110 §5.5: bytes above 127 are opaque and pass.
#[test]
fn accepts_any_visible_or_high_byte_in_values() {
    let head = accepted(b"GET / HTTP/1.1\r\nHost: a\r\nX: \xfc\x80\xa0\xff:;,\"\r\n\r\n");
    assert_eq!(head.text(head.fields[1].value), b"\xfc\x80\xa0\xff:;,\"");
}

/// F20; RFC 9112 §3.2.
#[test]
fn http_1_1_has_exactly_one_valid_host() {
    assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), Malformed::MissingHost);
    assert_eq!(refused(get("Host: b\r\n")), Malformed::DuplicateHost);
    assert_eq!(refused(get("hOST: a\r\n")), Malformed::DuplicateHost);
    for value in ["a:99999", "a,b", "u@a", "a b", "a/b", "[::1", "a:b", ":80"] {
        assert_eq!(
            refused(format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n")),
            Malformed::BadHost,
            "{value}"
        );
    }
    assert!(accepted("GET / HTTP/1.1\r\nHost:\r\n\r\n").authority.is_empty());
    assert!(
        accepted("OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n")
            .authority
            .is_empty()
    );
}

#[test]
fn http_1_0_may_have_no_host_but_not_two() {
    assert!(accepted("GET / HTTP/1.0\r\n\r\n").authority.is_empty());
    assert_eq!(
        refused("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"),
        Malformed::DuplicateHost
    );
    assert_eq!(refused("GET / HTTP/1.0\r\nHost: a,b\r\n\r\n"), Malformed::BadHost);
}

/// F19; RFC 9112 §3.2.2: the authority of the target wins over `Host`.
#[test]
fn absolute_form_overrides_host() {
    let authority = |request: &str| {
        let head = accepted(request);
        String::from_utf8(head.text(head.authority).to_vec()).unwrap()
    };
    assert_eq!(authority("GET http://b:81/ HTTP/1.1\r\nHost: a\r\n\r\n"), "b:81");
    assert_eq!(authority("GET http://b/ HTTP/1.0\r\n\r\n"), "b");
    assert_eq!(refused("GET http://b/ HTTP/1.1\r\n\r\n"), Malformed::MissingHost);
    assert_eq!(
        refused("GET http://b/ HTTP/1.1\r\nHost:\r\n\r\n"),
        Malformed::BadHost
    );
    assert_eq!(
        refused("GET http://b/ HTTP/1.1\r\nHost: a,b\r\n\r\n"),
        Malformed::BadHost
    );
    assert_eq!(
        refused("GET http://b/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        Malformed::DuplicateHost
    );
}

/// F1, F2, F3, F10: through the whole parser, with raw lines.
#[test]
fn refuses_ambiguous_framing() {
    for (lines, reason) in [
        (
            "Content-Length: 13\r\nTransfer-Encoding: chunked\r\n",
            Malformed::LengthConflict,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 13\r\n",
            Malformed::LengthConflict,
        ),
        (
            "Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
            Malformed::LengthConflict,
        ),
        (
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            Malformed::DuplicateContentLength,
        ),
        (
            "Content-Length: 5\r\nCONTENT-LENGTH: 6\r\n",
            Malformed::DuplicateContentLength,
        ),
        ("Content-Length: 5, 5\r\n", Malformed::BadContentLength),
        ("Content-Length:\r\n", Malformed::BadContentLength),
        ("Content-Length: +5\r\n", Malformed::BadContentLength),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Malformed::BadTransferEncoding,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-encoding: identity\r\n",
            Malformed::BadTransferEncoding,
        ),
        ("Transfer-Encoding:\r\n", Malformed::BadTransferEncoding),
        (
            "Transfer-Encoding: gzip, chunked\r\n",
            Malformed::BadTransferEncoding,
        ),
        (
            "Transfer-Encoding: xchunked\r\n",
            Malformed::UnknownTransferCoding,
        ),
        ("Transfer-Encoding: \x0bchunked\r\n", Malformed::ControlByte),
        ("Transfer-Encoding: chunked\0\r\n", Malformed::ControlByte),
        ("Transfer-Encoding:\r\n chunked\r\n", Malformed::ObsFold),
        ("Content_Length: 5\r\n", Malformed::FramingAlias),
        (
            "Content-Length: 5\r\ntransfer_encoding: chunked\r\n",
            Malformed::FramingAlias,
        ),
    ] {
        assert_eq!(refused(post(lines)), reason, "{lines:?}");
    }
    let old = "POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(refused(old), Malformed::UnexpectedTransferEncoding);
    assert_eq!(
        accepted(post("Transfer-Encoding: \tChunked \r\n")).body,
        BodyLength::Chunked
    );
    // F4: the body of a GET is a body.
    assert_eq!(
        accepted(get("Content-Length: 44\r\n")).body,
        BodyLength::Exact(44)
    );
    assert_eq!(accepted(get("")).body, BodyLength::None);
}
