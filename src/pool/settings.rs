//! What a pool's part of the config means.

use std::sync::Arc;
use std::time::Duration;

use crate::backend::Address;
use crate::health::Check;
use crate::net::ProxyVersion;
use crate::retry::Policy;
use crate::strategy::Entry;
use crate::tls;

/// The timeouts that a pool can have of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Bound of one attempt to connect, over all addresses of the name.
    pub connect: Duration,
    /// One attempt: from the request wholly sent to the first byte of the answer.
    pub first_byte: Duration,
    /// All attempts together; runs only while the request is wholly sent and its answer has not begun.
    pub request: Duration,
    /// For a peer that does not take, or does not send, bytes in the middle of a message.
    pub progress: Duration,
    /// For an answer that pauses.
    pub stream_idle: Duration,
    /// For a tunnel in which nothing moves.
    pub tunnel_idle: Duration,
    /// How long an idle connection to a backend is kept.
    pub backend_idle: Duration,
}

/// One backend of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendSettings {
    /// Its URL.
    pub address: Address,
    /// 0 to 256.
    pub weight: u32,
    /// Used only when no other backend is eligible.
    pub is_backup: bool,
}

/// A pool.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name in the config; `default` for the short form.
    pub name: Arc<str>,
    /// How backends are chosen.
    pub strategy: &'static Entry,
    /// How they are probed.
    pub health_check: Check,
    /// When a request is sent again.
    pub retry: Policy,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Bound of requests in flight of one backend.
    pub in_flight_per_backend: Option<u32>,
    /// How TLS is spoken, where it is.
    pub tls: Option<Arc<tls::Client>>,
    /// Whether connections to backends begin with a PROXY header, and in which form.
    pub send_proxy: Option<ProxyVersion>,
    /// At least one.
    pub backends: Vec<BackendSettings>,
}
