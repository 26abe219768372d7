//! What an entry of `listeners:` means.

use std::sync::Arc;

use crate::net::ListenAddress;
use crate::proxy::HalfClose;
use crate::tls;

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where clients connect.
    pub address: ListenAddress,
    /// Whether every connection begins with a PROXY header.
    pub proxy_protocol: bool,
    /// Whether clients may speak HTTP/2: under TLS by agreement, else by beginning with its preface.
    pub http2: bool,
    /// The server's side of TLS, where it is spoken.
    pub tls: Option<Arc<tls::Server>>,
    /// Whether clients are sent to https.
    pub redirect: Option<Redirect>,
    /// What the end of what a client sends means while it waits.
    pub half_close: HalfClose,
}

/// Where clients are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirect {
    /// To the listener that speaks TLS, which is found when all are bound.
    ToTls,
    /// To this port.
    ToPort(u16),
}

impl Settings {
    /// Whether a listener with these settings can go on with the others: what TLS shows can be exchanged while it serves.
    pub fn may_become(&self, other: &Self) -> bool {
        let beside_tls = |settings: &Self| Self {
            tls: None,
            ..settings.clone()
        };
        self.tls.is_some() == other.tls.is_some() && beside_tls(self) == beside_tls(other)
    }
}
