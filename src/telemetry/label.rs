//! A text that stands in many log lines, made harmless once instead of in each of them.

use std::net::SocketAddr;

use super::json;

/// A short text of ours (a backend's URL, a name of the config, an address) as the JSON string that it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label(Box<[u8]>);

impl Label {
    /// Bytes of a label that are shown.
    pub const BOUND: usize = 256;

    /// Makes the label of a text; what is beyond [`Self::BOUND`] is cut off with a mark.
    pub fn new(text: &str) -> Self {
        let mut out = Vec::with_capacity(text.len() + 2);
        json::string(&mut out, text.as_bytes(), Self::BOUND);
        Self(out.into())
    }

    /// Makes the label of an address with its port: IPv6 in brackets (RFC 3986 §3.2.2), an IPv4 client of a socket for both
    /// families as IPv4.
    pub fn of_address(address: SocketAddr) -> Self {
        let canonical = SocketAddr::new(address.ip().to_canonical(), address.port());
        Self::new(&canonical.to_string())
    }

    /// The JSON string, its quotes included.
    pub(super) fn as_json(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_harmless_whatever_the_text() {
        assert_eq!(Label::new("a\"b\n\u{202E}").as_json(), br#""a\"b\n\u202e""#);
        assert!(Label::new(&"x".repeat(300)).as_json().len() < 300);
    }

    #[test]
    fn shows_addresses_with_port_and_ipv6_in_brackets() {
        let shown = |text: &str| {
            String::from_utf8(Label::of_address(text.parse().unwrap()).as_json().to_vec()).unwrap()
        };
        assert_eq!(shown("192.0.2.1:50123"), "\"192.0.2.1:50123\"");
        assert_eq!(shown("[::ffff:192.0.2.1]:1"), "\"192.0.2.1:1\"");
        assert_eq!(shown("[2001:db8::7]:443"), "\"[2001:db8::7]:443\"");
    }
}
