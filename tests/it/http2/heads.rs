//! Malformed request heads (RFC 9113 §§8.2, 8.3): a stream error, a line in the log, and nothing reaches the backend.

use h2::Reason;

use super::frames::{CONTINUATION, END_HEADERS, END_STREAM, HEADERS, WHOLE};
use super::{get, started};
use crate::support::http2::{Frames, GET, literal};
use crate::support::{Backend, Proxy, Response};

/// `GET http://` without the fields of the case.
const SCHEME: u8 = 0x86;
const PATH: u8 = 0x84;
const METHOD: u8 = 0x82;
const AUTHORITY: &[u8] = &[0x41, 0x01, b'a'];

/// Huffman, RFC 7541 §5.2: `X` is 0xfc, 8 bits.
const UPPER_CASE_IN_HUFFMAN: &[u8] = &[0x00, 0x81, 0xfc, 0x01, b'1'];

#[rustfmt::skip]
#[allow(clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<(&'static str, Vec<u8>)> {
    let with = |name: &[u8], value: &[u8]| [GET, &literal(name, value)].concat();
    let path = |value: &[u8]| [&[METHOD, SCHEME][..], AUTHORITY, &literal(b":path", value)].concat();
    let method = |value: &[u8]| [&[SCHEME, PATH][..], AUTHORITY, &literal(b":method", value)].concat();
    let scheme = |value: &[u8]| [&[METHOD, PATH][..], AUTHORITY, &literal(b":scheme", value)].concat();
    let authority = |value: &[u8]| [&[METHOD, SCHEME, PATH][..], &literal(b":authority", value)].concat();
    vec![
        ("§8.2 a name in upper case", with(b"X-Upper", b"1")),
        ("§8.2 a name in upper case, compressed", [GET, UPPER_CASE_IN_HUFFMAN].concat()),
        ("§8.2.1 no name", with(b"", b"1")),
        ("§8.2.1 no name, in the table", [GET, &[0x40, 0x00, 0x01, b'x']].concat()),
        ("§8.2.1 a space in a name", with(b"x y", b"1")),
        ("§8.2.1 a colon in a name", with(b"x:y", b"1")),
        ("§8.2.1 a colon at the end of a name", with(b"x:", b"1")),
        ("§8.2.1 a line break in a name", with(b"x\r\ny", b"1")),
        ("§8.2.1 a NUL in a name", with(b"x\0", b"1")),
        ("§8.2.1 a byte above 127 in a name", with(b"x\xff", b"1")),
        ("§8.2.1 a blank first", with(b"x-a", b" b")),
        ("§8.2.1 a tab last", with(b"x-a", b"b\t")),
        ("§8.2.1 a line feed", with(b"x-a", b"b\nc: d")),
        ("§8.2.1 a carriage return", with(b"x-a", b"b\rc: d")),
        ("§8.2.1 a NUL", with(b"x-a", b"b\0")),
        ("§8.2.2 connection", with(b"connection", b"close")),
        ("§8.2.2 proxy-connection", with(b"proxy-connection", b"close")),
        ("§8.2.2 transfer-encoding", with(b"transfer-encoding", b"chunked")),
        ("§8.2.2 keep-alive", with(b"keep-alive", b"1")),
        ("§8.2.2 upgrade", with(b"upgrade", b"h2c")),
        ("§8.2.2 http2-settings", with(b"http2-settings", b"AAMAAABkAAQAAP__")),
        ("§8.2.2 te", with(b"te", b"gzip")),
        ("§8.2.2 te with more", with(b"te", b"trailers, gzip")),
        ("§8.3 an unknown pseudo field", with(b":odd", b"1")),
        ("§8.3 a pseudo-header of responses", with(b":status", b"200")),
        ("§8.3 a pseudo-header of responses, by its index", [GET, &[0x88]].concat()),
        ("§8.3 a pseudo field behind a field", [&[METHOD, SCHEME][..], AUTHORITY, &literal(b"x", b"y"), &[PATH]].concat()),
        ("§8.3 the path twice", [GET, &[PATH]].concat()),
        ("§8.3 the method twice", [GET, &[METHOD]].concat()),
        ("§8.3 the scheme twice", [GET, &[SCHEME]].concat()),
        ("§8.3 the authority twice", [GET, AUTHORITY].concat()),
        ("§8.3.1 no method", [&[SCHEME, PATH], AUTHORITY].concat()),
        ("§8.3.1 no scheme", [&[METHOD, PATH], AUTHORITY].concat()),
        ("§8.3.1 no path", [&[METHOD, SCHEME], AUTHORITY].concat()),
        ("§8.3.1 nothing", Vec::new()),
        ("§8.3.1 an empty path", path(b"")),
        ("a path that does not begin with a slash", path(b"x")),
        ("a path with a fragment", path(b"/a#b")),
        ("a path with a space", path(b"/a HTTP/1.1")),
        ("a path with a line break", path(b"/a HTTP/1.1\r\nx: y")),
        ("a path with a NUL", path(b"/a%00")),
        ("a path that is a URL", path(b"http://b/")),
        ("a path of a server for another method than OPTIONS", path(b"*")),
        ("a method with a space", method(b"GET / HTTP/1.1")),
        ("a method that is empty", method(b"")),
        ("a method with a line break", method(b"GET\r\nx: y")),
        ("a scheme that is a URL", scheme(b"http://b/?")),
        ("a scheme that is empty", scheme(b"")),
        ("a scheme with a line break", scheme(b"http\r\n")),
        ("§8.3.1 user information", authority(b"u@a")),
        ("an authority with a space", authority(b"a b")),
        ("an authority with a comma", authority(b"a,b")),
        ("an authority with a slash", authority(b"a/b")),
        ("an authority with a line break", authority(b"a\r\nx: y")),
        ("an authority with a port that is none", authority(b"a:99999")),
        ("an authority that is empty", authority(b"")),
        ("§8.3.1 host beside another authority", with(b"host", b"b")),
        ("host twice", [&[METHOD, SCHEME, PATH][..], &literal(b"host", b"a"), &literal(b"host", b"a")].concat()),
        ("neither authority nor host", vec![METHOD, SCHEME, PATH]),
        ("§8.1.1 a length without a body", with(b"content-length", b"5")),
        ("a length twice", [GET, &literal(b"content-length", b"0"), &literal(b"content-length", b"0")].concat()),
        ("two lengths", [GET, &literal(b"content-length", b"0"), &literal(b"content-length", b"1")].concat()),
        ("a length with a sign", with(b"content-length", b"+0")),
        ("a length that is empty", with(b"content-length", b"")),
        ("a length that is a list", with(b"content-length", b"0, 0")),
        ("a name that imitates framing", with(b"content_length", b"0")),
        ("§8.5 CONNECT with a path", [&[SCHEME, PATH][..], AUTHORITY, &literal(b":method", b"CONNECT")].concat()),
        ("§8.5 CONNECT without an authority", literal(b":method", b"CONNECT")),
        ("RFC 8441 §4 a protocol without CONNECT", [&literal(b":protocol", b"websocket"), GET].concat()),
        ("RFC 8441 §4 CONNECT without a path", [&literal(b":method", b"CONNECT")[..], &literal(b":protocol", b"websocket"), &[SCHEME], AUTHORITY].concat()),
        ("a WebSocket with a length", [&literal(b":method", b"CONNECT")[..], &literal(b":protocol", b"websocket"), &[SCHEME, PATH], AUTHORITY, &literal(b"content-length", b"0")].concat()),
        ("RFC 8441 §4 a protocol with a space", [&literal(b":method", b"CONNECT")[..], &literal(b":protocol", b"web socket"), &[SCHEME, PATH], AUTHORITY].concat()),
    ]
}

