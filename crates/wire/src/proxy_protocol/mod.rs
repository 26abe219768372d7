//! Parses and writes the header of the PROXY protocol (HAProxy's `proxy-protocol.txt`), versions 1 and 2, with which a proxy
//! passes on the client's address at the start of a connection. Which proxies are trusted is decided elsewhere.

mod binary;
#[cfg(test)]
mod tests;
mod text;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Longest accepted header, in bytes; the same limit as in nginx. The addresses take at most 232 bytes; the rest is for TLVs,
/// which can be long with cloud providers and client certificates.
pub const LONGEST_HEADER: usize = 4096;

/// The protocol version for sending. Both are accepted when receiving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

impl ProxyVersion {
    /// All versions, with their names in the config.
    pub const ALL: [(&'static str, Self); 2] = [("v1", Self::V1), ("v2", Self::V2)];

    /// Its name in the config.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// The content of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// The connection is the proxy's own, such as a health check. Version 1 cannot distinguish this from [`Self::Unknown`].
    Local,
    /// The client's address is not given.
    Unknown,
    /// The client is connected to a Unix socket of the proxy.
    Unix,
    /// The client has an IP address.
    Ip {
        /// The client's address.
        source: SocketAddr,
        /// The address that the client connected to; of the same family.
        destination: SocketAddr,
    },
}

/// Why bytes are not a valid header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// The connection begins with something else.
    #[error("the connection does not begin with a PROXY header")]
    Absent,
    /// It exceeds 107 bytes in version 1, or [`LONGEST_HEADER`].
    #[error("the PROXY header is too long")]
    TooLong,
    /// The line of version 1 is malformed.
    #[error("the line of the PROXY header is malformed")]
    Line,
    /// An address or port is invalid, or of another family than declared.
    #[error("an address or port in the PROXY header is invalid")]
    Address,
    /// Unknown version, command, family or transport.
    #[error("the PROXY header has an unknown version, command or family")]
    Unspecified,
    /// The lengths in it contradict each other.
    #[error("the lengths in the PROXY header contradict each other")]
    Length,
    /// Its checksum does not match its bytes.
    #[error("the checksum of the PROXY header is wrong")]
    Checksum,
}

impl ProxyHeader {
    /// Parses the header at the start of `bytes` and returns it with its length, or `None` while it is incomplete: then all of
    /// `bytes` belongs to it.
    ///
    /// # Errors
    /// Why it is invalid, as soon as the received bytes show it.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, BadHeader> {
        if begins(bytes, &binary::SIGNATURE) {
            return binary::parse(bytes);
        }
        if begins(bytes, text::SIGNATURE) {
            return text::parse(bytes);
        }
        Err(BadHeader::Absent)
    }

    /// Appends the header to `out`.
    pub fn write(&self, version: ProxyVersion, out: &mut Vec<u8>) {
        match version {
            ProxyVersion::V1 => text::write(self, out),
            ProxyVersion::V2 => binary::write(self, out),
        }
    }

    /// The header for a client with an IP address. A missing `destination` becomes the unspecified address of the client's
    /// family; if the families differ, both become IPv6, because a header has only one family.
    pub fn of_client(source: SocketAddr, destination: Option<SocketAddr>) -> Self {
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let source = canonical(source);
        let unspecified = match source {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0)),
        };
        let destination = destination.map_or(unspecified, canonical);
        if source.is_ipv4() == destination.is_ipv4() {
            return Self::Ip { source, destination };
        }
        Self::Ip {
            source: mapped(source),
            destination: mapped(destination),
        }
    }
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// Whether `bytes` begin with `signature` or are a prefix of it.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    signature.starts_with(bytes) || bytes.starts_with(signature)
}
