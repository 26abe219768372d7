//! The access log entry of one request.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::head::RequestHead;
use crate::telemetry::Label;
use crate::telemetry::trace::TraceId;

/// The client's address, as far as it can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client<'a> {
    /// The address of the connection or of a trusted PROXY header, with its port.
    Direct(&'a Label),
    /// The rightmost address of a trusted `X-Forwarded-For` that is not a trusted proxy. It has no port.
    Forwarded(IpAddr),
}

/// One attempt that was followed by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry<'a> {
    /// URL, as configured, of the backend that failed.
    pub backend: &'a Label,
    /// The reason for the retry: a stable code.
    pub reason: &'static str,
    /// Details for people, if there are any.
    pub detail: Option<&'a str>,
}

/// What a TLS handshake has negotiated. Names are those of the TLS registries of IANA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// The version, such as `TLSv1.3`.
    pub version: &'static str,
    /// The group of the key exchange, such as `X25519MLKEM768`; `None` where there was none, as in a resumed session of TLS 1.2.
    pub group: Option<&'static str>,
    /// The cipher suite, such as `TLS_AES_256_GCM_SHA384`.
    pub cipher: Option<&'static str>,
    /// The protocol selected by ALPN; `None` without ALPN.
    pub alpn: Option<&'static str>,
    /// The server name that the client asked for (SNI); empty without one.
    pub server_name: Box<str>,
}

/// What no line has by default: see `access_log.fields` and `access_log.format`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extra<'a> {
    /// What the TLS handshake of the client's connection has negotiated.
    pub tls: Option<&'a TlsFacts>,
    /// The head of the request, if it could be parsed.
    pub request: Option<&'a RequestHead>,
    /// The head of the response that was sent, in the form of HTTP/1; only if a sink needs it.
    pub response: Option<&'a [u8]>,
}

/// A request that has ended, successfully or not. Everything that a client or a backend sent is raw bytes here; `encode` escapes
/// them.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// When it ended, by the wall clock.
    pub time: SystemTime,
    /// The client.
    pub client: Client<'a>,
    /// The method; `None` where the head could not be parsed.
    pub method: Option<&'a [u8]>,
    /// The path without its query; `None` where the head could not be parsed.
    pub path: Option<&'a [u8]>,
    /// The query without `?`. Logged after the path only with [`Options::query`](super::Options::query).
    pub query: Option<&'a [u8]>,
    /// URL, as configured, of the backend tried last.
    pub backend: Option<&'a Label>,
    /// The status that was sent; 499 when the client left first.
    pub status: u16,
    /// From the first byte of the head to the end of the response, by the monotonic clock.
    pub latency: Duration,
    /// The requested host.
    pub host: Option<&'a [u8]>,
    /// `HTTP/1.0`, `HTTP/1.1`, `HTTP/2.0`.
    pub protocol: Option<&'static str>,
    /// The route that matched.
    pub route: Option<&'a Label>,
    /// The pool it led to.
    pub pool: Option<&'a Label>,
    /// The `X-Request-Id` that was sent to the backend.
    pub request_id: Option<&'a [u8]>,
    /// The id of the request's trace, while tracing is on.
    pub trace_id: Option<TraceId>,
    /// Attempts made, 0 when no backend was tried.
    pub attempts: u32,
    /// Bytes of the request received, head and body; over HTTP/2 the head after decoding.
    pub bytes_received: u64,
    /// Bytes of the response sent, head and body; over HTTP/2 the body only.
    pub bytes_sent: u64,
    /// From the start of the last attempt to the head of its response.
    pub backend_time: Option<Duration>,
    /// The attempts that failed and were followed by another, oldest first.
    pub retries: &'a [Retry<'a>],
    /// The gRPC status, if the response has one.
    pub grpc_status: Option<u32>,
    /// The subject of the client's verified certificate, if it presented one.
    pub client_cert: Option<&'a Label>,
    /// Who the client proved to be, if a policy asked.
    pub user: Option<&'a [u8]>,
    /// The name of the policy that responded in place of a backend.
    pub policy: Option<&'a str>,
    /// The error: a stable code. `None` on success.
    pub error: Option<&'static str>,
    /// Details for people: the rule, limit or timeout, and the place.
    pub detail: Option<&'a str>,
    /// What no line has by default.
    pub extra: Extra<'a>,
}

impl Entry<'_> {
    /// A request that ended with `status`, of which nothing else is known.
    pub fn new(status: u16, client: Client<'_>) -> Entry<'_> {
        Entry {
            time: SystemTime::UNIX_EPOCH,
            client,
            method: None,
            path: None,
            query: None,
            backend: None,
            status,
            latency: Duration::ZERO,
            host: None,
            protocol: None,
            route: None,
            pool: None,
            request_id: None,
            trace_id: None,
            attempts: 0,
            bytes_received: 0,
            bytes_sent: 0,
            backend_time: None,
            retries: &[],
            grpc_status: None,
            client_cert: None,
            user: None,
            policy: None,
            error: None,
            detail: None,
            extra: Extra::default(),
        }
    }
}
