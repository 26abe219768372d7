//! The `http` probe: sends a request and looks at the status, and at the body where the check says so. Over HTTP/1.1 it is a minimal
//! client that reads no more than it needs, so that health does not depend on the engine that carries requests. It follows no
//! redirect, and its connection carries one request.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{
    Check, Outcome, ProbeError, ProbeMethod, Running, StatusRange, USER_AGENT, dial, http_body, http2, within,
};
use crate::backend::{Backend, Scheme};
use crate::clock;
use crate::http1::{expects_tls, is_tls_alert};
use crate::http2::is_begin_of_server;
use crate::net::Stream;

/// Maximum number of bytes read up to the end of the final status line, including interim responses.
const MAX_HEAD: usize = 8 << 10;

/// Maximum number of bytes read of the rest of the response. Closing a socket with unread bytes resets the connection, which
/// backends log as an error.
const MAX_REST: u64 = 64 << 10;

/// Maximum time for reading the rest of the response, for which the result waits.
const REST_TIMEOUT: Duration = Duration::from_millis(100);

/// The healthy statuses if only a path is configured.
const WITH_PATH: &[StatusRange] = &[StatusRange { from: 200, to: 399 }];

/// The healthy statuses if not even a path is configured: an API that responds 404 on `/` is healthy.
const WITHOUT_PATH: &[StatusRange] = &[StatusRange { from: 100, to: 499 }];

/// Succeeds when the status of the response is healthy.
pub(super) fn run<'a>(backend: &'a Backend, check: &'a Check) -> Running<'a> {
    Box::pin(get(backend, check))
}

async fn get(backend: &Backend, check: &Check) -> Outcome {
    let started = clock::now();
    let path = check.path.as_deref();
    let default = if path.is_some() { WITH_PATH } else { WITHOUT_PATH };
    let healthy = check.status.as_deref().unwrap_or(default);
    let _unanswered = backend.wait_on_new();
    match within(check, round_trip(backend, check, path.unwrap_or("/"))).await {
        Ok(response) => {
            let outcome = Outcome::new(started, judge(&response, check, healthy));
            if let Some(stream) = response.rest {
                read_rest(stream).await;
            }
            outcome
        }
        Err(error) => Outcome::new(started, Err(error)),
    }
}

/// What a probe has read of a response.
struct Response {
    status: u16,
    /// Whether it says that the backend expects TLS.
    is_for_tls: bool,
    /// The body, where the check looks at it.
    body: Vec<u8>,
    /// The connection, if the response was not read to its end.
    rest: Option<Stream>,
}

fn judge(response: &Response, check: &Check, healthy: &[StatusRange]) -> Result<Option<u16>, ProbeError> {
    let status = response.status;
    let is_healthy = healthy
        .iter()
        .any(|range| (range.from..=range.to).contains(&status));
    let has_body = || check.body.as_ref().is_none_or(|body| body.is_in(&response.body));
    match is_healthy {
        false if response.is_for_tls => Err(ProbeError::StatusOfTls(status)),
        false => Err(ProbeError::Status(status)),
        true if !has_body() => Err(ProbeError::Body(status)),
        true => Ok(Some(status)),
    }
}

/// Connects, sends the request and reads the response as far as the check needs it, in the protocol of the backend.
async fn round_trip(backend: &Backend, check: &Check, path: &str) -> Result<Response, ProbeError> {
    let mut stream = dial(backend, check).await?;
    let authority = check.host.clone().unwrap_or_else(|| backend.address.authority());
    if stream.speaks_http2() || backend.address.scheme == Scheme::H2c {
        let headers = check.headers.iter();
        let headers: Vec<_> = headers.map(|(name, value)| (&**name, &**value)).collect();
        let request = http2::Request {
            method: check.method.name(),
            path,
            authority: &authority,
            headers: &headers,
        };
        let response = http2::round_trip(stream, request, Vec::new()).await?;
        return Ok(Response {
            status: response.head.status,
            is_for_tls: false,
            body: response.body,
            rest: None,
        });
    }
    stream
        .write_all(request(check, path, &authority).as_bytes())
        .await?;
    let mut bytes = Vec::with_capacity(1 << 10);
    let status = read_status(&mut stream, &mut bytes).await?;
    let is_for_tls = status == 400 && stream.is_plain() && expects_tls(&bytes);
    let body = match check.body {
        Some(_) => http_body::read(&mut stream, bytes, status).await?,
        None => Vec::new(),
    };
    Ok(Response {
        status,
        is_for_tls,
        body,
        rest: Some(stream),
    })
}

