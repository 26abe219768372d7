//! The settings of `admin:`.

use std::net::SocketAddr;

/// The address of the admin API and its token.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Address and port; with port 0 the system chooses a free one.
    pub address: SocketAddr,
    /// The bearer token; required if the address is not loopback.
    pub token: Option<String>,
}
