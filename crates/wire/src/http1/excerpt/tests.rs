//! Tests of what is shown of a refused head, and that no credential is shown wherever the head is malformed.

use super::*;
use proptest::prelude::*;

fn of(bytes: &[u8], at: usize) -> String {
    let mut out = String::new();
    excerpt(bytes, at, Kind::Request, &mut out);
    out
}

fn read(bytes: &str) -> [Option<&str>; 4] {
    let read = ReadSoFar::of(bytes.as_bytes());
    let text = |part: Option<&'static [u8]>| part.map(|part| std::str::from_utf8(part).unwrap());
    // Only for the comparison: the texts live as long as the tests.
    let leak = |part: Option<&[u8]>| text(part.map(|part| &*Box::leak(part.to_vec().into_boxed_slice())));
    [leak(read.method), leak(read.path), leak(read.host), read.version]
}

#[test]
fn reads_method_path_and_host_as_far_as_received() {
    let v11 = Some("HTTP/1.1");
    for (bytes, expected) in [
        ("", [None; 4]),
        ("G", [None; 4]),
        ("GET ", [Some("GET"), None, None, None]),
        ("GET /a/b", [Some("GET"), Some("/a/b"), None, None]),
        ("GET /a?b=c HTTP/1.1\r\n", [Some("GET"), Some("/a"), None, v11]),
        (
            "\r\nGET /a#b HTTP/1.0\r\nhost :x:80 \r\n",
            [Some("GET"), Some("/a"), Some("x:80"), Some("HTTP/1.0")],
        ),
        (
            "GET /a b HTTP/1.1\r\nHost: a, b\r\n",
            [Some("GET"), Some("/a"), Some("a"), v11],
        ),
        (
            "GET http://user:pass@a.test:8/x?y HTTP/1.1\r\nHost: b\r\n",
            [Some("GET"), Some("/x"), Some("a.test:8"), v11],
        ),
        ("password=x&token=y HTTP/1.1\r\n", [None; 4]),
        ("c2VjcmV0 c2VjcmV0\r\n", [None; 4]),
        ("G\u{1}T / HTTP/1.1\r\nHost: a\r\n", [None; 4]),
        (
            "GET / HTTP/1.1\r\nHost: \"}\r\n",
            [Some("GET"), Some("/"), None, v11],
        ),
    ] {
        assert_eq!(read(bytes), expected, "{bytes:?}");
    }
}

#[test]
fn hides_values_except_those_of_headers_without_secrets() {
    for (bytes, expected) in [
        (
            "GET /a?k=v HTTP/1.1\r\nHost: a\r\nCookie: a=b; c\r\nA : b\r\n\r\n",
            r"GET /a[4 bytes] HTTP/1.1\r\nHost: a\r\nCookie: [6 bytes]\r\nA : [1 bytes]\r\n\r\n",
        ),
        (
            "GET http://u:p@a/ HTTP/1.1\r\nX-Key: a\0b\r\n c d\r\n",
            r"GET [10 bytes]@a/ HTTP/1.1\r\nX-Key: [1 bytes]\x00[1 bytes]\r\n [3 bytes]\r\n",
        ),
        ("password=x HTTP/1.1\r\n\r\n", r"[19 bytes]\r\n\r\n"),
        (
            "GET / HTTP/1.1\r\nUser-Agent: x\\yCookie: s=1\r\n",
            r"GET / HTTP/1.1\r\nUser-Agent: x\\y[11 bytes]\r\n",
        ),
        (
            "GET / HTTP/1.1\r\nno colon\r\n",
            r"GET / HTTP/1.1\r\n[8 bytes]\r\n",
        ),
        (
            ":method: GET\r\n:path: /a?b\r\nx-a: secret",
            r":method: GET\r\n:path: /a[2 bytes]\r\nx-a: [6 bytes]",
        ),
    ] {
        assert_eq!(of(bytes.as_bytes(), 0), expected, "{bytes:?}");
    }
}

#[test]
fn shows_only_bytes_around_the_fault() {
    let bytes = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\n\0{}\r\n",
        "h".repeat(1000),
        "x".repeat(1000)
    );
    let at = bytes.find('\0').unwrap();
    let shown = of(bytes.as_bytes(), at);
    let host = "h".repeat(254);
    assert_eq!(shown, format!(r"...{host}\r\n\x00[255 bytes]..."));
    let controls = vec![1; 5000];
    assert!(of(&controls, 2500).len() < 2 * MAX_LENGTH);
}

const SECRET: &[u8] = b"c2VjcmV0LXZhbHVl==";

/// Offset of the query in the request below.
const PATH_END: usize = b"GET /a/b?".len();

/// A request with credentials in all places where they can occur.
fn with_secrets() -> Vec<u8> {
    let secret = std::str::from_utf8(SECRET).unwrap();
    format!(
        "GET /a/b?token={secret}&x=y HTTP/1.1\r\nHost: a.test\r\nAuthorization: Basic {secret}\r\nUser-Agent: curl/8.5\r\n\
         Cookie: a=1; s={secret}\r\nProxy-Authorization: Bearer {secret}\r\nAccept: */*\r\nX-Api-Key: {secret}\r\n\
         Content-Length: 30\r\n\r\npassword={secret}"
    )
    .into_bytes()
}

/// Bytes that make a head malformed.
fn breaking() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\r\n ".to_vec()),
        Just(b" ".to_vec()),
        Just(b"\0".to_vec()),
        Just(b"".to_vec()),
        any::<u8>()
            .prop_filter("a colon would make the secret a header name", |byte| *byte
                != b':')
            .prop_map(|byte| vec![byte]),
    ]
}

proptest! {
    #[test]
    fn a_credential_is_never_shown(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..3, breaking()), 0..4),
        at in any::<prop::sample::Index>(),
    ) {
        let mut bytes = with_secrets();
        for (place, removed, put) in changes {
            // Never the `?`: without it there is no query, and a path is not secret.
            let place = PATH_END + place.index(bytes.len() - PATH_END);
            let end = (place + removed).min(bytes.len());
            bytes.splice(place..end, put);
        }
        let shown = of(&bytes, at.index(bytes.len()));
        prop_assert!(!shown.contains("c2Vj") && !shown.contains("bHVl"), "{}", shown);
        prop_assert!(shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{}", shown);
        let read = ReadSoFar::of(&bytes);
        for part in [read.method, read.path, read.host].into_iter().flatten() {
            prop_assert!(!part.windows(4).any(|part| part == b"c2Vj" || part == b"bHVl"), "{:?}", part.escape_ascii());
        }
    }

    #[test]
    fn any_bytes_become_plain_and_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..2000), at in 0_usize..2100) {
        for kind in [Kind::Request, Kind::Response, Kind::Trailers] {
            let mut shown = String::new();
            excerpt(&bytes, at, kind, &mut shown);
            prop_assert!(shown.len() < 2 * MAX_LENGTH, "{}", shown.len());
            prop_assert!(shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{}", shown);
        }
    }
}
