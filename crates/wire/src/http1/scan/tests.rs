//! Tests of what is refused while a head is received, and at which byte.

use super::{HeadScan, Kind};
use crate::http1::{Limits, Malformed};
use proptest::prelude::*;

fn scan(bytes: &[u8], kind: Kind, limits: &Limits) -> Result<Option<usize>, Malformed> {
    HeadScan::default().advance(bytes, kind, limits)
}

fn request(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    scan(bytes, Kind::Request, &Limits::default())
}

fn response(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    scan(bytes, Kind::Response, &Limits::default())
}

/// Feeds `bytes` one by one; returns the result and how many bytes it needed.
fn byte_by_byte(bytes: &[u8], kind: Kind, limits: &Limits) -> (Result<Option<usize>, Malformed>, usize) {
    let mut scan = HeadScan::default();
    for length in 0..=bytes.len() {
        let verdict = scan.advance(&bytes[..length], kind, limits);
        if verdict != Ok(None) {
            return (verdict, length);
        }
    }
    (Ok(None), bytes.len())
}

#[test]
fn finds_the_end_of_a_head_and_not_what_follows() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nX: \tb\tc \r\n\r\n";
    assert_eq!(request(head), Ok(Some(head.len())));
    assert_eq!(
        request(&[&head[..], b"\x00\n\rbody"].concat()),
        Ok(Some(head.len()))
    );
    assert_eq!(request(b"GET / HTTP/1.1\r\n\r\n"), Ok(Some(18)));
    assert_eq!(response(b"HTTP/1.1 200 \xe4\tOK\r\n\r\nx"), Ok(Some(21)));
}

#[test]
fn waits_for_more_at_every_cut_of_a_head() {
    let head = b"POST /a?b HTTP/1.1\r\nHost: a\r\nX:\r\nY: z\r\n\r\n";
    for length in 0..head.len() {
        assert_eq!(request(&head[..length]), Ok(None), "{length}");
    }
    assert_eq!(
        byte_by_byte(head, Kind::Request, &Limits::default()),
        (Ok(Some(head.len())), head.len())
    );
}

