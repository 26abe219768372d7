//! The settings of a pool, as the config resolves them.

use std::sync::Arc;
use std::time::Duration;

use super::sticky::StickySettings;
use crate::admission::{Adaptive, QueueSettings};
use crate::backend::Address;
use crate::health::{Check, ejection};
use crate::net::ProxyVersion;
use crate::retry::Policy;
use crate::{strategy, tls};

/// The timeouts that a pool can override.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For connecting, over all addresses of the name.
    pub connect: Duration,
    /// For one attempt: from the end of sending the request to the first byte of the response.
    pub first_byte: Duration,
    /// For all attempts together; runs only while the request is completely sent and its response has not begun.
    pub request: Duration,
    /// The longest stall while sending or receiving a message.
    pub progress: Duration,
    /// The longest pause of a streamed response.
    pub stream_idle: Duration,
    /// For a tunnel that carries no bytes in either direction.
    pub tunnel_idle: Duration,
    /// How long an idle connection to a backend is kept.
    pub backend_idle: Duration,
}

/// How names of request headers are written for HTTP/1 backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeaderCase {
    /// As they came.
    #[default]
    Preserve,
    /// Each word with a capital letter, such as `Content-Type`.
    Title,
}

/// The headers that tell backends who the client is: a set of families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForwardedHeaders(u8);

impl HeaderCase {
    /// Its name in the config.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preserve => "preserve",
            Self::Title => "title",
        }
    }
}

impl ForwardedHeaders {
    /// No header.
    pub const NONE: Self = Self(0);
    /// `X-Forwarded-For`, `X-Forwarded-Host` and `X-Forwarded-Proto`.
    pub const X_FORWARDED: Self = Self(1);
    /// `Forwarded` (RFC 7239).
    pub const FORWARDED: Self = Self(2);
    /// `X-Real-IP`.
    pub const X_REAL_IP: Self = Self(4);
    /// `X-Forwarded-Port`.
    pub const X_FORWARDED_PORT: Self = Self(8);

    /// The families, by their names in the config.
    pub const ALL: [(&'static str, Self); 4] = [
        ("x-forwarded", Self::X_FORWARDED),
        ("forwarded", Self::FORWARDED),
        ("x-real-ip", Self::X_REAL_IP),
        ("x-forwarded-port", Self::X_FORWARDED_PORT),
    ];

    /// Whether the family is in the set.
    pub fn has(self, family: Self) -> bool {
        self.0 & family.0 != 0
    }

    /// Adds a family.
    pub fn add(&mut self, family: Self) {
        self.0 |= family.0;
    }

    /// The names of the families in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let all = Self::ALL.into_iter();
        all.filter_map(move |(name, family)| self.has(family).then_some(name))
    }
}

impl Default for ForwardedHeaders {
    fn default() -> Self {
        Self::X_FORWARDED
    }
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
    /// Its short name in the pool.
    pub name: Option<Arc<str>>,
    /// Whether it gets no new requests.
    pub is_drained: bool,
}

/// A pool.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name in the config; `default` for the short form.
    pub name: Arc<str>,
    /// How backends are chosen.
    pub strategy: strategy::Settings,
    /// How they are probed.
    pub health_check: Check,
    /// When backends whose requests fail are ejected; `None`: never.
    pub ejection: Option<ejection::Settings>,
    /// How long a backend that has come takes to get its whole weight; `None`: no time.
    pub slow_start: Option<Duration>,
    /// When failed requests are retried.
    pub retry: Policy,
    /// The timeouts.
    pub timeouts: Timeouts,
    /// Number of worker threads, each of which counts its requests by itself.
    pub workers: usize,
    /// Maximum number of requests in flight of one backend.
    pub in_flight_per_backend: Option<u32>,
    /// Whether the limit of each backend follows its latency.
    pub adaptive: Adaptive,
    /// Which requests wait when no backend may take one; `None` when none do.
    pub queue: Option<QueueSettings>,
    /// The TLS settings, for `https` backends.
    pub tls: Option<Arc<tls::Client>>,
    /// Whether connections to backends begin with a PROXY header, and in which form.
    pub send_proxy: Option<ProxyVersion>,
    /// How names of headers are written for HTTP/1 backends.
    pub header_case: HeaderCase,
    /// Which headers tell the backends who the client is.
    pub forwarded: ForwardedHeaders,
    /// How clients stay with a backend, if they do.
    pub sticky: Option<StickySettings>,
    /// The backends that the config lists; its sources may bring more.
    pub backends: Vec<BackendSettings>,
}
