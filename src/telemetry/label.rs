//! A short text that appears in many log lines, escaped once instead of once per line.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use smallvec::SmallVec;

use super::json;

/// Bytes of a label that need no heap memory: enough for `"255.255.255.255:65535"`, because every connection has a label of its client.
const INLINE: usize = 24;

/// A short text (a backend's URL, a name in the config, an address), stored as an escaped JSON string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label(SmallVec<[u8; INLINE]>);

impl Label {
    /// Maximum number of bytes of the text that are shown.
    pub const BOUND: usize = 256;

    /// Makes the label of a text, cut at [`Self::BOUND`] with a mark.
    pub fn new(text: &str) -> Self {
        let mut out = Vec::with_capacity(text.len() + 2);
        json::string(&mut out, text.as_bytes(), Self::BOUND);
        Self(SmallVec::from_slice(&out))
    }

    /// Makes the label of an address with its port: IPv6 in brackets (RFC 3986 §3.2.2), an IPv4-mapped address as IPv4. Also
    /// returns the range of the IP address in it, without brackets.
    pub fn of_address(address: SocketAddr) -> (Self, Range<usize>) {
        let ip = address.ip().to_canonical();
        let (before, after): (&[u8], &[u8]) = match ip {
            IpAddr::V4(_) => (b"\"", b":"),
            IpAddr::V6(_) => (b"\"[", b"]:"),
        };
        let mut out = Vec::with_capacity(2 * INLINE);
        out.extend_from_slice(before);
        json::ip_address(&mut out, ip);
        let range = before.len()..out.len();
        out.extend_from_slice(after);
        json::number(&mut out, u64::from(address.port()));
        out.push(b'"');
        (Self(SmallVec::from_slice(&out)), range)
    }

    /// The bytes of the JSON string in `range`.
    pub fn part(&self, range: Range<usize>) -> &[u8] {
        self.0.get(range).unwrap_or_default()
    }

    /// The text as shown.
    pub fn text(&self) -> Cow<'_, str> {
        let inner = self.part(1..self.0.len().saturating_sub(1));
        match memchr::memchr(b'\\', inner) {
            None => String::from_utf8_lossy(inner),
            Some(_) => Cow::Owned(serde_json::from_slice(&self.0).unwrap_or_default()),
        }
    }

    /// The JSON string with its quotes.
    pub(super) fn as_json(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_escaped_and_cut() {
        assert_eq!(Label::new("a\"b\n\u{202E}").as_json(), br#""a\"b\n\u202e""#);
        assert!(Label::new(&"x".repeat(300)).as_json().len() < 300);
    }

    #[test]
    fn the_text_is_as_it_was_shown() {
        for text in ["", "a", "http://10.0.0.1:8001", "ä", "a\"b\\\n"] {
            assert_eq!(Label::new(text).text(), text);
        }
    }

    #[test]
    fn shows_addresses_with_port_and_ipv6_in_brackets() {
        for (address, shown, ip) in [
            ("192.0.2.1:50123", "\"192.0.2.1:50123\"", "192.0.2.1"),
            (
                "255.255.255.255:65535",
                "\"255.255.255.255:65535\"",
                "255.255.255.255",
            ),
            ("[::ffff:192.0.2.1]:1", "\"192.0.2.1:1\"", "192.0.2.1"),
            ("[2001:db8::7]:443", "\"[2001:db8::7]:443\"", "2001:db8::7"),
            ("[fe80::1%3]:0", "\"[fe80::1]:0\"", "fe80::1"),
        ] {
            let (label, range) = Label::of_address(address.parse().unwrap());
            assert_eq!(label.as_json(), shown.as_bytes());
            assert_eq!(label.part(range), ip.as_bytes());
        }
    }

    #[test]
    fn no_ipv4_address_needs_heap_memory() {
        let (label, _) = Label::of_address("255.255.255.255:65535".parse().unwrap());
        assert!(!label.0.spilled());
    }
}
