//! Who the client is, as far as proxies before us are believed, and what we tell backends about it.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::head::{FieldName, RequestHead};

/// Length of a request id that we make: 128 bits in hex.
const ID_LENGTH: usize = 32;
/// Longest request id that is taken over from a trusted proxy.
const ID_BOUND: usize = 128;

/// Who sent the request.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// Whether that is one of `trusted_proxies`.
    pub(super) is_trusted: bool,
    /// The client, when a trusted proxy named one.
    pub(super) named: Option<IpAddr>,
    id: [u8; ID_LENGTH],
}

impl Identity {
    /// Finds out who sent `head`; `random` makes the request id.
    pub fn new(peer: SocketAddr, trusted: &[IpNet], head: &RequestHead, random: [u64; 2]) -> Self {
        let is_trusted = !trusted.is_empty() && is_listed(trusted, peer.ip());
        let named = if is_trusted {
            named_client(trusted, head)
        } else {
            None
        };
        Self {
            is_trusted,
            named,
            id: hex(random),
        }
    }

    /// A key for the handshake of a WebSocket that its client began in HTTP/2, which has none: 16 random bytes in Base64
    /// (RFC 6455 §4.1).
    pub(super) fn websocket_key(&self) -> [u8; 24] {
        let mut key = *b"---------------------A==";
        for (place, digit) in key.iter_mut().zip(&self.id).take(21) {
            *place = *digit;
        }
        key
    }

    /// The request id: of a trusted proxy, else our own.
    pub(super) fn request_id<'a>(&'a self, head: &'a RequestHead) -> &'a [u8] {
        let theirs = if self.is_trusted {
            head.values(FieldName::XRequestId).next()
        } else {
            None
        };
        theirs
            .filter(|id| !id.is_empty() && id.len() <= ID_BOUND)
            .unwrap_or(&self.id)
    }
}

/// The rightmost address in all lines of `X-Forwarded-For` that is no trusted proxy. One that cannot be read ends the
/// search: what stands left of it was not vouched for.
fn named_client(trusted: &[IpNet], head: &RequestHead) -> Option<IpAddr> {
    let mut named = None;
    let mut lines: Vec<&[u8]> = head.values(FieldName::XForwardedFor).collect();
    while let Some(line) = lines.pop() {
        for item in line.rsplit(|&byte| byte == b',') {
            let Some(address) = read_address(item.trim_ascii()) else {
                return named;
            };
            named = Some(address);
            if !is_listed(trusted, address) {
                return named;
            }
        }
    }
    named
}

/// An IP address with or without port, IPv6 with or without brackets.
fn read_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

fn is_listed(trusted: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|net| net.contains(&address))
}

fn hex(random: [u64; 2]) -> [u8; ID_LENGTH] {
    let mut id = [0; ID_LENGTH];
    let halves = random.iter().flat_map(|word| [(word >> 32) as u32, *word as u32]);
    for (place, half) in id.as_chunks_mut::<8>().0.iter_mut().zip(halves) {
        *place = eight_digits(half);
    }
    id
}

/// The hex digits of a number, all at once: each half byte gets a byte of its own, then all become characters.
fn eight_digits(number: u32) -> [u8; 8] {
    let mut word = u64::from(number);
    word = (word | (word << 16)) & 0x0000_FFFF_0000_FFFF;
    word = (word | (word << 8)) & 0x00FF_00FF_00FF_00FF;
    word = (word | (word << 4)) & 0x0F0F_0F0F_0F0F_0F0F;
    // 1 in each byte of a digit above 9, which stands 39 characters further on.
    let letters = ((word + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (word + 0x3030_3030_3030_3030 + letters * 39).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::{Field, Span};

    fn identity(peer: &str, trusted: &[&str], lines: &[&str]) -> Identity {
        let mut head = RequestHead::default();
        for line in lines {
            let start = head.bytes.len();
            head.bytes.extend_from_slice(line.as_bytes());
            let value = Span::new(start, head.bytes.len());
            head.fields.push(Field {
                id: FieldName::XForwardedFor,
                name: Span::default(),
                value,
            });
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        Identity::new(peer.parse().unwrap(), &trusted, &head, [1, 0xabc])
    }

    fn named(lines: &[&str]) -> Option<String> {
        identity("10.0.0.9:1", &["10.0.0.0/8"], lines)
            .named
            .map(|address| address.to_string())
    }

    #[test]
    fn believes_nobody_by_default() {
        let identity = identity("10.0.0.9:1", &[], &["1.2.3.4"]);
        assert_eq!((identity.is_trusted, identity.named), (false, None));
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_no_trusted_proxy() {
        assert_eq!(named(&["1.1.1.1, 2.2.2.2, 10.1.1.1"]).as_deref(), Some("2.2.2.2"));
        assert_eq!(
            named(&["1.1.1.1", "2.2.2.2", "10.1.1.1"]).as_deref(),
            Some("2.2.2.2"),
            "over all lines"
        );
        assert_eq!(
            named(&["10.2.2.2, 10.1.1.1"]).as_deref(),
            Some("10.2.2.2"),
            "all trusted: the first"
        );
        assert_eq!(named(&["[2001:db8::1]:443"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(
            named(&["1.1.1.1, nonsense, 10.1.1.1"]).as_deref(),
            Some("10.1.1.1")
        );
        assert_eq!(named(&["nonsense"]), None);
        assert_eq!(named(&[]), None);
    }

    #[test]
    fn an_ipv4_peer_on_an_ipv6_socket_matches_its_ipv4_block() {
        assert!(identity("[::ffff:10.0.0.9]:1", &["10.0.0.0/8"], &[]).is_trusted);
    }

    #[test]
    fn a_request_id_is_128_bits_in_hex() {
        let identity = identity("1.1.1.1:1", &[], &[]);
        assert_eq!(
            identity.request_id(&RequestHead::default()),
            b"00000000000000010000000000000abc"
        );
        assert_eq!(
            hex([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]),
            *b"0123456789abcdeffedcba9876543210"
        );
    }
}
