//! What an entry of `listeners:` means.

use std::net::SocketAddr;

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
}
