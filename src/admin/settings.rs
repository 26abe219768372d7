//! The settings of `admin:`.

use crate::net::ListenAddress;

/// The address of the admin API and its token.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Address and port, where port 0 is a free one that the system chooses, or a Unix socket.
    pub address: ListenAddress,
    /// The bearer token; required if the address is neither loopback nor a Unix socket.
    pub token: Option<String>,
}
