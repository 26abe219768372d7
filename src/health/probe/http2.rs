//! Probes of backends that speak HTTP/2: the same GET as of others, or the question of gRPC's health protocol.

use super::ProbeError;
use crate::http2::{self, RoundTrip, RoundTripError};
use crate::net::Stream;

/// The state of a service that is well (`grpc.health.v1`).
const SERVING: u8 = 1;
/// Longest name of a service that is asked for: its length takes one byte.
const LONGEST_SERVICE: usize = 127;

/// Asks for a path; gives the status.
pub(super) async fn get(stream: Stream, path: &str, authority: &str) -> Result<u16, ProbeError> {
    let request = request("GET", path, authority, "");
    Ok(round_trip(stream, request, Vec::new()).await?.head.status)
}

/// Asks whether a service is well.
pub(super) async fn check(stream: Stream, service: &str, authority: &str) -> Result<(), ProbeError> {
    let fields = "content-type: application/grpc\r\nte: trailers\r\n";
    let request = request("POST", "/grpc.health.v1.Health/Check", authority, fields);
    let asked = round_trip(stream, request, question(service)).await?;
    if asked.head.status != 200 {
        return Err(ProbeError::Status(asked.head.status));
    }
    let status = grpc_status(&asked.trailers).or(grpc_status(&asked.lines));
    match status {
        Some(b"0") if response(&asked.body) == Some(SERVING) => Ok(()),
        Some(b"0") => Err(ProbeError::NotServing),
        Some(status) => Err(ProbeError::Grpc(String::from_utf8_lossy(status).into_owned())),
        None => Err(ProbeError::Malformed),
    }
}

/// The value of that field in lines.
fn grpc_status(lines: &[u8]) -> Option<&[u8]> {
    let mut lines = lines.split(|byte| *byte == b'\n');
    lines
        .find_map(|line| line.strip_prefix(b"grpc-status: "))
        .map(<[u8]>::trim_ascii)
}

/// The lines of a request's head.
fn request(method: &str, path: &str, authority: &str, fields: &str) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let head = format!(
        ":method: {method}\r\n:scheme: http\r\n:authority: {authority}\r\n:path: {path}\r\nuser-agent: evenkeel/{version}\r\n{fields}"
    );
    head.into_bytes()
}

async fn round_trip(stream: Stream, request: Vec<u8>, body: Vec<u8>) -> Result<RoundTrip, ProbeError> {
    http2::round_trip(stream, request, body)
        .await
        .map_err(|error| match error {
            RoundTripError::Io(error) => ProbeError::Io(error),
            RoundTripError::NotHttp2 => ProbeError::NotHttp2,
        })
}

/// `HealthCheckRequest { service: string = 1 }` as a message of gRPC: not compressed, and its length.
fn question(service: &str) -> Vec<u8> {
    let name = service
        .as_bytes()
        .get(..LONGEST_SERVICE)
        .unwrap_or(service.as_bytes());
    let mut message = Vec::new();
    if !name.is_empty() {
        message.extend_from_slice(&[0x0a, name.len() as u8]);
        message.extend_from_slice(name);
    }
    let mut bytes = vec![0, 0, 0, 0, message.len() as u8];
    bytes.append(&mut message);
    bytes
}

/// `HealthCheckResponse { status: enum = 1 }`.
fn response(body: &[u8]) -> Option<u8> {
    match body {
        [0, 0, 0, 0, 2, 0x08, status, ..] => Some(*status),
        // The default of an enum is not written.
        [0, 0, 0, 0, 0, ..] => Some(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_in_the_words_of_the_health_protocol() {
        assert_eq!(question(""), [0, 0, 0, 0, 0]);
        assert_eq!(question("a.B"), b"\0\0\0\0\x05\x0a\x03a.B");
        assert_eq!(response(b"\0\0\0\0\x02\x08\x01"), Some(SERVING));
        assert_eq!(response(b"\0\0\0\0\x00"), Some(0));
        assert_eq!(response(b"\0\0\0\0"), None);
    }
}
