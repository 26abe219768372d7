//! What is written of a head: who is believed, what `Connection` may take away, and that writing what was read, again
//! and again, changes nothing.

use super::{ForwardedRequest, ForwardedResponse, ResponseContext, write_request};
use crate::backend::Address;
use crate::head::{BodyLength, FieldName, Method, RequestHead, ResponseHead, Version};
use crate::http1::{HeadScan, Kind, Limits, Malformed, parse_request, parse_response};
use crate::message::OutgoingHead;
use crate::pool::ForwardedHeaders;
use crate::proxy::forwarded::{Identity, TrustedProxies};
use crate::proxy::forwarding::Forwarding;
use crate::proxy::via;
use proptest::prelude::*;

/// Names that say who the client is or which way the message came, and those that some backends take for them.
const IDENTITY: [&str; 19] = [
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    "X-Forwarded",
    "X-Real-IP",
    "X-Request-Id",
    "Forwarded",
    "Via",
    "X_Forwarded_For",
    "X_Forwarded-Host",
    "x-forwarded_proto",
    "X_FORWARDED_PREFIX",
    "X_Forwarded",
    "X_Real_IP",
    "x-real_ip",
    "X_Request_Id",
];

const SPOOFED: &str = "6.6.6.6";

fn read(bytes: &[u8]) -> Result<RequestHead, Malformed> {
    let mut scan = HeadScan::default();
    let end = scan.advance(bytes, Kind::Request, &Limits::default())?;
    let mut head = RequestHead {
        bytes: bytes.to_vec(),
        ..RequestHead::default()
    };
    parse_request(&mut head, &scan, end.expect("a whole head"))?;
    Ok(head)
}

/// The head of a response to `asked`.
fn read_response(bytes: &[u8], asked: Method) -> Result<ResponseHead, Malformed> {
    let mut scan = HeadScan::default();
    let end = scan.advance(bytes, Kind::Response, &Limits::default())?;
    let mut head = ResponseHead::default();
    parse_response(bytes, &scan, end.expect("a whole head"), asked, &mut head)?;
    Ok(head)
}

fn write(head: &RequestHead, trusted: &str) -> Vec<u8> {
    write_of(head, trusted, None)
}

/// The same for a client that has shown a certificate, if there is one.
fn write_of(head: &RequestHead, trusted: &str, certificate: Option<&str>) -> Vec<u8> {
    let peer: std::net::SocketAddr = "10.0.0.9:1234".parse().expect("an address");
    let trusted = TrustedProxies {
        blocks: vec![trusted.parse().expect("a block")],
        unix: true,
    };
    let mut peer = crate::proxy::Peer::new(peer);
    peer.certificate = certificate.map(|field| crate::proxy::Certificate {
        subject: crate::telemetry::Label::new("CN=test"),
        field: field.into(),
    });
    let identity = Identity::new(&peer, &trusted, head, [1, 2]);
    let backend = Address::parse("http://backend.test:8001").expect("a URL");
    let mut out = Vec::new();
    write_request(head, &identity, &peer, &backend, &mut out);
    out
}

/// What a backend gets of a GET with these field lines.
fn forwarded(lines: &str, trusted: &str) -> String {
    let head = read(format!("GET /a HTTP/1.1\r\nHost: test\r\n{lines}\r\n").as_bytes());
    String::from_utf8(write(&head.expect("a request"), trusted)).expect("text")
}

fn from_anybody(lines: &str) -> String {
    forwarded(lines, "192.0.2.0/24")
}

fn from_a_trusted_proxy(lines: &str) -> String {
    forwarded(lines, "10.0.0.0/8")
}

/// The values of all lines with this name, whatever its case.
fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect()
}

/// What `Via` says of us for a request of this version.
fn our_via(version: Version) -> &'static str {
    std::str::from_utf8(via::element(version)).expect("text")
}

#[test]
fn via_names_the_version_that_came_and_an_instance() {
    for (version, text) in [
        (Version::Http10, "1.0 evenkeel-"),
        (Version::Http11, "1.1 evenkeel-"),
        (Version::Http2, "2.0 evenkeel-"),
    ] {
        let id = our_via(version).strip_prefix(text).expect("the name");
        assert!(
            id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{id}"
        );
        assert!(our_via(Version::Http11).ends_with(id), "one id for all");
    }
}

