//! The header of the PROXY protocol (HAProxy's `proxy-protocol.txt`), with which a proxy begins a connection to say whose
//! it is: from bytes to meaning and back, both versions. Whose word counts is decided elsewhere.

mod binary;
#[cfg(test)]
mod tests;
mod text;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Longest header, in bytes, that is read. The addresses take at most 232; the rest is for additions (TLVs), which clouds
/// and client certificates make long. As much as nginx reads.
pub const LONGEST_HEADER: usize = 4096;

/// The form in which a header is sent. Both are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

impl ProxyVersion {
    /// All, by the words for them in the config.
    pub const ALL: [(&'static str, Self); 2] = [("v1", Self::V1), ("v2", Self::V2)];

    /// The word for it in the config.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// What a header says of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// It is the sender's own, such as a probe. The text form cannot tell this from [`Self::Unknown`].
    Local,
    /// It is somebody's of whom nothing is said.
    Unknown,
    /// It is a client's of a unix socket of the sender.
    Unix,
    /// It is a client's with an IP address.
    Ip {
        /// The client.
        source: SocketAddr,
        /// Where the client connected to; of the same family.
        destination: SocketAddr,
    },
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// Something else begins the connection.
    #[error("no PROXY header")]
    Absent,
    /// More bytes than any header of ours has.
    #[error("the PROXY header is too long")]
    TooLong,
    /// The line is not made as it has to be.
    #[error("the line of the PROXY header is malformed")]
    Line,
    /// An address or port that is none, or of another family than was said.
    #[error("an address of the PROXY header is malformed")]
    Address,
    /// A version, command, family or transport that does not exist.
    #[error("the PROXY header has an unknown version, command or family")]
    Unspecified,
    /// The lengths in it contradict each other.
    #[error("the lengths in the PROXY header do not fit")]
    Length,
    /// The checksum in it is not that of its bytes.
    #[error("the checksum of the PROXY header is wrong")]
    Checksum,
}

impl ProxyHeader {
    /// Parses the header at the front of `bytes`; gives its length too, and `None` as long as it is not whole: then all of
    /// `bytes` belongs to it.
    ///
    /// # Errors
    /// What is wrong with it, with the first byte that makes it so.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, BadHeader> {
        if begins(bytes, &binary::SIGNATURE) {
            return binary::parse(bytes);
        }
        if begins(bytes, text::SIGNATURE) {
            return text::parse(bytes);
        }
        Err(BadHeader::Absent)
    }

    /// Writes the header behind what is in `out`.
    pub fn write(&self, version: ProxyVersion, out: &mut Vec<u8>) {
        match version {
            ProxyVersion::V1 => text::write(self, out),
            ProxyVersion::V2 => binary::write(self, out),
        }
    }

    /// Names a client with an IP address. An unknown `destination` becomes the unspecified address of the client's family;
    /// where the families differ, both become IPv6, because a header has one family.
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

/// Whether `bytes` begin with `signature`, as far as they go.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    signature.starts_with(bytes) || bytes.starts_with(signature)
}
