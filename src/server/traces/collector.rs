//! One export to a collector: a POST over HTTP/1.1, or a unary gRPC call over HTTP/2. Each has a connection of its own, since there is at
//! most one at a time and usually one a second.

use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Request, Response, Uri};

use crate::http2::{self, HeadFields, RoundTrip};
use crate::server::feeds::{AGENT, FetchError, Fetcher};
use crate::telemetry::trace::{Protocol, Settings, encode_request, rejected_spans};
use crate::tls::Offer;

/// Maximum size of the body of a response, which says at most what was refused.
const RESPONSE_BOUND: usize = 64 << 10;

/// Maximum number of bytes of a collector's explanation that are logged.
const MESSAGE_BOUND: usize = 256;

/// Statuses of HTTP after which an export is sent again (OTLP specification, "Failures").
const RETRYABLE: [u16; 4] = [429, 502, 503, 504];

/// Statuses of gRPC after which an export is sent again (OTLP specification, "Failures"): CANCELLED, DEADLINE_EXCEEDED, ABORTED,
/// OUT_OF_RANGE, UNAVAILABLE and DATA_LOSS.
const RETRYABLE_GRPC: [u32; 6] = [1, 4, 10, 11, 14, 15];

/// Sends exports.
#[derive(Debug, Default)]
pub(super) struct Collector {
    fetcher: Fetcher,
}

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError {
    /// There was no response.
    #[error(transparent)]
    Unreachable(#[from] FetchError),
    /// A response that is no success.
    #[error("status {status}{message}")]
    Status {
        status: u16,
        /// What the collector says, after a colon.
        message: String,
        retry_after: Duration,
    },
    /// The same of gRPC.
    #[error("gRPC status {status}{message}")]
    Grpc { status: u32, message: String },
    /// A response that is none of gRPC.
    #[error("not a gRPC response: HTTP status {0}")]
    NotGrpc(u16),
}

impl ExportError {
    /// How long the collector asks to wait before the export is sent again; `None` if it must not be sent again.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unreachable(_) => Some(Duration::ZERO),
            Self::Status {
                status, retry_after, ..
            } => RETRYABLE.contains(status).then_some(*retry_after),
            Self::Grpc { status, .. } => RETRYABLE_GRPC.contains(status).then_some(Duration::ZERO),
            Self::NotGrpc(status) => RETRYABLE.contains(status).then_some(Duration::ZERO),
        }
    }
}

impl Collector {
    /// Sends encoded spans. Returns how many of them the collector refused.
    ///
    /// # Errors
    /// [`ExportError`]: the collector has taken none.
    pub(super) async fn send(&self, settings: &Settings, spans: &[u8]) -> Result<u64, ExportError> {
        let message = encode_request(&settings.service_name, env!("CARGO_PKG_VERSION"), spans);
        match settings.endpoint.protocol {
            Protocol::Http => self.post(settings, message).await,
            Protocol::Grpc => self.call(settings, &message).await,
        }
    }

    async fn post(&self, settings: &Settings, message: Vec<u8>) -> Result<u64, ExportError> {
        let mut request = Request::post(&settings.endpoint.target);
        for (name, value) in &settings.headers {
            // A checked config has no others.
            let name = HeaderName::from_bytes(name.as_bytes());
            if let (Ok(name), Ok(mut value)) = (name, HeaderValue::from_str(value)) {
                value.set_sensitive(true);
                request = request.header(name, value);
            }
        }
        let request = request
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(Full::new(Bytes::from(message)))
            .map_err(|_| FetchError::Url)?;
        let response = self.fetcher.send(request, |_| Ok(()), RESPONSE_BOUND).await?;
        let status = response.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(rejected_spans(response.body()));
        }
        Err(ExportError::Status {
            status,
            message: explanation(response.body()),
            retry_after: retry_after(&response),
        })
    }

    async fn call(&self, settings: &Settings, message: &[u8]) -> Result<u64, ExportError> {
        let uri: Uri = settings.endpoint.target.parse().map_err(|_| FetchError::Url)?;
        let head = call_head(&uri, settings);
        let body = framed(message);
        let called = self.fetcher.bounded(async {
            let stream = self.fetcher.connect(&uri, Offer::Both).await?;
            let response = http2::round_trip(stream, head, body).await;
            response.map_err(|error| FetchError::Http(error.to_string()))
        });
        read_call(&called.await?)
    }
}