/// RFC 9112 §2.2: a server should ignore at least one empty line before a request line.
#[test]
fn skips_exactly_one_empty_line_before_a_request_and_none_before_a_response() {
    assert_eq!(request(b"\r\nGET / HTTP/1.1\r\n\r\n"), Ok(Some(20)));
    assert_eq!(
        request(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
        Err(Malformed::BadRequestLine)
    );
    assert_eq!(request(b"\nGET / HTTP/1.1\r\n\r\n"), Err(Malformed::BareLf));
    assert_eq!(request(b"\rGET / HTTP/1.1\r\n\r\n"), Err(Malformed::BareCr));
    assert_eq!(
        response(b"\r\nHTTP/1.1 200 OK\r\n\r\n"),
        Err(Malformed::BadStatusLine)
    );
}

/// F7, F8, F21. Each input is refused at its last byte: nothing after it is waited for.
#[test]
fn refuses_a_request_at_the_first_wrong_byte() {
    let cases: [(&[u8], Malformed); 31] = [
        (b"\x16", Malformed::TlsHandshake),
        (b"\x80", Malformed::BadMethod),
        (b"\xff", Malformed::BadMethod),
        (b" ", Malformed::BadRequestLine),
        (b"\t", Malformed::ControlByte),
        (b"\0", Malformed::ControlByte),
        (b"G(", Malformed::BadMethod),
        (b"GET/", Malformed::BadMethod),
        (b"GET\t", Malformed::ControlByte),
        (b"GET\n", Malformed::BareLf),
        (b"GET\rx", Malformed::BareCr),
        (b"GET /\x01", Malformed::ControlByte),
        (b"GET /\t", Malformed::ControlByte),
        (b"GET /\x7f", Malformed::ControlByte),
        (b"GET /\r\n", Malformed::BadRequestLine),
        (b"GET / HTTP/1.32\r\n", Malformed::BadRequestLine),
        (b"GET / RTSP/1.0\r\n", Malformed::BadRequestLine),
        (b"GET\r\n", Malformed::BadRequestLine),
        (b"GET / HTTP/1.1\n", Malformed::BareLf),
        (b"GET / HTTP/1.1\rH", Malformed::BareCr),
        (b"PRI ", Malformed::Http2Preface),
        (b"GET / HTTP/1.1\r\n ", Malformed::ObsFold),
        (b"GET / HTTP/1.1\r\nA: b\r\n\t", Malformed::ObsFold),
        (b"GET / HTTP/1.1\r\n:", Malformed::BadFieldName),
        (b"GET / HTTP/1.1\r\nA\t", Malformed::ControlByte),
        (b"GET / HTTP/1.1\r\nA: b\t\n", Malformed::BareLf),
        (b"GET / HTTP/1.1\r\nA: b\0", Malformed::ControlByte),
        (b"GET / HTTP/1.1\r\nA: b\x0b", Malformed::ControlByte),
        (b"GET / HTTP/1.1\r\nA: b\x7f", Malformed::ControlByte),
        (b"GET / HTTP/1.1\r\nA: b\r\r", Malformed::BareCr),
        (b"GET / HTTP/1.1\r\n\r\r", Malformed::BareCr),
    ];
    for (bytes, reason) in cases {
        let text = bytes.escape_ascii();
        let (verdict, length) = byte_by_byte(bytes, Kind::Request, &Limits::default());
        assert_eq!((verdict, length), (Err(reason), bytes.len()), "{text}");
        assert_eq!(request(bytes), Err(reason), "{text} in one read");
    }
}

#[test]
fn refuses_a_response_at_the_first_wrong_byte() {
    for bytes in [&b"I"[..], b"HTTP/2", b"HTTP/1,", b"\r", b"\0", b"http", b" HTTP"] {
        assert_eq!(
            response(bytes),
            Err(Malformed::BadStatusLine),
            "{}",
            bytes.escape_ascii()
        );
    }
    assert_eq!(response(b"HTTP/1.1 200 OK\n"), Err(Malformed::BareLf));
    assert_eq!(response(b"HTTP/1.1 200 OK\0"), Err(Malformed::ControlByte));
    assert_eq!(response(b"HTTP/1.1 200 OK\r\n A"), Err(Malformed::ObsFold));
}

/// RFC 9112 §3: 501 for a method longer than any implemented, 414 for a target longer than wanted; RFC 6585 §5: 431.
#[test]
fn bounds_are_exact() {
    let limits = Limits {
        head: 200,
        line: 100,
        fields: 3,
        ..Limits::default()
    };
    let with_target = |length: usize| format!("GET /{} HTTP/1.1\r\n", "a".repeat(length)).into_bytes();
    assert_eq!(with_target(84).len(), 100);
    assert_eq!(scan(&with_target(84), Kind::Request, &limits), Ok(None));
    assert_eq!(
        scan(&with_target(85), Kind::Request, &limits),
        Err(Malformed::TargetTooLong)
    );
    assert_eq!(scan(&with_target(85)[..99], Kind::Request, &limits), Ok(None));
    assert_eq!(
        scan(&with_target(85)[..100], Kind::Request, &limits),
        Err(Malformed::TargetTooLong)
    );

    let with_value = |length: usize| format!("GET / HTTP/1.1\r\nA: {}\r\n", "a".repeat(length)).into_bytes();
    assert_eq!(scan(&with_value(95), Kind::Request, &limits), Ok(None));
    assert_eq!(
        scan(&with_value(96), Kind::Request, &limits),
        Err(Malformed::FieldTooLong)
    );

    let with_fields =
        |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(count)).into_bytes();
    assert_eq!(scan(&with_fields(3), Kind::Request, &limits), Ok(Some(36)));
    assert_eq!(
        scan(&with_fields(4), Kind::Request, &limits),
        Err(Malformed::TooManyFields)
    );
    assert_eq!(scan(&with_fields(4)[..34], Kind::Request, &limits), Ok(None));
    assert_eq!(
        scan(&with_fields(4)[..35], Kind::Request, &limits),
        Err(Malformed::TooManyFields)
    );

    let sized = |length: usize| {
        let value = "a".repeat(length - 16 - 100 - 5 - 2);
        format!("GET / HTTP/1.1\r\nA: {}\r\nB: {value}\r\n\r\n", "a".repeat(95)).into_bytes()
    };
    assert_eq!(sized(200).len(), 200);
    assert_eq!(scan(&sized(200), Kind::Request, &limits), Ok(Some(200)));
    assert_eq!(
        scan(&sized(201), Kind::Request, &limits),
        Err(Malformed::HeadTooLarge)
    );

    let method = |length: usize| "A".repeat(length).into_bytes();
    assert_eq!(request(&method(64)), Ok(None));
    assert_eq!(request(&method(65)), Err(Malformed::MethodTooLong));
}