/// A request that goes round several instances is recognised by the one that it comes back to.
#[test]
fn other_instances_stay_in_via_whoever_sent_it() {
    let other = "1.1 evenkeel-0123456789abcdef";
    let head = from_anybody(&format!(
        "Via: 1.1 6.6.6.6, {other}\r\nVia: 1.0 evenkeel (6.6.6.6)\r\n"
    ));
    assert_eq!(values(&head, "via"), [other, our_via(Version::Http11)], "{head}");
}

/// What a backend of a pool with this list gets of a request with these field lines, which came to port 8443.
fn forwarded_by(families: &[&str], lines: &str, trusted: &str) -> String {
    let head = read(format!("GET /a HTTP/1.1\r\nHost: test\r\n{lines}\r\n").as_bytes()).expect("a request");
    let trusted = TrustedProxies {
        blocks: vec![trusted.parse().expect("a block")],
        unix: true,
    };
    let peer = crate::proxy::Peer::new(
        "10.0.0.9:1234"
            .parse::<std::net::SocketAddr>()
            .expect("an address"),
    );
    let mut headers = ForwardedHeaders::NONE;
    for (name, family) in ForwardedHeaders::ALL {
        if families.contains(&name) {
            headers.add(family);
        }
    }
    let request = ForwardedRequest {
        head: &head,
        identity: &Identity::new(&peer, &trusted, &head, [1, 2]),
        peer: &peer,
        backend: &Address::parse("http://backend.test:8001").expect("a URL"),
        changes: None,
        forwarding: Some(Forwarding {
            headers,
            port: Some(8443),
        }),
        trace: None,
    };
    let mut out = Vec::new();
    request.write(&mut out);
    String::from_utf8(out).expect("text")
}

const FAMILIES: [&str; 4] = ["x-forwarded", "forwarded", "x-real-ip", "x-forwarded-port"];
const ANYBODY: &str = "192.0.2.0/24";
const TRUSTED: &str = "10.0.0.0/8";

/// I1: whatever the list says.
#[test]
fn no_list_of_headers_lets_a_claim_of_anybody_through() {
    for families in [
        &FAMILIES[..],
        &[],
        &["forwarded"],
        &["x-real-ip"],
        &["x-forwarded-port"],
    ] {
        for name in IDENTITY {
            let lines = format!("{name}: {SPOOFED}\r\n{}: {SPOOFED}\r\n", name.to_lowercase());
            let head = forwarded_by(families, &lines, ANYBODY);
            assert!(!head.contains(SPOOFED), "{families:?} {name}: {head}");
        }
    }
}

#[test]
fn the_list_says_which_headers_are_set() {
    let names = [
        ("x-forwarded-for", "10.0.0.9"),
        ("forwarded", "for=10.0.0.9;host=\"test\";proto=http"),
        ("x-real-ip", "10.0.0.9"),
        ("x-forwarded-port", "8443"),
    ];
    for ((name, value), family) in names.into_iter().zip(FAMILIES) {
        let with = forwarded_by(&[family], "", ANYBODY);
        assert_eq!(values(&with, name), [value], "{with}");
        let others: Vec<_> = FAMILIES.into_iter().filter(|other| *other != family).collect();
        let without = forwarded_by(&others, "", ANYBODY);
        assert!(values(&without, name).is_empty(), "{without}");
    }
    let none = forwarded_by(&[], "", ANYBODY);
    assert!(!none.to_lowercase().contains("forwarded"), "{none}");
    assert_eq!(values(&none, "x-request-id").len(), 1, "{none}");
}