/// The head of the call, without headers that only HTTP/1.1 has.
fn call_head(uri: &Uri, settings: &Settings) -> HeadFields {
    let mut head = HeadFields::default();
    head.add(b":method", b"POST");
    head.add(b":scheme", uri.scheme_str().unwrap_or("http").as_bytes());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    head.add(b":authority", authority.as_bytes());
    head.add(b":path", uri.path().as_bytes());
    for (name, value) in &settings.headers {
        // RFC 9113 section 8.2: names are in lower case.
        head.add(name.to_ascii_lowercase().as_bytes(), value.as_bytes());
    }
    head.add(b"user-agent", AGENT.as_bytes());
    head.add(b"content-type", b"application/grpc");
    head.add(b"te", b"trailers");
    head
}

/// A message of gRPC: a flag for "not compressed", its length, and its content.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), message].concat()
}

/// The result of a call. Returns how many spans the collector refused.
fn read_call(response: &RoundTrip) -> Result<u64, ExportError> {
    let status = response.trailer("grpc-status");
    let status = status.and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
    match status {
        None => Err(ExportError::NotGrpc(response.head.status)),
        // The five bytes before the message are its flag and length.
        Some(0) => Ok(rejected_spans(response.body.get(5..).unwrap_or_default())),
        Some(status) => Err(ExportError::Grpc {
            status,
            message: explanation(response.trailer("grpc-message").unwrap_or_default()),
        }),
    }
}

/// The seconds of `Retry-After`; a date counts as none.
fn retry_after(response: &Response<Bytes>) -> Duration {
    let value = response.headers().get(RETRY_AFTER);
    let seconds = value.and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

/// What a collector says, as a part of a log line: only its printable characters, and not all of a long text. A Protocol Buffers `Status`
/// shows its text that way too.
fn explanation(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..MESSAGE_BOUND).unwrap_or(body));
    let is_shown = |c: &char| !c.is_control() && *c != char::REPLACEMENT_CHARACTER;
    let text: String = text.chars().filter(is_shown).collect();
    match text.trim() {
        "" => String::new(),
        text => format!(": {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(trailers: &str, lines: &str, body: &[u8]) -> RoundTrip {
        let mut response = RoundTrip {
            lines: lines.as_bytes().to_vec(),
            body: body.to_vec(),
            trailers: trailers.as_bytes().to_vec(),
            ..RoundTrip::default()
        };
        response.head.status = 200;
        response
    }

    #[test]
    fn the_status_of_a_call_says_whether_it_is_sent_again() {
        let accepted = read_call(&response("grpc-status: 0\r\n", "", b"\0\0\0\0\0"));
        assert_eq!(accepted.unwrap(), 0);
        let partly = read_call(&response(
            "grpc-status: 0\r\n",
            "",
            b"\0\0\0\0\x04\x0a\x02\x08\x05",
        ));
        assert_eq!(partly.unwrap(), 5);
        let away = read_call(&response("", "grpc-status: 14\r\ngrpc-message: later\r\n", b"")).unwrap_err();
        assert_eq!(away.to_string(), "gRPC status 14: later");
        assert!(away.retry_after().is_some());
        let refused = read_call(&response("grpc-status: 16\r\n", "", b"")).unwrap_err();
        assert!(refused.retry_after().is_none());
        let none = read_call(&response("", "", b"")).unwrap_err();
        assert_eq!(none.to_string(), "not a gRPC response: HTTP status 200");
        assert!(none.retry_after().is_none());
    }

    #[test]
    fn an_explanation_is_short_and_printable() {
        assert_eq!(explanation(b""), "");
        assert_eq!(explanation(b"\x08\x03\x12\x09bad spans\n"), ": bad spans");
        assert_eq!(explanation(b"\xff\x1b[31mred"), ": [31mred");
        assert!(explanation(&[b'a'; 10_000]).len() < MESSAGE_BOUND + 10);
    }

    #[test]
    fn a_message_of_a_call_has_its_length_before_it() {
        assert_eq!(framed(b"abc"), b"\0\0\0\0\x03abc");
    }
}
