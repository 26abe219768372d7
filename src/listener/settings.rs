//! The settings of one entry of `listeners:`.

use std::sync::Arc;

use crate::net::ListenAddress;
use crate::proxy::HalfClose;
use crate::tls;

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where clients connect.
    pub address: ListenAddress,
    /// Its position in the config that the process was started with. A listener that a reload adds gets the next number, and
    /// keeps it as long as a config has its address.
    pub id: usize,
    /// Whether every connection begins with a PROXY header.
    pub proxy_protocol: bool,
    /// Whether clients may speak HTTP/2: negotiated by ALPN under TLS, otherwise by beginning with the HTTP/2 preface.
    pub http2: bool,
    /// The server side of TLS, if the listener has it.
    pub tls: Option<Arc<tls::Server>>,
    /// Where requests are redirected to HTTPS, if they are.
    pub redirect: Option<Redirect>,
    /// What a half-close by the client means while it waits for a response.
    pub half_close: HalfClose,
}

/// The target of the redirect to HTTPS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirect {
    /// The port of the listener with TLS, which is looked up when all listeners are bound.
    ToTls,
    /// This port.
    ToPort(u16),
}