#[test]
fn what_a_trusted_proxy_said_is_extended_in_every_form() {
    let lines = "X-Forwarded-For: 1.1.1.1, 2001:db8::1, nonsense\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: a\"b\r\n";
    let head = forwarded_by(&FAMILIES, lines, TRUSTED);
    let chain = "for=1.1.1.1;host=\"a\\\"b\";proto=https, for=\"[2001:db8::1]\", for=unknown, for=10.0.0.9";
    assert_eq!(values(&head, "forwarded"), [chain], "{head}");
    assert_eq!(
        values(&head, "x-forwarded-port"),
        ["443"],
        "the client's, not ours: {head}"
    );
    let lines = "Forwarded: for=1.1.1.1;proto=https\r\nForwarded: for=2.2.2.2\r\nX-Forwarded-Port: 444\r\nX-Real-IP: 3.3.3.3\r\n";
    let head = forwarded_by(&FAMILIES, lines, TRUSTED);
    let chain = "for=1.1.1.1;proto=https, for=2.2.2.2, for=10.0.0.9";
    assert_eq!(values(&head, "forwarded"), [chain], "{head}");
    assert_eq!(values(&head, "x-forwarded-port"), ["444"], "{head}");
    assert_eq!(values(&head, "x-real-ip"), ["3.3.3.3"], "{head}");
    let named = forwarded_by(
        &FAMILIES,
        "X-Forwarded-For: 4.4.4.4\r\nX-Real-IP: 3.3.3.3\r\n",
        TRUSTED,
    );
    assert_eq!(
        values(&named, "x-real-ip"),
        ["4.4.4.4"],
        "the client as the log names it: {named}"
    );
}

/// I1: all lines of every name, not the first one only.
#[test]
fn nothing_that_anybody_claims_of_identity_reaches_a_backend() {
    for name in IDENTITY {
        let lower = name.to_lowercase();
        let lines = format!("{name}: {SPOOFED}\r\nX-Other: 1\r\n{lower}: {SPOOFED}\r\n");
        let head = from_anybody(&lines);
        assert!(!head.contains(SPOOFED), "{name}: {head}");
        assert_eq!(values(&head, "x-other"), ["1"], "{name}: {head}");
    }
}

/// I1: one line each, of our own making, whoever asks.
#[test]
fn identity_is_set_once() {
    for head in [from_anybody(""), from_a_trusted_proxy("")] {
        assert_eq!(values(&head, "x-forwarded-for"), ["10.0.0.9"], "{head}");
        assert_eq!(values(&head, "x-forwarded-proto"), ["http"], "{head}");
        assert_eq!(values(&head, "x-forwarded-host"), ["test"], "{head}");
        assert_eq!(values(&head, "x-request-id").len(), 1, "{head}");
        assert_eq!(values(&head, "via"), [our_via(Version::Http11)], "{head}");
    }
}

/// I1: the chain over all lines goes on; what it means is read from the right.
#[test]
fn a_trusted_proxy_is_believed_and_added_to() {
    let head = from_a_trusted_proxy(
        "X-Forwarded-For: 1.1.1.1, 2.2.2.2\r\nx-forwarded-for: 10.1.1.1\r\nX-Forwarded-For:\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: shop.test\r\nX-Forwarded-Port: 443\r\nX-Real-IP: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\n\
         Via: 1.1 edge\r\nX-Request-Id: theirs\r\n",
    );
    assert_eq!(
        values(&head, "x-forwarded-for"),
        ["1.1.1.1, 2.2.2.2, 10.1.1.1, 10.0.0.9"],
        "{head}"
    );
    for (name, value) in [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.test"),
        ("x-forwarded-port", "443"),
        ("x-real-ip", "1.1.1.1"),
        ("forwarded", "for=1.1.1.1"),
        ("x-request-id", "theirs"),
    ] {
        assert_eq!(values(&head, name), [value], "{head}");
    }
    assert_eq!(
        values(&head, "via"),
        ["1.1 edge", our_via(Version::Http11)],
        "{head}"
    );
    assert_eq!(values(&head, "host"), ["test"], "{head}");
}

#[test]
fn empty_elements_of_the_chain_end_here() {
    let head = from_a_trusted_proxy("X-Forwarded-For: 1.1.1.1,\r\nX-Forwarded-For: , 2.2.2.2 ,,10.1.1.1\r\n");
    assert_eq!(
        values(&head, "x-forwarded-for"),
        ["1.1.1.1, 2.2.2.2, 10.1.1.1, 10.0.0.9"],
        "{head}"
    );
}

/// I1: a trusted proxy sets the names with dashes; those with `_` are what it has let through.
#[test]
fn aliases_do_not_pass_through_a_trusted_proxy_either() {
    for name in IDENTITY.iter().filter(|name| name.contains('_')) {
        let head = from_a_trusted_proxy(&format!("{name}: {SPOOFED}\r\n"));
        assert!(!head.contains(SPOOFED), "{name}: {head}");
    }
}

