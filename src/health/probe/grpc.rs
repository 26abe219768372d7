//! The `grpc` probe: asks by `grpc.health.v1` over HTTP/2.

use super::http2::{self, Request};
use super::{Check, Outcome, ProbeError, Running, dial, within};
use crate::backend::Backend;
use crate::clock;

/// The status `SERVING` of `grpc.health.v1`.
const SERVING: u8 = 1;
/// Maximum length of a service name: its length is encoded in one byte.
const MAX_SERVICE: usize = 127;

/// Succeeds when the service reports `SERVING`.
pub(super) fn run<'a>(backend: &'a Backend, check: &'a Check) -> Running<'a> {
    Box::pin(async move {
        let started = clock::now();
        let result = within(check, call(backend, check)).await;
        Outcome::new(started, result.map(|()| None))
    })
}

async fn call(backend: &Backend, check: &Check) -> Result<(), ProbeError> {
    let stream = dial(backend, check).await?;
    let request = Request {
        method: "POST",
        path: "/grpc.health.v1.Health/Check",
        authority: &backend.address.authority(),
        headers: &[("content-type", "application/grpc"), ("te", "trailers")],
    };
    let response = http2::round_trip(stream, request, encode_request(&check.service)).await?;
    if response.head.status != 200 {
        return Err(ProbeError::Status(response.head.status));
    }
    match response.trailer("grpc-status") {
        Some(b"0") if decode_response(&response.body) == Some(SERVING) => Ok(()),
        Some(b"0") => Err(ProbeError::NotServing),
        Some(status) => Err(ProbeError::Grpc(String::from_utf8_lossy(status).into_owned())),
        None => Err(ProbeError::NoGrpcStatus),
    }
}

/// `HealthCheckRequest { service: string = 1 }` as a gRPC message: a flag for "not compressed", its length and its content.
fn encode_request(service: &str) -> Vec<u8> {
    let name = service
        .as_bytes()
        .get(..MAX_SERVICE)
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

/// The status in a gRPC message with `HealthCheckResponse { status: enum = 1 }`.
fn decode_response(body: &[u8]) -> Option<u8> {
    match body {
        [0, 0, 0, 0, 2, 0x08, status, ..] => Some(*status),
        // The default value of an enum is not encoded.
        [0, 0, 0, 0, 0, ..] => Some(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_and_decodes_the_health_protocol() {
        assert_eq!(encode_request(""), [0, 0, 0, 0, 0]);
        assert_eq!(encode_request("a.B"), b"\0\0\0\0\x05\x0a\x03a.B");
        assert_eq!(decode_response(b"\0\0\0\0\x02\x08\x01"), Some(SERVING));
        assert_eq!(decode_response(b"\0\0\0\0\x00"), Some(0));
        assert_eq!(decode_response(b"\0\0\0\0"), None);
    }
}
