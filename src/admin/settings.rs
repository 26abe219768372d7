//! What `admin:` means.

use std::net::SocketAddr;

/// Where the admin API listens and what it asks for.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// The bearer token; always there when the address is not loopback.
    pub token: Option<String>,
}
