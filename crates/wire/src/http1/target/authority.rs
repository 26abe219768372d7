//! Checks the authority of a target and the value of `Host` (RFC 9112 §3.2, RFC 3986 §3.2): a host and an optional port.

use std::net::Ipv6Addr;

use crate::http1::Malformed;
use crate::http1::syntax::HOST;

/// Checks `uri-host [ ":" port ]`. User information, IPv6 zones and an empty host are refused.
///
/// # Errors
/// [`Malformed::BadHost`].
pub fn check(authority: &[u8]) -> Result<(), Malformed> {
    let is_valid = if let [b'[', rest @ ..] = authority {
        let end = memchr::memchr(b']', rest).unwrap_or(rest.len());
        let (address, rest) = rest.split_at_checked(end).unwrap_or_default();
        // The address ends at `]`; without a `]` it is invalid.
        is_ipv6(address) && matches!(rest, [b']', port @ ..] if is_port(port))
    } else {
        let (host, port) = authority
            .split_at_checked(HOST.prefix(authority))
            .unwrap_or_default();
        !host.is_empty() && is_port(port)
    };
    if is_valid { Ok(()) } else { Err(Malformed::BadHost) }
}

fn is_ipv6(address: &[u8]) -> bool {
    std::str::from_utf8(address).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// Whether it is empty, a colon and a 16-bit number, or a colon alone (RFC 3986 §3.2.3).
fn is_port(port: &[u8]) -> bool {
    match port {
        [] => true,
        [b':', digits @ ..] => {
            digits.len() <= 5
                && digits.iter().all(u8::is_ascii_digit)
                && digits
                    .iter()
                    .fold(0, |port, digit| port * 10 + u32::from(digit - b'0'))
                    <= u32::from(u16::MAX)
        }
        _ => false,
    }
}
