//! The log cannot be forged (I8): whatever a client sends, and wherever, each request gets one line, that line is one
//! JSON object, and none of its bytes affects a terminal or log viewer. The test harness checks at the end that each
//! line of stdout is an object; these tests check the raw lines of a log file.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Backend, Proxy, Response};

/// The mark of a truncated value.
const CUT: &str = "…[truncated]";

/// A balancer with a log file and the largest possible limits.
struct Logged {
    proxy: Option<Proxy>,
    path: PathBuf,
    _backend: Backend,
}

impl Logged {
    fn start(name: &str) -> Self {
        let backend = Backend::start(|_| Response::ok(""));
        let path = std::env::temp_dir().join(format!("evenkeel-hostile-{}-{name}.log", std::process::id()));
        // Left over from an earlier process with the same id.
        drop(fs::remove_file(&path));
        let config = format!(
            "workers: 1\nhealth_check: {{ kind: none }}\ntrusted_proxies: [127.0.0.0/8]\n\
             limits: {{ head: 1MiB, line: 1MiB }}\naccess_log: {{ path: {}, query: true }}",
            path.display()
        );
        let proxy = Proxy::before(&[&backend]).config(&config).start();
        Self {
            proxy: Some(proxy),
            path,
            _backend: backend,
        }
    }

    /// Sends bytes on a new connection and waits for its end.
    fn ask(&self, bytes: &[u8]) {
        let proxy = self.proxy.as_ref().expect("it runs");
        let mut client = proxy.client();
        let sending = client.send_beside(bytes.to_vec());
        client.read();
        client.finish_sending();
        client.read_to_end();
        sending.join().expect("the bytes were sent, or not taken");
    }

    /// Stops the balancer and returns the raw log.
    fn raw(mut self) -> Vec<u8> {
        drop(self.proxy.take());
        let raw = fs::read(&self.path).expect("the log was written");
        drop(fs::remove_file(&self.path));
        raw
    }
}

