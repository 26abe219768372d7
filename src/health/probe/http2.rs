//! Requests of probes over HTTP/2: each on a new connection, which is closed after the response.

use super::ProbeError;
use crate::http2::{self, RoundTrip, RoundTripError};
use crate::net::Stream;

/// A request without its body.
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) authority: &'a str,
    /// Lines of further headers, each with its end.
    pub(super) headers: &'a str,
}

/// Sends a request with this body and reads the response.
pub(super) async fn round_trip(
    stream: Stream,
    request: Request<'_>,
    body: Vec<u8>,
) -> Result<RoundTrip, ProbeError> {
    http2::round_trip(stream, request.lines(), body)
        .await
        .map_err(|error| match error {
            RoundTripError::Io(error) => ProbeError::Io(error),
            RoundTripError::NotHttp2 => ProbeError::NotHttp2,
        })
}

impl Request<'_> {
    fn lines(&self) -> Vec<u8> {
        let Self {
            method,
            path,
            authority,
            headers,
        } = self;
        let version = env!("CARGO_PKG_VERSION");
        let lines = format!(
            ":method: {method}\r\n:scheme: http\r\n:authority: {authority}\r\n:path: {path}\r\nuser-agent: evenkeel/{version}\r\n{headers}"
        );
        lines.into_bytes()
    }
}
