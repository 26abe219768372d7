//! What one request leaves in the access log.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::telemetry::Label;

/// Who asked, as far as it can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client<'a> {
    /// The other end of the connection, or what a trusted PROXY header said, with its port.
    Direct(&'a Label),
    /// The rightmost address of a trusted `X-Forwarded-For` that is no trusted proxy. It has no port.
    Forwarded(IpAddr),
}

/// One attempt that was followed by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry<'a> {
    /// URL, as configured, of the backend that failed.
    pub backend: &'a Label,
    /// Why the request went on: a stable word.
    pub reason: &'static str,
    /// The same for people, where there is more to say.
    pub detail: Option<&'a str>,
}

/// A request that has ended, however it ended. Everything a client or a backend sent is raw bytes here; `encode` makes
/// them harmless.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// When it ended, by the wall clock.
    pub time: SystemTime,
    /// Who asked.
    pub client: Client<'a>,
    /// The method; `None` where the head could not be parsed.
    pub method: Option<&'a [u8]>,
    /// The path without its query; `None` where the head could not be parsed.
    pub path: Option<&'a [u8]>,
    /// The query without `?`. Shown behind the path only if [`Options::query`](super::Options::query) says so.
    pub query: Option<&'a [u8]>,
    /// URL, as configured, of the backend tried last.
    pub backend: Option<&'a Label>,
    /// The status that was sent; 499 when the client left first.
    pub status: u16,
    /// From the first byte of the head to the end of the answer, by the monotonic clock.
    pub latency: Duration,
    /// The host that was asked for.
    pub host: Option<&'a [u8]>,
    /// `HTTP/1.0`, `HTTP/1.1`, `HTTP/2.0`.
    pub protocol: Option<&'static str>,
    /// The route that matched.
    pub route: Option<&'a Label>,
    /// The pool it led to.
    pub pool: Option<&'a Label>,
    /// The `X-Request-Id` that was sent to the backend.
    pub request_id: Option<&'a [u8]>,
    /// Attempts made, 0 when no backend was tried.
    pub attempts: u32,
    /// Bytes of the request that came in, head and body; over HTTP/2 the head as it was decoded.
    pub bytes_received: u64,
    /// Bytes of the response that went out, head and body; over HTTP/2 the body only.
    pub bytes_sent: u64,
    /// From the start of the last attempt to the head of its answer.
    pub backend_time: Option<Duration>,
    /// The attempts that failed and were followed by another, oldest first.
    pub retries: &'a [Retry<'a>],
    /// The status of gRPC, of an answer that has one.
    pub grpc_status: Option<u32>,
    /// Who the client's verified certificate was given to, if it showed one.
    pub client_cert: Option<&'a Label>,
    /// What went wrong: a stable word. `None` when nothing did.
    pub error: Option<&'static str>,
    /// The same for people: which rule, limit or timeout it was, and where.
    pub detail: Option<&'a str>,
}
