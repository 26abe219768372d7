//! Who the client is, as far as proxies before us are believed, and what we tell backends about it.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::{Peer, websocket};
use crate::head::{FieldName, RequestHead, list};
use crate::net::ClientAddress;

/// Length of a request id that we make: 128 bits in hex.
const ID_LENGTH: usize = 32;
/// Longest request id that is taken over from a trusted proxy.
const ID_BOUND: usize = 128;

/// Proxies before us whose word about their clients counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    /// Their IP addresses.
    pub blocks: Vec<IpNet>,
    /// Whether clients of Unix sockets are trusted proxies.
    pub unix: bool,
}

impl TrustedProxies {
    /// Whether this is the address of one.
    pub fn contains(&self, address: ClientAddress) -> bool {
        match address {
            ClientAddress::Ip(address) => !self.blocks.is_empty() && self.contains_ip(address.ip()),
            ClientAddress::Unix => self.unix,
        }
    }

    fn contains_ip(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.blocks.iter().any(|block| block.contains(&address))
    }
}

/// Who sent the request.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// Whether that is one of `trusted_proxies`.
    pub(super) is_trusted: bool,
    /// The client, when a trusted proxy named one.
    pub(super) named: Option<IpAddr>,
    /// How many proxies stand behind that name in `X-Forwarded-For`.
    proxies_behind: usize,
    id: [u8; ID_LENGTH],
}

impl Identity {
    /// Finds out who sent `head`; `random` makes the request id.
    pub fn new(peer: &Peer, trusted: &TrustedProxies, head: &RequestHead, random: [u64; 2]) -> Self {
        let is_trusted = peer.may_be_trusted && trusted.contains(peer.address);
        let (named, proxies_behind) = match is_trusted.then(|| named_client(trusted, head)).flatten() {
            Some((address, behind)) => (Some(address), behind),
            None => (None, 0),
        };
        Self {
            is_trusted,
            named,
            proxies_behind,
            id: hex(random),
        }
    }

    /// A key for the handshake of a WebSocket that its client began in HTTP/2, which has none: 16 random bytes in Base64
    /// (RFC 6455 §4.1).
    pub(super) fn websocket_key(&self) -> [u8; websocket::KEY] {
        let mut key = *b"---------------------A==";
        for (place, digit) in key.iter_mut().zip(&self.id).take(21) {
            *place = *digit;
        }
        key
    }

    /// The scheme that the client used, as a trusted proxy says. Where each proxy has added an element to both lists, it is
    /// the one that stands where the client stands in `X-Forwarded-For`; else it is the first.
    pub(super) fn scheme<'a>(&self, head: &'a RequestHead) -> Option<&'a [u8]> {
        let elements = |id| head.values(id).flat_map(list::elements);
        let mut schemes = elements(FieldName::XForwardedProto).filter(|_| self.is_trusted);
        let hops = elements(FieldName::XForwardedFor).count();
        let is_of_each_hop = hops == elements(FieldName::XForwardedProto).count();
        match (self.named, is_of_each_hop) {
            (Some(_), true) => schemes.nth(hops.saturating_sub(1 + self.proxies_behind)),
            _ => schemes.next(),
        }
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

/// The rightmost address in all lines of `X-Forwarded-For` that is no trusted proxy, and how many stand behind it. One that
/// cannot be read ends the search: what stands left of it was not vouched for. Empty elements are none (RFC 9110 §5.6.1.2).
fn named_client(trusted: &TrustedProxies, head: &RequestHead) -> Option<(IpAddr, usize)> {
    let mut named = None;
    let mut behind = 0..;
    let mut lines: Vec<&[u8]> = head.values(FieldName::XForwardedFor).collect();
    while let Some(line) = lines.pop() {
        for item in list::elements(line).rev() {
            let Some(address) = read_address(item) else {
                return named;
            };
            named = Some(address).zip(behind.next());
            if !trusted.contains_ip(address) {
                return named;
            }
        }
    }
    named
}

/// An IP address with or without port, IPv6 with or without brackets.
pub(super) fn read_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
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
    use crate::net::ProxyHeader;

    fn identity(peer: &str, trusted: &[&str], lines: &[&str]) -> Identity {
        let mut head = RequestHead::default();
        for line in lines {
            let start = head.bytes.len();
            head.bytes.extend_from_slice(line.as_bytes());
            let value = Span::new(start, head.bytes.len());
            head.fields.push(Field {
                is_secret: false,
                id: FieldName::XForwardedFor,
                name: Span::default(),
                value,
            });
        }
        let peer = Peer::new(peer.parse::<SocketAddr>().unwrap());
        Identity::new(&peer, &trusting(trusted), &head, [1, 0xabc])
    }

    fn trusting(blocks: &[&str]) -> TrustedProxies {
        TrustedProxies {
            blocks: blocks.iter().map(|block| block.parse().unwrap()).collect(),
            unix: false,
        }
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
        for line in ["1.2.3.4,", ",1.2.3.4", "1.2.3.4, ,\t,10.1.1.1,", ",1.2.3.4 , "] {
            assert_eq!(named(&[line]).as_deref(), Some("1.2.3.4"), "{line}");
        }
        assert_eq!(named(&["1.2.3.4", "", ","]).as_deref(), Some("1.2.3.4"));
        assert_eq!(named(&["[2001:db8::1]:443"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(
            named(&["1.1.1.1, nonsense, 10.1.1.1"]).as_deref(),
            Some("10.1.1.1")
        );
        assert_eq!(named(&["nonsense"]), None);
        assert_eq!(named(&[]), None);
    }

    /// Also when the sender of the header is trusted itself: it did not vouch for what the client says.
    #[test]
    fn who_is_not_named_by_a_proxy_header_is_not_trusted() {
        let sender = ClientAddress::Ip("10.0.0.9:1".parse().unwrap());
        let trusted = TrustedProxies {
            unix: true,
            ..trusting(&["10.0.0.0/8"])
        };
        let is_trusted = |header| {
            let peer = Peer::from_proxy_header(header, sender);
            Identity::new(&peer, &trusted, &RequestHead::default(), [1, 2]).is_trusted
        };
        let named = |source: &str| ProxyHeader::Ip {
            source: source.parse().unwrap(),
            destination: "10.0.0.1:80".parse().unwrap(),
        };
        assert!(is_trusted(ProxyHeader::Local) && is_trusted(named("10.0.0.7:1")));
        assert!(!is_trusted(ProxyHeader::Unknown) && !is_trusted(ProxyHeader::Unix));
        assert!(!is_trusted(named("192.0.2.7:1")));
    }

    #[test]
    fn a_client_of_a_socket_file_is_trusted_by_word_only() {
        let is_trusted = |unix| {
            let trusted = TrustedProxies {
                unix,
                ..trusting(&["0.0.0.0/0", "::/0"])
            };
            let peer = Peer::new(ClientAddress::Unix);
            Identity::new(&peer, &trusted, &RequestHead::default(), [1, 2]).is_trusted
        };
        assert!(is_trusted(true) && !is_trusted(false));
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
