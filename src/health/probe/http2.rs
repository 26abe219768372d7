//! Requests of probes over HTTP/2: each on a new connection, which is closed after the response.

use super::{ProbeError, USER_AGENT};
use crate::http2::{self, HeadFields, RoundTrip, RoundTripError};
use crate::net::Stream;

/// A request without its body.
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) authority: &'a str,
    /// Names and values of further headers.
    pub(super) headers: &'a [(&'a str, &'a str)],
}

/// Sends a request with this body and reads the response.
pub(super) async fn round_trip(
    stream: Stream,
    request: Request<'_>,
    body: Vec<u8>,
) -> Result<RoundTrip, ProbeError> {
    let is_plain = stream.is_plain();
    http2::round_trip(stream, request.head(), body)
        .await
        .map_err(|error| match error {
            RoundTripError::Io(error) => ProbeError::Io(error),
            RoundTripError::NotHttp2 if is_plain => ProbeError::NotHttp2,
            RoundTripError::NotHttp2 => ProbeError::NotHttp2OverTls,
        })
}

impl Request<'_> {
    fn head(&self) -> HeadFields {
        let mut head = HeadFields::default();
        let own = [
            (":method", self.method),
            (":scheme", "http"),
            (":authority", self.authority),
            (":path", self.path),
        ];
        for (name, value) in own.iter().chain(self.headers) {
            // RFC 9113 section 8.2: names are in lower case.
            head.add(name.to_ascii_lowercase().as_bytes(), value.as_bytes());
        }
        if !self
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("user-agent"))
        {
            head.add(b"user-agent", USER_AGENT.as_bytes());
        }
        head
    }
}