#[test]
fn malformed_requests_reset_only_their_stream() {
    let (backend, proxy) = started();
    let mut wrong = Vec::new();
    let cases = cases();
    for (what, block) in &cases {
        let mut client = Frames::connect(proxy.address(), &[]);
        client.send(HEADERS, WHOLE, 1, block);
        let reset = client.reset_of(1);
        client.send(HEADERS, WHOLE, 3, GET);
        let responded = client.wait_for(|frame| frame.kind == HEADERS && frame.stream == 3);
        if reset != Some(Reason::PROTOCOL_ERROR) || responded.is_none() {
            wrong.push((what, reset, responded.is_some()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Only the second requests arrived.
    let got = backend.requests(|request| request.field("via").is_some());
    assert_eq!(got.len(), cases.len());
    // Each of both has its line.
    let lines = proxy.access_lines(2 * cases.len());
    let refused = lines
        .iter()
        .filter(|line| line["status"] == 400 && line["detail"].is_string());
    assert_eq!(refused.count(), cases.len());
}

/// A malformed request does not affect the next one, whatever both have in the shared dynamic table (RFC 7541 §2.3.2).
#[test]
fn the_dynamic_tables_stay_in_sync_after_a_malformed_request() {
    let (backend, proxy) = started();
    let mut client = Frames::connect(proxy.address(), &[]);
    let first = [
        GET,
        &kept(b"x-one", b"1"),
        &kept(b"X-Bad", b"22"),
        &kept(b"x-two", b"2"),
    ]
    .concat();
    client.send(HEADERS, WHOLE, 1, &first);
    assert_eq!(client.reset_of(1), Some(Reason::PROTOCOL_ERROR));
    // The newest entry is 62: `:authority` was added by the GET, and is added again.
    let second = [&[METHOD, SCHEME, PATH, 0xbe, 0xc0, 0xc1][..]].concat();
    let second = [&second[..3], &[0xc1], &second[3..5]].concat();
    client.send(HEADERS, WHOLE, 3, &second);
    assert!(
        client
            .wait_for(|frame| frame.kind == HEADERS && frame.stream == 3)
            .is_some()
    );
    let got = backend.wait_for_request(|request| request.field("x-one").is_some());
    assert_eq!(
        (got.field("x-one"), got.field("x-two"), got.field("host")),
        (Some("1"), Some("2"), Some("a"))
    );
    // The malformed field is still malformed.
    client.send(HEADERS, WHOLE, 5, &[&second[..], &[0xbf]].concat());
    assert_eq!(client.reset_of(5), Some(Reason::PROTOCOL_ERROR));
}

fn kept(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = literal(name, value);
    bytes[0] = 0x40;
    bytes
}

/// A field that a malformed request added to the table is malformed in the next request too; its name alone is not.
#[test]
fn table_entries_of_a_malformed_request_stay_malformed() {
    let (backend, proxy) = started();
    let mut client = Frames::connect(proxy.address(), &[]);
    client.send(HEADERS, WHOLE, 1, &[GET, &kept(b"x-name", b"a\rb")].concat());
    assert_eq!(client.reset_of(1), Some(Reason::PROTOCOL_ERROR));
    client.send(HEADERS, WHOLE, 3, &[GET, &[0xbf]].concat());
    assert_eq!(client.reset_of(3), Some(Reason::PROTOCOL_ERROR));
    client.send(HEADERS, WHOLE, 5, &[GET, &[0x0f, 0x31, 0x01, b'v']].concat());
    let responded = client.wait_for(|frame| frame.kind == HEADERS && frame.stream == 5);
    assert!(responded.is_some());
    let got = backend.requests(|request| request.field("via").is_some());
    assert_eq!((got.len(), got[0].field("x-name")), (1, Some("v")));
}

/// RFC 9113 §8.5: Evenkeel is not a forward proxy.
#[test]
fn connect_is_refused() {
    let (_backend, proxy) = started();
    let plain = [&literal(b":method", b"CONNECT")[..], AUTHORITY].concat();
    let extended = [
        &literal(b":method", b"CONNECT")[..],
        &literal(b":protocol", b"connect-udp"),
        &[SCHEME, PATH],
        AUTHORITY,
    ]
    .concat();
    for block in [plain, extended] {
        let mut client = Frames::connect(proxy.address(), &[]);
        client.send(HEADERS, END_HEADERS, 1, &block);
        let response = client.wait_for(|frame| frame.stream == 1).unwrap();
        assert_eq!(response.kind, HEADERS, "a status says why");
        client.send(HEADERS, WHOLE, 3, GET);
        assert!(
            client
                .wait_for(|frame| frame.kind == HEADERS && frame.stream == 3)
                .is_some()
        );
    }
    let line = proxy.access_lines(1).remove(0);
    assert_eq!(line["error"], "connect_method");
}

/// I5: the same limits as over HTTP/1, and the same responses.
#[test]
fn heads_that_are_too_large_get_the_same_response_as_over_http1() {
    let (_backend, proxy) = started();
    let long = |name: &[u8]| {
        [
            &[0x00, name.len() as u8],
            name,
            &[0x7f, 0xa1, 0x8c, 0x01],
            &[b'/'; 18_080],
        ]
        .concat()
    };
    let kept = [&[0x40, 0x01, b'x', 0x7f, 0xc1, 0xb7, 0x02], &[b'y'; 40_000][..]].concat();
    let many: Vec<u8> = (0..101).flat_map(|_| literal(b"x", b"y")).collect();
    let large: Vec<u8> = (0..400).flat_map(|_| literal(b"x", &[b'y'; 100])).collect();
    let cases = [
        ([GET, &many].concat(), 431, "too_many_fields"),
        ([GET, &large].concat(), 431, "head_too_large"),
        ([GET, &kept].concat(), 431, "head_too_large"),
        ([GET, &long(b"x")].concat(), 431, "field_too_long"),
        (
            [&[METHOD, SCHEME][..], AUTHORITY, &long(b":path")].concat(),
            414,
            "target_too_long",
        ),
    ];
    for (block, status, word) in cases {
        let mut client = Frames::connect(proxy.address(), &[]);
        send_in_pieces(&mut client, &block);
        let response = client.wait_for(|frame| frame.stream == 1).unwrap();
        assert_eq!(response.kind, HEADERS, "{word}");
        client.send(HEADERS, WHOLE, 3, &get("/next"));
        assert!(
            client
                .wait_for(|frame| frame.kind == HEADERS && frame.stream == 3)
                .is_some()
        );
        let line = proxy.wait_for_line(|line| line["error"] == word);
        assert_eq!(line["status"], status);
    }
    let lines = proxy.access_lines(2 * 5);
    let too_large = lines.iter().filter(|line| line["error"] == "head_too_large");
    assert_eq!(too_large.count(), 2);
}

/// As many frames as the limit requires.
#[test]
fn heads_up_to_the_limit_pass() {
    let backend = Backend::start(|_| Response::ok("ok"));
    let proxy = Proxy::before(&[&backend])
        .config("limits: { head: 256KiB, line: 200KiB }")
        .start();
    // One field of 170,000 bytes, after the GET.
    let block = [
        GET,
        &[0x00, 0x01, b'x', 0x7f, 0x91, 0xaf, 0x0a],
        &[b'y'; 170_000][..],
    ]
    .concat();
    let mut client = Frames::connect(proxy.address(), &[]);
    send_in_pieces(&mut client, &block);
    let response = client
        .wait_for(|frame| frame.stream == 1 || frame.kind == 7)
        .unwrap();
    assert_eq!((response.kind, response.payload.first()), (HEADERS, Some(&0x88)));
}

#[test]
fn unusual_legal_heads_pass() {
    let (backend, proxy) = started();
    let crumbs: Vec<u8> = (0..300).flat_map(|_| literal(b"cookie", b"a=b")).collect();
    let blocks = [
        [GET, &literal(b"te", b"trailers")].concat(),
        [GET, &literal(b"host", b"A")].concat(),
        [&[METHOD, SCHEME, PATH][..], &literal(b"host", b"a")].concat(),
        [&[METHOD, PATH][..], AUTHORITY, &literal(b":scheme", b"foo+bar")].concat(),
        [&[SCHEME, PATH][..], AUTHORITY, &literal(b":method", b"PROPFIND")].concat(),
        [GET, &literal(b"x-empty", b"")].concat(),
        [GET, &literal(b"x-high", b"\xc3\xa4")].concat(),
        [GET, &crumbs].concat(),
        [GET, &literal(b"content-length", b"0")].concat(),
    ];
    let mut client = Frames::connect(proxy.address(), &[]);
    for (at, block) in blocks.iter().enumerate() {
        let stream = 2 * at as u32 + 1;
        client.send(HEADERS, WHOLE, stream, block);
        let response = client
            .wait_for(|frame| frame.kind == HEADERS && frame.stream == stream)
            .unwrap();
        assert_eq!(response.payload[0], 0x88, "case {at}: {:x?}", response.payload);
    }
    let got = backend.wait_for_request(|request| request.field("cookie").is_some());
    assert_eq!(got.field("cookie").unwrap().len(), 300 * 5 - 2);
}

/// Sends a head without a body in as many frames as needed.
fn send_in_pieces(client: &mut Frames, block: &[u8]) {
    let mut pieces = block.chunks(16_000).peekable();
    let mut kind = HEADERS;
    while let Some(piece) = pieces.next() {
        let end = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        let whole = if kind == HEADERS { END_STREAM } else { 0 };
        client.send(kind, end | whole, 1, piece);
        kind = CONTINUATION;
    }
}
