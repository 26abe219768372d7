//! PROXY protocol version 2: a signature, one byte for version and command, one for family and transport, the length of the
//! rest, the addresses, and extensions of type, length and value (TLVs).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{BadHeader, LONGEST_HEADER, ProxyHeader};

/// The start of every header, which is neither a line of text nor an HTTP request.
pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes before the part that the length counts.
const FIXED: usize = 16;
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNIX: u8 = 0x31;
/// Two paths of 108 bytes.
const UNIX_LENGTH: usize = 216;
/// Type of the TLV with a checksum of the whole header, computed with the checksum itself as zeros.
const CRC32C: u8 = 0x03;

pub(super) fn parse(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, BadHeader> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else {
        return Ok(None);
    };
    let [.., command, family, high, low] = *fixed;
    if !matches!(command, LOCAL | PROXY) {
        return Err(BadHeader::Unspecified);
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    let end = FIXED + length;
    if end > LONGEST_HEADER {
        return Err(BadHeader::TooLong);
    }
    let (Some(whole), Some(block)) = (bytes.get(..end), rest.get(..length)) else {
        return Ok(None);
    };
    // With LOCAL the sender may omit the addresses; the receiver ignores them (§2.2).
    let header = match command {
        LOCAL => ProxyHeader::Local,
        _ => parse_block(family, block, whole)?,
    };
    Ok(Some((header, end)))
}

/// Parses addresses and TLVs; `whole` is the header for the checksum.
fn parse_block(family: u8, block: &[u8], whole: &[u8]) -> Result<ProxyHeader, BadHeader> {
    let is_stream = match family & 0x0f {
        0x1 => true,
        0x0 | 0x2 => false,
        _ => return Err(BadHeader::Unspecified),
    };
    let (header, tlvs) = match family >> 4 {
        // Without a known family the end of the addresses and the start of the TLVs are unknown.
        0x0 => return Ok(ProxyHeader::Unknown),
        0x1 => {
            let (addresses, rest) = block.split_first_chunk::<12>().ok_or(BadHeader::Length)?;
            (ipv4(addresses), rest)
        }
        0x2 => {
            let (addresses, rest) = block.split_first_chunk::<36>().ok_or(BadHeader::Length)?;
            (ipv6(addresses), rest)
        }
        0x3 => {
            let (_, rest) = block.split_at_checked(UNIX_LENGTH).ok_or(BadHeader::Length)?;
            (ProxyHeader::Unix, rest)
        }
        _ => return Err(BadHeader::Unspecified),
    };
    check_tlvs(tlvs, whole)?;
    // We accept no datagrams: treated as unknown (§2.2).
    Ok(if is_stream { header } else { ProxyHeader::Unknown })
}

fn ipv4(bytes: &[u8; 12]) -> ProxyHeader {
    let [a, b, c, d, e, f, g, h, source_port @ .., x, y] = *bytes;
    ProxyHeader::Ip {
        source: SocketAddr::from((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes(source_port))),
        destination: SocketAddr::from((Ipv4Addr::new(e, f, g, h), u16::from_be_bytes([x, y]))),
    }
}

fn ipv6(bytes: &[u8; 36]) -> ProxyHeader {
    let (ips, ports) = bytes.as_chunks::<16>();
    let mut ips = ips.iter().map(|ip| Ipv6Addr::from_octets(*ip));
    let mut ports = ports
        .as_chunks::<2>()
        .0
        .iter()
        .map(|port| u16::from_be_bytes(*port));
    let mut next = || {
        let ip = ips.next().unwrap_or(Ipv6Addr::UNSPECIFIED);
        SocketAddr::from((ip, ports.next().unwrap_or(0)))
    };
    ProxyHeader::Ip {
        source: next(),
        destination: next(),
    }
}

/// Checks that the TLVs fill the rest exactly, and that a checksum among them is right.
fn check_tlvs(mut rest: &[u8], whole: &[u8]) -> Result<(), BadHeader> {
    while let Some((first, after)) = rest.split_first_chunk::<3>() {
        let [kind, high, low] = *first;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, after) = after.split_at_checked(length).ok_or(BadHeader::Length)?;
        if kind == CRC32C {
            let sent = <[u8; 4]>::try_from(value).map_err(|_| BadHeader::Length)?;
            let before = whole.len() - after.len() - value.len();
            let before = whole.get(..before).unwrap_or_default();
            if crc32c([before, &[0; 4], after]) != u32::from_be_bytes(sent) {
                return Err(BadHeader::Checksum);
            }
        }
        rest = after;
    }
    match rest {
        [] => Ok(()),
        _ => Err(BadHeader::Length),
    }
}

/// CRC-32C (RFC 9260 appendix A) of the concatenated pieces. Bit by bit, because a header is short and there is one per
/// connection.
pub(super) fn crc32c(pieces: [&[u8]; 3]) -> u32 {
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    let mut sum = u32::MAX;
    for byte in pieces.into_iter().flatten() {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ if sum & 1 == 1 { POLYNOMIAL } else { 0 };
        }
    }
    !sum
}

pub(super) fn write(header: &ProxyHeader, out: &mut Vec<u8>) {
    out.extend_from_slice(&SIGNATURE);
    match header {
        ProxyHeader::Local => out.extend_from_slice(&[LOCAL, 0, 0, 0]),
        ProxyHeader::Unknown => out.extend_from_slice(&[PROXY, 0, 0, 0]),
        ProxyHeader::Unix => {
            out.extend_from_slice(&[PROXY, UNIX, 0, UNIX_LENGTH as u8]);
            out.resize(out.len() + UNIX_LENGTH, 0);
        }
        ProxyHeader::Ip { source, destination } => {
            let family = if source.is_ipv4() { TCP4 } else { TCP6 };
            let length = if source.is_ipv4() { 12 } else { 36 };
            out.extend_from_slice(&[PROXY, family, 0, length]);
            for address in [source, destination] {
                match address {
                    SocketAddr::V4(address) => out.extend_from_slice(&address.ip().octets()),
                    SocketAddr::V6(address) => out.extend_from_slice(&address.ip().octets()),
                }
            }
            for address in [source, destination] {
                out.extend_from_slice(&address.port().to_be_bytes());
            }
        }
    }
}