/// RFC 9440 §2.4, §3: a certificate is the word of whoever ended its TLS, and of nobody beside.
#[test]
fn certificates_of_a_trusted_proxy_go_on_where_none_is_ours() {
    let lines = "Client-Cert: :theirs:\r\nclient-cert-chain: :theirs:\r\nX-Real-IP: 1.1.1.1\r\n";
    let head = read(format!("GET /a HTTP/1.1\r\nHost: test\r\n{lines}\r\n").as_bytes()).expect("a request");
    let written = |trusted, certificate| {
        let bytes = write_of(&head, trusted, certificate);
        String::from_utf8(bytes).expect("text")
    };
    for (trusted, certificate, seen) in [
        ("10.0.0.0/8", Some(":ours:"), [vec![":ours:"], vec![]]),
        ("10.0.0.0/8", None, [vec![":theirs:"], vec![":theirs:"]]),
        ("192.0.2.0/24", Some(":ours:"), [vec![":ours:"], vec![]]),
        ("192.0.2.0/24", None, [vec![], vec![]]),
    ] {
        let head = written(trusted, certificate);
        let found = ["client-cert", "client-cert-chain"].map(|name| values(&head, name));
        assert_eq!(found, seen, "{trusted} {certificate:?}: {head}");
        assert_eq!(
            values(&head, "x-real-ip").len(),
            usize::from(trusted == "10.0.0.0/8"),
            "{head}"
        );
    }
}

/// F11, I2; RFC 9110 §7.6.1: what protects a backend is not for the client to take away.
#[test]
fn connection_options_take_away_nothing_that_protects() {
    let options = "Host, Content-Length, Transfer-Encoding, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, \
                   X-Request-Id, Via, close";
    let request = |framing: &str| {
        let lines =
            format!("Connection: {options}\r\nconnection: x-mine\r\nX-Mine: 1\r\nX-Kept: 1\r\n{framing}\r\n");
        let head = read(format!("POST /a HTTP/1.1\r\nHost: test\r\n{lines}").as_bytes()).expect("a request");
        String::from_utf8(write(&head, "192.0.2.0/24")).expect("text")
    };
    let head = request("Content-Length: 5\r\n");
    assert_eq!(values(&head, "content-length"), ["5"], "{head}");
    for (name, value) in [
        ("host", "test"),
        ("x-forwarded-for", "10.0.0.9"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "test"),
        ("via", our_via(Version::Http11)),
        ("x-kept", "1"),
    ] {
        assert_eq!(values(&head, name), [value], "{head}");
    }
    assert_eq!(values(&head, "x-request-id").len(), 1, "{head}");
    assert!(values(&head, "x-mine").is_empty(), "{head}");
    assert!(values(&head, "connection").is_empty(), "{head}");
    let head = request("Transfer-Encoding: chunked\r\n");
    assert_eq!(values(&head, "transfer-encoding"), ["chunked"], "{head}");
}

/// I2: of what a trusted proxy said of the client nothing is lost by what the client told it to drop.
#[test]
fn connection_options_do_not_take_away_what_a_trusted_proxy_said() {
    let head = from_a_trusted_proxy(
        "Connection: X-Forwarded-For, X-Real-IP, Forwarded\r\nX-Forwarded-For: 1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\n\
         Forwarded: for=1.1.1.1\r\n",
    );
    assert_eq!(values(&head, "x-forwarded-for"), ["1.1.1.1, 10.0.0.9"], "{head}");
    assert_eq!(values(&head, "x-real-ip"), ["1.1.1.1"], "{head}");
    assert_eq!(values(&head, "forwarded"), ["for=1.1.1.1"], "{head}");
}

/// F19; RFC 9112 §3.2.2: the authority of the target is the host, for the backend too.
#[test]
fn the_authority_of_the_target_replaces_host() {
    let head = read(b"GET http://b.test:81/x?y HTTP/1.1\r\nHost: a.test\r\n\r\n").expect("a request");
    let head = String::from_utf8(write(&head, "192.0.2.0/24")).expect("text");
    assert!(
        head.starts_with("GET /x?y HTTP/1.1\r\nHost: b.test:81\r\n"),
        "{head}"
    );
    assert_eq!(values(&head, "host"), ["b.test:81"], "{head}");
    assert_eq!(values(&head, "x-forwarded-host"), ["b.test:81"], "{head}");
}

