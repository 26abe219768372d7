//! Ordinary requests of browsers and programs are accepted and arrive as they were sent.

use crate::support::{Backend, Gate, Proxy, Response};

const CHROME: &str = "Connection: keep-alive\r\nCache-Control: max-age=0\r\n\
    sec-ch-ua: \"Chromium\";v=\"126\", \"Not)A;Brand\";v=\"24\", \"Google Chrome\";v=\"126\"\r\nsec-ch-ua-mobile: ?0\r\n\
    sec-ch-ua-platform: \"Windows\"\r\nUpgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 \
    Safari/537.36\r\nAccept: text/html,application/xhtml+xml,image/avif,*/*;q=0.8\r\nSec-Fetch-Site: none\r\n\
    Sec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7\r\n";

const FIREFOX: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nDNT: 1\r\nSec-GPC: 1\r\nConnection: keep-alive\r\nPriority: u=0, i\r\n\
    TE: trailers\r\nIf-None-Match: W/\"a-b\"\r\nPragma: no-cache\r\n";

const SAFARI: &str = "User-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, \
    like Gecko) Version/17.5 Mobile/15E148 Safari/604.1\r\nAccept: */*\r\nX-Requested-With: XMLHttpRequest\r\n\
    Origin: https://example.test\r\nReferer: https://example.test/a?b=c#\r\nAuthorization: Bearer a.b-c_d~e+f/g==\r\n";

/// Sends a request with these headers, and compares each that does not concern the connection with what the backend
/// received.
fn assert_arrives(target: &str, fields: &str) {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend]).start();
    let mut client = proxy.client();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
    let received = client.read();
    assert_eq!(received.status(), 200, "{}", received.text());
    let request =
        backend.wait_for_request(|request| request.head.contains("Via") || request.head.contains("via"));
    assert_eq!(request.start(), format!("GET {target}"));
    let lower = request.head.to_lowercase();
    for line in fields.lines() {
        let (name, _) = line.split_once(':').expect("a field has a name");
        if matches!(name, "Connection" | "TE") {
            continue;
        }
        assert!(
            lower.contains(&line.to_lowercase()),
            "{line}\nis not in\n{}",
            request.head
        );
    }
}

#[test]
fn browsers_are_served() {
    assert_arrives("/", CHROME);
    assert_arrives("/a%20b/%C3%BC?q=%F0%9F%98%80&utm_source=x", FIREFOX);
    assert_arrives("/app/main.abc123.js?v=1", SAFARI);
}

#[test]
fn long_cookies_and_tokens_pass() {
    let cookie: String = (0..80).map(|at| format!("c{at}={}; ", "v".repeat(95))).collect();
    assert!(cookie.len() > 8000);
    assert_arrives("/", &format!("Cookie: {}\r\n", cookie.trim_end_matches("; ")));
    assert_arrives("/", &format!("Authorization: Bearer {}\r\n", "a".repeat(12_000)));
}

#[test]
fn long_queries_and_odd_bytes_of_targets_pass() {
    assert_arrives(&format!("/search?q={}", "a".repeat(8000)), "");
    assert_arrives(
        "/a;b=c/d,e/f:g@h/!$&'()*+=~-_.?a[]=1&b={\"c\":[1,2]}&d=x|y^z`w&e=/?:@",
        "",
    );
    assert_arrives("/a/?", "");
    assert_arrives("/x?a=http://other.test/%2F..%2f", "");
}

#[test]
fn unusual_legal_headers_pass() {
    let fields = "x!#$%&'*+-.^`|~9: token\r\nX-Empty:\r\nX-Colon: a:b::c\r\nX-Quotes: \"a, b\";c=\"\\\"\"\r\n\
        X-Tab: a\tb\r\nCookie: a=b; c=d\r\nCookie: e=f\r\nAccept-Encoding: identity;q=1, *;q=0\r\n\
        Content-Disposition: attachment; filename=\"Übersicht €.pdf\"; filename*=UTF-8''%C3%9C.pdf\r\n\
        traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
        X-Long-Name-Of-A-Field-That-Nobody-Would-Want-To-Write-But-Somebody-Does: 1\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\n\
        If-Modified-Since: Sat, 29 Oct 1994 19:43:31 GMT\r\nRange: bytes=0-0, -1\r\nFrom: a@b.test\r\nMax-Forwards: 5\r\n";
    assert_arrives("/", fields);
}

