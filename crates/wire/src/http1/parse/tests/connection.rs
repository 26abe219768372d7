//! Tests of the request fields that concern the connection: `Expect`, `Connection`, `Upgrade`.

use super::{accepted, get, post, refused};
use crate::head::BodyLength;
use crate::http1::Malformed;

/// F15; RFC 9110 §10.1.1.
#[test]
fn accepts_only_the_expectation_100_continue() {
    assert!(accepted(post("Expect: 100-Continue\r\nContent-Length: 1\r\n")).expects_continue);
    assert!(accepted(post("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n")).expects_continue);
    assert!(!accepted(post("Expect: 100-continue\r\nContent-Length: 0\r\n")).expects_continue);
    assert!(!accepted(get("Expect: 100-continue\r\n")).expects_continue);
    for lines in [
        "Expect: y 100-continue\r\n",
        "Expect: 100-continue, x\r\n",
        "Expect: x\r\n",
        "Expect: ,\r\n",
        "Expect:\r\nExpect: x\r\n",
        "Expect: 100-continue;q=1\r\n",
        "Expect: 100-continue\r\nExpect: 100-continue\r\n",
        "Expect: x\r\nExpect: 100-continue\r\n",
    ] {
        let reason = refused(post(&format!("{lines}Content-Length: 1\r\n")));
        assert_eq!(
            (reason, reason.status()),
            (Malformed::UnknownExpectation, 417),
            "{lines:?}"
        );
    }
    // An empty value contains no expectation.
    for (lines, expected) in [
        ("Expect:\r\n", false),
        ("Expect: \t\r\n", false),
        ("Expect:\r\nExpect:\r\n", false),
        ("Expect:\r\nExpect: 100-continue\r\n", true),
        ("Expect: 100-continue\r\nExpect:\r\n", true),
    ] {
        let head = accepted(post(&format!("{lines}Content-Length: 1\r\n")));
        assert_eq!(head.expects_continue, expected, "{lines:?}");
    }
    for value in ["100-continue", "x"] {
        let head = accepted(format!(
            "POST / HTTP/1.0\r\nExpect: {value}\r\nContent-Length: 1\r\n\r\n"
        ));
        assert!(!head.expects_continue, "{value}");
    }
}

/// RFC 9112 §9.3.
#[test]
fn keep_alive_follows_version_and_options() {
    for (version, lines, expected) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: x, Close\r\n", false),
        ("1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("1.1", "Connection: keep-alive, close\r\n", false),
        ("1.1", "Connection: close\t, ,\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.1", "Connection:\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive\r\nConnection: close\r\n", false),
    ] {
        let head = accepted(format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n"));
        assert_eq!(head.keep_alive, expected, "{version} {lines:?}");
    }
}

/// F11, I2; RFC 9110 §7.6.1.
#[test]
fn connection_options_do_not_remove_protected_fields() {
    let head = accepted(get(
        "Connection: close, X-Secret ,Transfer-Encoding,content-length, Host,X-Forwarded-For\r\nConnection: cookie, X_Real_IP, via\r\n",
    ));
    assert!(head.connection_lists);
    for name in ["X-Secret", "x-secret", "Cookie"] {
        assert!(head.connection_names(name.as_bytes()), "{name}");
    }
    for name in [
        "Transfer-Encoding",
        "Content-Length",
        "Host",
        "X-Forwarded-For",
        "X_Real_IP",
        "Via",
        "X-Other",
        "",
        "close,",
    ] {
        assert!(!head.connection_names(name.as_bytes()), "{name}");
    }
}

#[test]
fn usual_connection_options_need_no_search_of_the_fields() {
    for value in [
        "close",
        "keep-alive, Upgrade",
        "TE",
        "Upgrade, HTTP2-Settings",
        "Host, Content-Length",
        "X-Forwarded-For",
        "",
    ] {
        let head = accepted(get(&format!("Connection: {value}\r\n")));
        assert!(!head.connection_lists, "{value}");
    }
}

#[test]
fn refuses_connection_options_that_are_not_tokens_or_too_many() {
    for value in ["a b", "close;x", "\"close\"", "a=b", "clos\u{e9}"] {
        assert_eq!(
            refused(get(&format!("Connection: {value}\r\n"))),
            Malformed::BadConnection,
            "{value}"
        );
    }
    let lines = |count: usize| "Connection: a,b\r\n".repeat(count);
    assert!(accepted(get(&lines(16))).connection_lists);
    assert_eq!(refused(get(&lines(17))), Malformed::BadConnection);
}

/// F12, F13; RFC 9110 §7.8, RFC 6455 §4.1.
#[test]
fn only_a_valid_websocket_upgrade_is_recognised() {
    let token = |request: &str| {
        let head = accepted(request);
        head.upgrade
            .map(|token| String::from_utf8(head.text(token).to_vec()).unwrap())
    };
    let lines = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n";
    assert_eq!(token(&get(lines)).as_deref(), Some("WebSocket"));
    for other in [
        "Upgrade: websocket\r\n",
        "Connection: Upgrade\r\n",
        "Connection: upgrade\r\nUpgrade: foo\r\n",
        "Connection: upgrade\r\nUpgrade: websocket/13\r\n",
        "Connection: upgrade\r\nUpgrade: websocket, h2c\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n",
        "Connection: upgrade\r\nUpgrade: h2c\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
        "Connection: upgrade\r\nUpgrade:\r\n",
    ] {
        assert_eq!(token(&get(other)), None, "{other:?}");
    }
    assert_eq!(token(&post(lines)), None);
    assert_eq!(token(&format!("GET / HTTP/1.0\r\nHost: a\r\n{lines}\r\n")), None);
}

#[test]
fn refuses_an_upgrade_with_a_body() {
    let lines = "Connection: upgrade\r\nUpgrade: websocket\r\n";
    for framing in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        assert_eq!(
            refused(get(&format!("{lines}{framing}"))),
            Malformed::UpgradeWithBody,
            "{framing}"
        );
    }
    // A body of 0 bytes counts as no body.
    let head = accepted(get(&format!("{lines}Content-Length: 0\r\n")));
    assert_eq!((head.upgrade.is_some(), head.body), (true, BodyLength::None));
    // With an unsupported upgrade it is an ordinary request with a body.
    let head = accepted(get(
        "Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n",
    ));
    assert_eq!((head.upgrade, head.body), (None, BodyLength::Exact(5)));
}