fn request(check: &Check, path: &str, authority: &str) -> String {
    let method = check.method.name();
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {authority}\r\n");
    let mut has_agent = false;
    for (name, value) in &check.headers {
        has_agent |= name.eq_ignore_ascii_case("user-agent");
        request.extend([name, ": ", value, "\r\n"]);
    }
    if !has_agent {
        request.extend(["User-Agent: ", USER_AGENT, "\r\n"]);
    }
    if check.method == ProbeMethod::Post {
        request.push_str("Content-Length: 0\r\n");
    }
    request.push_str("Connection: close\r\n\r\n");
    request
}

/// Reads until the final status is known. What was read stays in `bytes`.
async fn read_status(stream: &mut Stream, bytes: &mut Vec<u8>) -> Result<u16, ProbeError> {
    while bytes.len() < MAX_HEAD {
        if stream.read_buf(bytes).await? == 0 {
            return Err(ProbeError::Closed);
        }
        // With TLS, ALPN would have negotiated HTTP/2.
        if stream.is_plain() && is_begin_of_server(bytes) {
            return Err(ProbeError::Http2);
        }
        if stream.is_plain() && is_tls_alert(bytes) {
            return Err(ProbeError::Tls);
        }
        if let Some(status) = final_status(bytes)? {
            return Ok(status);
        }
    }
    Err(ProbeError::Malformed)
}

/// The status of the first response that is not interim; `None` if it is not complete yet. 101 is an error, because the probe
/// requested no upgrade.
fn final_status(mut bytes: &[u8]) -> Result<Option<u16>, ProbeError> {
    loop {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            return Ok(None);
        };
        let line = bytes.get(..end).and_then(|line| line.strip_suffix(b"\r"));
        match line.and_then(status_of).ok_or(ProbeError::Malformed)? {
            101 => return Err(ProbeError::Malformed),
            // RFC 9110 §15.2: any number of interim responses may precede the final one.
            100..=199 => {}
            status => return Ok(Some(status)),
        }
        let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
            return Ok(None);
        };
        bytes = bytes.get(end + 4..).unwrap_or_default();
    }
}

/// The status of a status line without its end (RFC 9112 §4). Without a reason, the space before it may be missing too.
fn status_of(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let (minor, rest) = rest.split_first()?;
    let (digits, reason) = rest.strip_prefix(b" ")?.split_at_checked(3)?;
    let is_number = minor.is_ascii_digit() && digits.iter().all(u8::is_ascii_digit);
    let is_reason = reason.is_empty() || reason.starts_with(b" ");
    let is_text = reason
        .iter()
        .all(|byte| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f);
    if !(is_number && is_reason && is_text) {
        return None;
    }
    let status = digits
        .iter()
        .fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    (100..=599).contains(&status).then_some(status)
}

/// Reads the rest of a short response, so that closing does not reset the connection. The result does not depend on it.
async fn read_rest(stream: Stream) {
    let mut rest = stream.take(MAX_REST);
    let _ = timeout(REST_TIMEOUT, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(bytes: &str) -> Option<u16> {
        final_status(bytes.as_bytes()).unwrap()
    }

    #[test]
    fn reads_the_final_status() {
        assert_eq!(status("HTTP/1.1 200 OK\r\n"), Some(200));
        assert_eq!(status("HTTP/1.0 204\r\nX: y\r\n\r\n"), Some(204));
        assert_eq!(
            status("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 \r\nLink: x\r\n\r\nHTTP/1.1 404 no\r\n"),
            Some(404)
        );
    }

    #[test]
    fn waits_for_the_whole_line() {
        let whole = "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n";
        for end in 0..whole.len() {
            assert_eq!(status(&whole[..end]), None, "{end}");
        }
    }

    #[test]
    fn refuses_invalid_status_lines() {
        for bytes in [
            "HTTP/1.1 200 OK\n",
            "HTTP/2 200\r\n",
            "HTTP/1.1 20\r\n",
            "HTTP/1.1 2000\r\n",
            "HTTP/1.1 +20 OK\r\n",
            "HTTP/1.1 099 no\r\n",
            "HTTP/1.1 600 no\r\n",
            "HTTP/1.1  200 OK\r\n",
            "http/1.1 200 OK\r\n",
            "HTTP/1.1 200 a\rb\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "SSH-2.0-x\r\n",
            "\r\nHTTP/1.1 200 OK\r\n",
        ] {
            assert!(
                matches!(final_status(bytes.as_bytes()), Err(ProbeError::Malformed)),
                "{bytes:?}"
            );
        }
    }
}
