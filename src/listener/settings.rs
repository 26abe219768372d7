//! What an entry of `listeners:` means.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::tls;

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Whether clients may speak HTTP/2: under TLS by agreement, else by beginning with its preface.
    pub http2: bool,
    /// The server's side of TLS, where it is spoken.
    pub tls: Option<Arc<tls::Server>>,
}