/// RFC 9112 §3.2: HTTP/1.1 has a `Host` always, so that one stands in for what an old client left out.
#[test]
fn a_client_of_http_1_0_without_host_asks_for_the_backend() {
    let head = read(b"GET / HTTP/1.0\r\n\r\n").expect("a request");
    let head = String::from_utf8(write(&head, "192.0.2.0/24")).expect("text");
    assert_eq!(values(&head, "host"), ["backend.test:8001"], "{head}");
    assert!(values(&head, "x-forwarded-host").is_empty(), "{head}");
    assert_eq!(values(&head, "via"), [our_via(Version::Http10)], "{head}");
}

/// RFC 9110 §10.1.4: `TE` concerns one connection, and whoever sends it says so.
#[test]
fn te_is_said_anew_and_named_as_an_option() {
    let head = from_anybody("TE: trailers\r\nConnection: TE\r\n");
    assert_eq!(values(&head, "te"), ["trailers"], "{head}");
    assert_eq!(values(&head, "connection"), ["TE"], "{head}");
    let head = from_anybody("TE: gzip;q=0.5, Trailers\r\n");
    assert_eq!(values(&head, "te"), ["trailers"], "{head}");
    let head = from_anybody("TE: gzip;q=0.5\r\nConnection: TE\r\n");
    assert!(values(&head, "te").is_empty(), "{head}");
    assert!(values(&head, "connection").is_empty(), "{head}");
}

/// What a request means to whoever gets it, that of our own making left out.
fn meaning(head: &RequestHead) -> String {
    let fields: Vec<_> = head
        .fields
        .iter()
        .filter(|field| field.id == FieldName::Other && !head.connection_names(head.text(field.name)))
        .map(|field| (head.text(field.name), head.text(field.value)))
        .collect();
    let target = (
        head.text(head.method_text),
        head.text(head.path),
        head.query.map(|query| head.text(query)),
    );
    let rest = (head.body, head.expects_continue, head.upgrade.is_some());
    format!("{target:?} {rest:?} {fields:?}")
}

fn requests() -> impl Strategy<Value = String> {
    let start = prop_oneof![
        Just("GET / HTTP/1.1\r\nHost: a\r\n"),
        Just("GET /a/./b/../%2e%2e/c//d;e?f=%zz HTTP/1.1\r\nhost: A.test:80\r\n"),
        Just("\r\nPOST http://a.test/../x? HTTP/1.1\r\nHost: b\r\n"),
        Just("OPTIONS * HTTP/1.1\r\nHost: a\r\n"),
        Just("OPTIONS http://a.test HTTP/1.1\r\nHost: a\r\n"),
        Just("PURGE /%2F HTTP/1.1\r\nHost:\r\n"),
        Just("PUT /old HTTP/1.0\r\n"),
        Just("GET http://a.test HTTP/1.0\r\n"),
    ];
    let line = prop_oneof![
        8 => prop_oneof![
            Just("Content-Length: 5\r\n".to_owned()),
            Just("Transfer-Encoding: Chunked\r\n".to_owned()),
            Just("Connection: close, X-Named , upgrade\r\n".to_owned()),
            Just("Connection: keep-alive, te\r\n".to_owned()),
            Just("X-NAMED: 1\r\n".to_owned()),
            Just("Upgrade: WebSocket\r\n".to_owned()),
            Just("Expect: 100-Continue\r\n".to_owned()),
            Just("TE: trailers\r\n".to_owned()),
            Just("Trailer: X-Sum\r\n".to_owned()),
            Just("Keep-Alive: timeout=5\r\n".to_owned()),
            Just("Accept: */*\r\n".to_owned()),
            Just("Date: never\r\n".to_owned()),
        ],
        4 => prop::sample::select(&IDENTITY[..]).prop_map(|name| format!("{name}: {SPOOFED}\r\n")),
        4 => ("[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}", "[ -~\t\u{80}-\u{ff}]{0,20}")
            .prop_map(|(name, value)| format!("{name}: {value}\r\n")),
    ];
    (start, prop::collection::vec(line, 0..8))
        .prop_map(|(start, lines)| format!("{start}{}\r\n", lines.concat()))
}