#[test]
fn many_headers_pass() {
    let fields: String = (0..80).map(|at| format!("X-Field-{at}: {at}\r\n")).collect();
    assert_arrives("/", &fields);
}

#[test]
fn bytes_above_127_in_values_pass() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend]).start();
    let mut client = proxy.client();
    client.send(b"GET /x HTTP/1.1\r\nHost: test\r\nX-Latin: \xfcber\r\n\r\n");
    assert_eq!(client.read().status(), 200);
    let request = backend.wait_for_request(|request| request.start() == "GET /x");
    assert_eq!(request.field("x-latin"), Some("\u{fffd}ber"));
}

#[test]
fn all_methods_pass() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend]).start();
    let mut client = proxy.client();
    let methods = [
        "GET", "OPTIONS", "DELETE", "PATCH", "PROPFIND", "REPORT", "M-SEARCH", "QUERY", "PURGE", "get", "x",
    ];
    for method in methods {
        client.send(format!("{method} /{method} HTTP/1.1\r\nHost: test\r\n\r\n"));
        assert_eq!(client.read().status(), 200, "{method}");
        let start = format!("{method} /{method}");
        backend.wait_for_request(|request| request.start() == start);
    }
}

#[test]
fn hosts_pass_as_they_were_written() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend]).start();
    let mut client = proxy.client();
    let hosts = [
        "localhost",
        "127.0.0.1:8080",
        "[::1]",
        "[::1]:80",
        "EXAMPLE.test.",
        "a_b.example.test",
        "xn--bcher-kva.example",
        "1.2.3",
        "a-.b",
    ];
    for (number, host) in hosts.into_iter().enumerate() {
        client.send(format!("GET /{number} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.read().status(), 200, "{host}");
        let start = format!("GET /{number}");
        let request = backend.wait_for_request(|request| request.start() == start);
        assert_eq!(request.field("host"), Some(host));
    }
}

#[test]
fn a_half_closed_client_gets_its_response() {
    let backend = Backend::start(|_| Response::echo());
    let proxy = Proxy::before(&[&backend]).start();
    let mut client = proxy.client();
    let body = "b".repeat(100_000);
    let length = body.len();
    client
        .send(format!(
            "POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
        .finish_sending();
    let received = client.read();
    assert_eq!((received.status(), received.body.len()), (200, length));
    assert!(client.read_to_end().is_empty());
    assert_eq!(proxy.access_line("/x")["status"], 200);
}

#[test]
fn a_slow_response_reaches_a_half_closed_client() {
    let gate = Gate::default();
    let response = Response::ok("late").after(&gate);
    let backend = Backend::start(move |request| match request.start() {
        "GET /x" => response.clone(),
        _ => Response::ok(""),
    });
    let proxy = Proxy::before(&[&backend]).start();
    let mut client = proxy.client();
    client
        .send("GET /x HTTP/1.1\r\nHost: test\r\n\r\n")
        .finish_sending();
    backend.wait_for_request(|request| request.start() == "GET /x");
    gate.open();
    assert_eq!(client.read().text(), "late");
    assert!(client.read_to_end().is_empty());
}

#[test]
fn the_directions_of_a_tunnel_end_independently() {
    let switch = "HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let gate = Gate::default();
    let response = Response::raw(switch).finish_sending();
    let late = Response::raw(switch).wait(&gate).send("late");
    let backend = Backend::start(move |request| match request.start() {
        "GET /ends" => response.clone(),
        "GET /waits" => late.clone(),
        _ => Response::ok(""),
    });
    let proxy = Proxy::before(&[&backend]).start();
    let upgrade = |path: &str| {
        let mut client = proxy.client();
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        ));
        assert_eq!(client.read().status(), 101);
        client
    };
    // The backend closes its sending side; the client's bytes still arrive, here as the next request of the connection.
    let mut client = upgrade("/ends");
    assert!(client.read_to_end().is_empty());
    client.send("GET /after HTTP/1.1\r\nHost: test\r\n\r\n");
    backend.wait_for_request(|request| request.start() == "GET /after");
    // The client closes its sending side; the backend's bytes still arrive.
    let mut client = upgrade("/waits");
    client.finish_sending();
    gate.open();
    assert_eq!(client.read_to_end(), b"late");
}
