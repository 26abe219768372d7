//! Requests that are refused before they reach a backend (RFC 9112).

use crate::support::{Backend, Proxy};

/// Sends `bytes` and expects `status`, a closed connection, a log line, and no request at the backend.
#[track_caller]
fn refused(bytes: &str, status: u16) {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend])
        .config("health_check: { kind: none }")
        .start();
    let mut client = proxy.client();
    // Bytes after the refused request must never be parsed as another one.
    client.send(format!("{bytes}GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"));
    let received = client.read();
    assert_eq!(received.status(), status, "{bytes:?}");
    assert_eq!(received.field("connection"), Some("close"), "{bytes:?}");
    client.read_to_end();
    assert_eq!(proxy.access_lines(1)[0]["status"], status, "{bytes:?}");
    assert_eq!(backend.requests(|_| true).len(), 0, "{bytes:?}");
    assert_eq!(backend.connections(), 0, "{bytes:?}");
}

#[test]
fn conflicting_framing_is_refused() {
    refused(
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    );
    refused(
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n",
        400,
    );
}

#[test]
fn invalid_lengths_and_codings_are_refused() {
    for length in ["+5", "-1", "0x5", "5, 6", "", "99999999999999999999"] {
        let head = format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n");
        refused(&head, 400);
    }
    refused(
        "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: xchunked\r\n\r\n",
        501,
    );
    refused(
        "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        400,
    );
}

/// RFC 9110 §5.6.3: bad white space must be accepted.
#[test]
fn white_space_in_chunk_extensions_is_accepted_and_dropped() {
    let backend = Backend::saying("a");
    let proxy = Proxy::before(&[&backend])
        .config("health_check: { kind: none }")
        .start();
    let mut client = proxy.client();
    let chunks = ["5 ;a", "5;\t\ta", "5 \t; a = \"b c\" ;\td\t=\te"];
    for chunk in chunks {
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}\r\nhello\r\n0 ;z\r\n\r\n"
        ));
        assert_eq!(client.read().text(), "a", "{chunk:?}");
    }
    let requests = backend.requests(|_| true);
    assert_eq!(requests.len(), chunks.len());
    for request in requests {
        assert_eq!(request.body, b"hello");
        let raw = String::from_utf8_lossy(&request.raw_body).into_owned();
        assert!(!raw.contains([' ', '\t', ';']), "{raw:?}");
    }
}

/// Recipients disagree whether it is a valid size, and no client needs it.
#[test]
fn a_client_must_not_pad_chunk_sizes() {
    for line in [
        "5 ",
        "5  ",
        "5\t",
        "5;a ",
        "5;a=b ",
        "5; ",
        "5;a= ",
        "5;a=\"b\" ",
        "5 5",
        " 5",
    ] {
        let backend = Backend::saying("");
        let proxy = Proxy::before(&[&backend])
            .config("health_check: { kind: none }")
            .start();
        let mut client = proxy.client();
        client.send(format!(
            "POST /x HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{line}\r\nhello\r\n0\r\n\r\n"
        ));
        assert_eq!(client.read().status(), 400, "{line:?}");
        client.read_to_end();
    }
}

#[test]
fn ambiguous_line_ends_and_names_are_refused() {
    refused("GET / HTTP/1.1\nHost: test\r\n\r\n", 400);
    refused("GET / HTTP/1.1\r\nHost: test\r\nA: b\nC: d\r\n\r\n", 400);
    refused("GET / HTTP/1.1\r\nHost: test\r\nA: b\rC: d\r\n\r\n", 400);
    refused("GET / HTTP/1.1\r\nHost: test\r\nA : b\r\n\r\n", 400);
    refused("GET / HTTP/1.1\r\nHost: test\r\nA: b\r\n c\r\n\r\n", 400);
    refused("GET / HTTP/1.1\r\nHost: test\r\n: b\r\n\r\n", 400);
}

#[test]
fn requests_without_exactly_one_host_are_refused() {
    refused("GET / HTTP/1.1\r\n\r\n", 400);
    refused("GET / HTTP/1.1\r\nHost: test\r\nHost: test\r\n\r\n", 400);
    refused("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400);
}

#[test]
fn a_path_with_an_encoded_nul_is_refused() {
    refused("GET /a%00 HTTP/1.1\r\nHost: test\r\n\r\n", 400);
}

#[test]
fn a_slow_head_gets_408_and_never_reaches_a_backend() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend])
        .config("timeouts: { client_header: 200ms }\nhealth_check: { kind: none }")
        .start();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHos");
    assert_eq!(client.read().status(), 408);
    client.read_to_end();
    assert_eq!(backend.connections(), 0);
}

/// RFC 9110 §9.3.2: a client that sent HEAD would take the body for another response.
#[test]
fn a_refused_head_request_gets_a_response_without_a_body() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend])
        .config("health_check: { kind: none }")
        .start();
    for start in ["", "\r\n"] {
        let mut client = proxy.client();
        client.send(format!("{start}HEAD / HTTP/1.1\r\n\r\n"));
        let received = client.read_head();
        assert_eq!(received.status(), 400, "{start:?}");
        assert_eq!(client.read_to_end(), b"", "{start:?}");
    }
}

/// RFC 9112 §2.2: old clients send an empty line after a body. It is not a request, and not logged as one.
#[test]
fn an_empty_line_after_a_body_is_no_request() {
    let backend = Backend::saying("a");
    let proxy = Proxy::before(&[&backend])
        .config("health_check: { kind: none }")
        .start();
    let mut client = proxy.client();
    client.send("POST /once HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi\r\n");
    assert_eq!(client.read().text(), "a");
    client.finish_sending();
    assert!(client.read_to_end().is_empty());
    let mut other = proxy.client();
    other.send("POST /twice HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi\r\n");
    assert_eq!(other.read().text(), "a");
    assert_eq!(
        other.get("/again").text(),
        "a",
        "the next request is read behind it"
    );
    proxy.access_line("/again");
    let lines = proxy.access_lines(3);
    assert!(lines.iter().all(|line| line["status"] == 200), "{lines:?}");
    assert_eq!(lines.len(), 3);
}