fn responses() -> impl Strategy<Value = String> {
    let start = prop_oneof![
        Just("HTTP/1.1 200 OK\r\n"),
        Just("HTTP/1.1 204\r\n"),
        Just("HTTP/1.1 304 \r\n"),
        Just("HTTP/1.0 404 Not  Found\r\n"),
        Just("HTTP/1.1 599 \u{e4}\tx\r\n"),
        Just("HTTP/1.1 103 Early Hints\r\n"),
    ];
    let line = prop_oneof![
        Just("Content-Length: 5\r\n".to_owned()),
        Just("Content_Length: 7\r\n".to_owned()),
        Just("Transfer-Encoding: chunked\r\n".to_owned()),
        Just("Connection: close, X-Named\r\n".to_owned()),
        Just("X-Named: 1\r\n".to_owned()),
        Just("Keep-Alive: timeout=5\r\n".to_owned()),
        Just("Date: Tue, 24 Nov 2026 10:15:30 GMT\r\n".to_owned()),
        Just("Upgrade: h2c\r\n".to_owned()),
        Just("Set-Cookie: a=b\r\n".to_owned()),
        ("[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}", "[ -~\t\u{80}-\u{ff}]{0,20}")
            .prop_map(|(name, value)| format!("{name}: {value}\r\n")),
    ];
    (start, prop::collection::vec(line, 0..8))
        .prop_map(|(start, lines)| format!("{start}{}\r\n", lines.concat()))
}

/// What a client gets of the response in `bytes`.
fn passed_on(bytes: &[u8], asked: Method) -> Result<Vec<u8>, Malformed> {
    let head = read_response(bytes, asked)?;
    let body = match head.body {
        BodyLength::UntilClose => BodyLength::Chunked,
        body => body,
    };
    let context = ResponseContext {
        body,
        keep_alive: head.keep_alive,
        version: Version::Http11,
        date: b"now",
        is_switch: false,
    };
    let mut out = Vec::new();
    let response = ForwardedResponse {
        head: &head,
        bytes,
        context,
        changes: None,
    };
    response.write(&mut out);
    Ok(out)
}

proptest! {
    /// House rule: what leaves is understood as what came, by us and by the next one of us.
    #[test]
    fn a_request_that_was_written_is_written_the_same_again(bytes in requests()) {
        let head = read(bytes.as_bytes());
        prop_assume!(head.is_ok());
        let head = head.unwrap();
        let first = write(&head, "192.0.2.0/24");
        let second_head = read(&first).expect("what is written is understood");
        prop_assert_eq!(meaning(&second_head), meaning(&head));
        let second = write(&second_head, "192.0.2.0/24");
        if head.version == Version::Http11 {
            prop_assert_eq!(first.escape_ascii().to_string(), second.escape_ascii().to_string());
        }
        let third = write(&read(&second).expect("what is written is understood"), "192.0.2.0/24");
        prop_assert_eq!(third.escape_ascii().to_string(), second.escape_ascii().to_string());
    }

    /// I1: however it is dressed up, and in whatever company.
    #[test]
    fn no_claim_of_identity_gets_through(bytes in requests()) {
        let head = read(bytes.as_bytes());
        prop_assume!(head.is_ok());
        let head = head.unwrap();
        let names = IDENTITY.map(str::to_lowercase);
        let out = write(&head, "192.0.2.0/24");
        let text = String::from_utf8_lossy(&out).into_owned();
        for line in text.lines().filter(|line| line.ends_with(SPOOFED)) {
            let name = line.split(':').next().unwrap_or_default().to_lowercase();
            prop_assert!(!names.contains(&name), "{}", line);
        }
    }

    #[test]
    fn a_request_through_a_trusted_proxy_means_the_same(bytes in requests()) {
        let head = read(bytes.as_bytes());
        prop_assume!(head.is_ok());
        let head = head.unwrap();
        let written = write(&head, "10.0.0.0/8");
        let again = read(&written).expect("what is written is understood");
        prop_assert_eq!(meaning(&again), meaning(&head));
        prop_assert_eq!(again.values(FieldName::XForwardedFor).count(), 1);
        prop_assert_eq!(again.values(FieldName::Host).count(), 1);
    }

    #[test]
    fn an_answer_that_was_written_is_written_the_same_again(bytes in responses(), is_head in any::<bool>()) {
        let asked = if is_head { Method::Head } else { Method::Get };
        let first = passed_on(bytes.as_bytes(), asked);
        prop_assume!(first.is_ok());
        let first = first.unwrap();
        let second = passed_on(&first, asked).expect("what is written is understood");
        prop_assert_eq!(second.escape_ascii().to_string(), first.escape_ascii().to_string());
    }
}
