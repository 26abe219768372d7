//! The log names what exactly was wrong: which rule a message broke and where, which limit or timeout expired, and why
//! a backend could not be reached. The same faults are listed with an excerpt at `/api/v1/rejected`.

mod api;
mod backends;
mod requests;
mod responses;

use serde_json::Value;

use crate::support::{Backend, Builder, Proxy};

/// A balancer with one worker and no probes.
fn before(backends: &[&Backend], config: &str) -> Builder {
    Proxy::before(backends)
        .config("workers: 1\nhealth_check: { kind: none }\nretry: { attempts: 1 }")
        .config(config)
}

/// Sends bytes on a new connection and returns their log line.
fn refused(proxy: &Proxy, bytes: impl AsRef<[u8]>) -> Value {
    let mark = proxy.mark();
    let mut client = proxy.client();
    client.send(bytes);
    client.read();
    line_after(proxy, mark)
}

/// The first line of the access log after `mark`.
fn line_after(proxy: &Proxy, mark: usize) -> Value {
    proxy.wait_for_line_from(mark, |line| line["msg"] == "Request completed")
}

#[track_caller]
fn assert_says(line: &Value, error: &str, detail: &str) {
    assert_eq!(line["error"], error, "{line}");
    let said = line["detail"].as_str().unwrap_or_default();
    assert!(said.contains(detail), "{detail:?} is not in {line}");
}
