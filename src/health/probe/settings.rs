//! What `health_check:` means.

use std::sync::Arc;
use std::time::Duration;

use crate::net::ProxyVersion;
use crate::tls;

/// How a backend is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `GET path`; `None` asks `/` and takes any status below 500 as healthy.
    Http {
        /// Path with an optional query, beginning with `/`.
        path: Option<String>,
        /// Statuses that count as healthy; `None`: 200 to 399 with a path, 100 to 499 without one.
        status: Option<Vec<StatusRange>>,
    },
    /// `grpc.health.v1.Health/Check` over HTTP/2.
    Grpc {
        /// The service that is asked for; empty for the server as a whole.
        service: String,
    },
    /// A connection that comes about.
    Tcp,
    /// Not at all: always eligible.
    None,
}

/// `from` to `to`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRange {
    /// Lowest status.
    pub from: u16,
    /// Highest status.
    pub to: u16,
}

/// The settings of `health_check:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// How it is asked.
    pub kind: Kind,
    /// From one probe to the next while nothing changes.
    pub interval: Duration,
    /// Bound of one probe, connecting included.
    pub timeout: Duration,
    /// Successes in a row after which a backend that is down is up.
    pub healthy_after: u32,
    /// Failures in a row after which a backend that is up is down.
    pub unhealthy_after: u32,
    /// How TLS is spoken to backends that want it: as requests do.
    pub tls: Option<Arc<tls::Client>>,
    /// Whether connections to backends begin with a PROXY header: as those of requests do.
    pub send_proxy: Option<ProxyVersion>,
}