/// Expects `count` lines, each an object without control or formatting characters; returns them.
#[track_caller]
fn checked(raw: &[u8], count: usize) -> Vec<Value> {
    let text = std::str::from_utf8(raw).expect("the log is UTF-8");
    assert!(text.ends_with('\n'), "the last line is whole");
    let acts = |character: char| {
        character.is_control()
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let lines: Vec<&str> = text.strip_suffix('\n').unwrap_or(text).split('\n').collect();
    assert_eq!(lines.len(), count, "{text}");
    lines
        .into_iter()
        .map(|line| {
            assert!(!line.contains(acts), "{}", line.escape_debug());
            let object: Value = serde_json::from_str(line).expect("a line is an object");
            assert_eq!(object["msg"], "Request completed", "{line}");
            object
        })
        .collect()
}

/// Bytes that might end a line or a string, or affect a log viewer.
const HOSTILE: [&[u8]; 12] = [
    b"\"}\n{\"msg\":\"Request completed\",\"path\":\"/forged\"}",
    b"a\r\n{\"msg\":\"Request completed\",\"path\":\"/forged\"}\r\n",
    b"\",\"status\":200,\"x\":\"",
    b"\\",
    b"\\\"",
    b"\x1b[2J\x1b]0;owned\x07",
    b"\0\x01\x08\x0b\x0c\x7f",
    "\u{202e}fdp.exe\u{2066}\u{200f}".as_bytes(),
    "\u{2028}\u{2029}\u{85}\u{9b}31m\u{feff}".as_bytes(),
    b"\xff\xfe\xc3\x28\xe2\x82\xf0\x9f\x92",
    b"\xed\xa0\x80\xc0\xaf\xf8\x88\x80\x80\x80",
    b"%0a%0d%22%5c%e2%80%ae",
];

/// Requests with `hostile` in each of their places.
fn requests(hostile: &[u8]) -> Vec<Vec<u8>> {
    let put = |before: &str, after: &str| [before.as_bytes(), hostile, after.as_bytes()].concat();
    let end = "\r\nConnection: close\r\n\r\n";
    vec![
        put("G", &format!(" / HTTP/1.1\r\nHost: test{end}")),
        put("GET /", &format!(" HTTP/1.1\r\nHost: test{end}")),
        put("GET /?", &format!(" HTTP/1.1\r\nHost: test{end}")),
        put("GET http://", &format!("/ HTTP/1.1\r\nHost: test{end}")),
        put("GET / HTTP/1.1\r\nHost: ", end),
        put("GET / HTTP/1.1\r\nHost: test\r\nX-Request-Id: a", end),
        put("GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: ", end),
        put("GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 1.1.1.1, ", end),
        put("GET / HTTP/1.1\r\nHost: test\r\nUser-Agent: ", end),
        put("GET / HTTP/1.1\r\nHost: test\r\nReferer: ", end),
        put("GET / HTTP/1.1\r\nHost: test\r\n", &format!(": x{end}")),
        put("GET / ", &format!("\r\nHost: test{end}")),
    ]
}

#[test]
fn hostile_bytes_anywhere_leave_one_harmless_line_each() {
    let logged = Logged::start("bytes");
    let all: Vec<Vec<u8>> = HOSTILE.iter().flat_map(|hostile| requests(hostile)).collect();
    for request in &all {
        logged.ask(request);
    }
    let lines = checked(&logged.raw(), all.len());
    assert!(lines.iter().all(|line| line["path"] != "/forged"), "{lines:#?}");
    let refused = lines.iter().filter(|line| line["path"].is_null()).count();
    assert!(
        refused > 0 && refused < lines.len(),
        "{refused} of {}",
        lines.len()
    );
    // Accepted values are logged as they are.
    let is_shown = |id: &str| lines.iter().any(|line| line["request_id"] == id);
    assert!(is_shown("a\u{202e}fdp.exe\u{2066}\u{200f}"), "{lines:#?}");
    assert!(is_shown("a\",\"status\":200,\"x\":\""), "{lines:#?}");
    assert!(is_shown("aÿþÃ(â\u{82}ð\u{9f}\u{92}"), "{lines:#?}");
}

/// Values as long as the largest limits allow, in every logged place.
#[test]
fn overlong_values_are_truncated_and_marked() {
    let logged = Logged::start("length");
    let long = "a".repeat(900_000);
    let end = "Connection: close\r\n\r\n";
    let ask = |start: &str, lines: &str| logged.ask(format!("{start}\r\n{lines}{end}").as_bytes());
    ask(&format!("GET /{long} HTTP/1.1"), "Host: test\r\n");
    ask(&format!("GET /short?{long} HTTP/1.1"), "Host: test\r\n");
    ask("GET /host HTTP/1.1", &format!("Host: {long}\r\n"));
    ask(
        "GET /id HTTP/1.1",
        &format!("Host: test\r\nX-Request-Id: {long}\r\n"),
    );
    ask(
        "GET /for HTTP/1.1",
        &format!("Host: test\r\nX-Forwarded-For: {long}, 1.1.1.1\r\n"),
    );
    ask(
        "GET /agent HTTP/1.1",
        &format!("Host: test\r\nUser-Agent: {long}\r\n"),
    );
    ask(&format!("{} /method HTTP/1.1", &long[..64]), "Host: test\r\n");
    let raw = logged.raw();
    let lines = checked(&raw, 7);
    let text = |line: usize, key: &str| lines[line][key].as_str().unwrap_or_default().to_owned();
    let path = text(0, "path");
    assert!(path.starts_with("/aaa") && path.ends_with(CUT), "{path}");
    let path = text(1, "path");
    assert!(path.starts_with("/short?aaa") && path.ends_with(CUT), "{path}");
    assert!(text(2, "host").ends_with(CUT), "{}", lines[2]);
    // An id of that length is invalid: it was replaced.
    assert_eq!(text(3, "request_id").len(), 32);
    assert_eq!(text(4, "client_ip"), "1.1.1.1");
    assert_eq!(text(6, "method"), &long[..64]);
    assert!(raw.len() < 16 << 10, "{} bytes for 6 MB of requests", raw.len());
}

/// Secrets in places that are not logged; those in a query are logged only if the operator enables it.
#[test]
fn secrets_are_in_no_line() {
    const SECRET: &str = "c2VjcmV0";
    let backend = Backend::start(|_| {
        Response::raw(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: s={SECRET}\r\nX-Token: {SECRET}\r\n\r\n"
        ))
    });
    let proxy = Proxy::before(&[&backend])
        .config("trusted_proxies: [127.0.0.0/8]\nhealth_check: { kind: none }")
        .start();
    for method in ["GET", "POST"] {
        let mut client = proxy.client();
        client.send(format!(
            "{method} /a?token={SECRET} HTTP/1.1\r\nHost: test\r\nAuthorization: Basic {SECRET}\r\n\
             Proxy-Authorization: Basic {SECRET}\r\nCookie: s={SECRET}\r\nReferer: http://test/?{SECRET}\r\n\
             Content-Length: 8\r\n\r\n{SECRET}"
        ));
        assert_eq!(client.read().status(), 200);
    }
    // And if the request is refused, before and after the wrong byte.
    let mut client = proxy.client();
    client.send(format!(
        "GET /?{SECRET} HTTP/1.1\r\nHost: test\r\nCookie: s={SECRET}\r\nA : b\r\nAuthorization: {SECRET}\r\n\r\n"
    ));
    assert_eq!(client.read().status(), 400);
    for line in proxy.access_lines(3) {
        assert!(!line.to_string().contains(SECRET), "{line}");
    }
}

/// Each client that sent a byte gets a line; a client that sent nothing gets none.
#[test]
fn a_client_that_sent_nothing_gets_no_line() {
    let backend = Backend::saying("");
    let proxy = Proxy::before(&[&backend])
        .config("workers: 1\nhealth_check: { kind: none }\ntimeouts: { client_header: 300ms }")
        .start();
    let silent = proxy.client();
    drop(silent);
    let mut idle = proxy.client();
    assert!(idle.read_to_end().is_empty(), "closed without a word");
    for bytes in ["G", "GET / HTTP/1.1\r\n", "\u{16}\u{3}\u{1}", "\r\n"] {
        let mut client = proxy.client();
        client.send(bytes).finish_sending();
        client.read_to_end();
    }
    assert_eq!(proxy.get("/last").status(), 200);
    proxy.access_line("/last");
    let lines = proxy.access_lines(5);
    assert_eq!(lines.len(), 5, "{lines:#?}");
    for (line, method) in lines.iter().zip([None, Some("GET"), None, None]) {
        assert_eq!(line["method"].as_str(), method, "{line}");
        assert!(line["error"].is_string(), "{line}");
    }
}
