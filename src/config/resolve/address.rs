//! Addresses to listen on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::reader::{Reader, Written};
use crate::config::source::Finding;

/// An address and where it was written; `None` when it is a default.
#[derive(Clone, Copy)]
pub(super) struct Listening<'a> {
    pub(super) address: SocketAddr,
    pub(super) written: Option<Written<'a>>,
}

impl Listening<'_> {
    /// Whether both cannot be bound at one time. IPv6 sockets of ours take no IPv4 connections.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let (one, other) = (self.address, other.address);
        let is_one_part = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
        one.port() != 0 && one.port() == other.port() && one.is_ipv4() == other.is_ipv4() && is_one_part
    }
}

/// Reads the address that was written for a key, or reports what is wrong with it.
pub(super) fn read<'a>(reader: &Reader<'_>, key: &str, written: Written<'a>) -> Option<Listening<'a>> {
    if written.text.starts_with("unix:") {
        let message = "unix sockets are not built yet";
        reader
            .cx
            .report(Finding::error(written.place, message).note("accepted: an IP address and a port"));
        return None;
    }
    let Some(address) = parse(written.text) else {
        reader.refuse(key, written, hint(written.text));
        return None;
    };
    Some(Listening {
        address,
        written: Some(written),
    })
}

/// Address and port; without an address, or with `*` for it, every IPv4 address.
pub(super) fn parse(text: &str) -> Option<SocketAddr> {
    let port = text
        .strip_prefix("*:")
        .or_else(|| text.strip_prefix(':'))
        .unwrap_or(text);
    if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) {
        let port = port.parse().ok()?;
        return Some(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port));
    }
    text.parse().ok()
}

fn hint(text: &str) -> Option<String> {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let text = text.strip_suffix('/').unwrap_or(text);
    if let Some(address) = parse(text) {
        return Some(format!("did you mean `{address}`?"));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        if let Some((Ok(head), port)) = text
            .rsplit_once(':')
            .map(|(head, port)| (head.parse::<Ipv6Addr>(), port))
        {
            return Some(format!("an IPv6 address stands in brackets: `[{head}]:{port}`"));
        }
        return Some(format!(
            "the port is missing: did you mean `{}`?",
            SocketAddr::new(address, 8080)
        ));
    }
    let (name, port) = text.rsplit_once(':').unwrap_or((text, "8080"));
    let port: u16 = port.parse().ok()?;
    match name.parse::<Ipv6Addr>() {
        Ok(head) => Some(format!("an IPv6 address stands in brackets: `[{head}]:{port}`")),
        Err(_) if name == "localhost" => Some(format!("did you mean `127.0.0.1:{port}`?")),
        Err(_) if name.parse::<Ipv4Addr>().is_err() => {
            Some("a name is not looked up here: write an IP address".to_owned())
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(text: &str) -> Listening<'static> {
        Listening {
            address: parse(text).unwrap(),
            written: None,
        }
    }

    #[test]
    fn reads_addresses() {
        for (text, meant) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
            (":8080", "0.0.0.0:8080"),
            ("8080", "0.0.0.0:8080"),
            ("*:8080", "0.0.0.0:8080"),
            ("0.0.0.0:0", "0.0.0.0:0"),
        ] {
            assert_eq!(parse(text), Some(meant.parse().unwrap()), "{text}");
        }
        for text in [
            "",
            ":",
            "0.0.0.0",
            "0.0.0.0:65536",
            ":65536",
            "+80",
            "a:80",
            "::1",
            "1.2.3:80",
            " :80",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn hints_at_what_was_meant() {
        for (text, hinted) in [
            ("localhost:80", "`127.0.0.1:80`"),
            ("http://0.0.0.0:80/", "`0.0.0.0:80`"),
            ("127.0.0.1", "`127.0.0.1:8080`"),
            ("::1", "`[::1]:8080`"),
            ("::1:80", "`[::1]:80`"),
            ("example.com:80", "an IP address"),
        ] {
            assert!(hint(text).unwrap().contains(hinted), "{text}: {:?}", hint(text));
        }
        assert_eq!(hint("nonsense:port"), None);
    }

    #[test]
    fn sees_overlaps() {
        for (one, other, overlap) in [
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("[::]:80", "[::1]:80", true),
            ("0.0.0.0:80", "[::]:80", false),
            ("0.0.0.0:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            assert_eq!(
                listening(one).overlaps(&listening(other)),
                overlap,
                "{one} {other}"
            );
            assert_eq!(
                listening(other).overlaps(&listening(one)),
                overlap,
                "{other} {one}"
            );
        }
    }
}