#[test]
fn can_be_used_again_after_clear() {
    let mut scan = HeadScan::default();
    for _ in 0..3 {
        let head = b"\r\nGET / HTTP/1.1\r\nA: b\r\n\r\n";
        assert_eq!(
            scan.advance(head, Kind::Request, &Limits::default()),
            Ok(Some(head.len()))
        );
        assert_eq!(scan.ends(), [16, 22]);
        assert_eq!(scan.start(), 2);
        scan.clear();
    }
}

/// Random combinations of the parts of heads, and of attacks on them.
pub(in crate::http1) fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(&b"GET / HTTP/1.1\r\n"[..]),
        Just(&b"HTTP/1.1 200 OK\r\n"[..]),
        Just(&b"PRI * HTTP/2.0"[..]),
        Just(&b"Host: a\r\n"[..]),
        Just(&b"Connection: close, x\r\n"[..]),
        Just(&b"Transfer-Encoding: chunked\r\n"[..]),
        Just(&b"Content-Length: 5\r\n"[..]),
        Just(&b"X:\t"[..]),
        Just(&b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"[..]),
        Just(&b"\r\n"[..]),
        Just(&b"\r\n\r\n"[..]),
        Just(&b"\r"[..]),
        Just(&b"\n"[..]),
        Just(&b"\t"[..]),
        Just(&b" "[..]),
        Just(&b":"[..]),
        Just(&b"\0"[..]),
        Just(&b"\x7f"[..]),
        Just(&b"\xff"[..]),
    ];
    let junk = proptest::collection::vec(any::<u8>(), 0..200);
    let built = proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat());
    prop_oneof![1 => junk, 4 => built.clone(), 4 => built.prop_map(|rest| [b"GET / HTTP/1.1\r\n", &rest[..]].concat())]
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Request), Just(Kind::Response), Just(Kind::Trailers)]
}

proptest! {
    #[test]
    fn any_split_gives_the_result_of_one_read(
        bytes in pieces(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        kind in kinds(),
        line in 2_usize..80,
        head in 2_usize..200,
        fields in 0_usize..5,
    ) {
        let limits = Limits { head, line, fields, trailers: head, ..Limits::default() };
        let mut whole = HeadScan::default();
        let expected = whole.advance(&bytes, kind, &limits);

        let mut lengths: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        lengths.push(bytes.len());
        lengths.sort_unstable();
        let mut split = HeadScan::default();
        let mut verdict = Ok(None);
        for length in lengths {
            verdict = split.advance(&bytes[..length], kind, &limits);
            if verdict != Ok(None) {
                break;
            }
        }
        prop_assert_eq!(verdict, expected);
        prop_assert_eq!(byte_by_byte(&bytes, kind, &limits).0, expected);
        if expected.is_ok() {
            prop_assert_eq!(split.ends(), whole.ends());
            prop_assert_eq!(split.start(), whole.start());
        }
    }

    #[test]
    fn accepted_heads_contain_no_stray_line_ends_or_controls(bytes in pieces(), kind in kinds()) {
        if let Ok(Some(end)) = scan(&bytes, kind, &Limits::default()) {
            let head = &bytes[..end];
            prop_assert!(head.ends_with(b"\r\n"));
            for (at, byte) in head.iter().enumerate() {
                match byte {
                    b'\r' => prop_assert_eq!(head.get(at + 1), Some(&b'\n')),
                    b'\n' => prop_assert_eq!(head[at - 1], b'\r'),
                    b'\t' => {}
                    _ => prop_assert!(!byte.is_ascii_control()),
                }
            }
        }
    }
}
