//! How commands find the admin API of the running process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Its address by default.
pub(super) const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9900);

/// The token that was given, or that of the environment.
pub(super) fn token(given: Option<&String>) -> Option<String> {
    given.cloned().or_else(|| std::env::var("EVENKEEL_TOKEN").ok())
}
