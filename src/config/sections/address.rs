//! The addresses of listeners and of the admin API.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use crate::config::context::Context;
use crate::config::hints;
use crate::config::reader::{Reader, Written};
use crate::config::source::Diagnostic;
use crate::net::{LONGEST_PATH, ListenAddress};
use crate::schema::{Form, Kind};

/// An address to listen on: an IP address or a Unix socket.
pub(super) const LISTEN_ADDRESS: Kind = Kind::Text(Form::new("an IP address and a port, such as 0.0.0.0:8080, [::1]:8080 or :8080, or a Unix socket such as unix:/run/evenkeel.sock").matching(r"^(unix:.+|([0-9.]+:|\[[0-9A-Fa-f:.%]+\]:|\*:|:)?[0-9]{1,5})$").or_number());

/// Prefix of the address of a Unix socket.
const UNIX_PREFIX: &str = "unix:";

/// An address and the text it was read from.
#[derive(Clone)]
pub(super) struct Listening<'a> {
    pub(super) address: ListenAddress,
    /// `None` for a default.
    pub(super) written: Option<Written<'a>>,
}

impl Listening<'_> {
    /// Whether both cannot be bound at the same time.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.address.overlaps(&other.address)
    }
}

/// Reads the address that was written for a key. An invalid address is reported.
pub(super) fn read<'a>(reader: &Reader<'_>, key: &str, written: Written<'a>) -> Option<Listening<'a>> {
    let address = match unix_socket(reader.cx, written) {
        Some(path) => ListenAddress::Unix(path?),
        None => ListenAddress::Ip(read_ip(reader, key, written)?),
    };
    Some(Listening {
        address,
        written: Some(written),
    })
}

fn read_ip(reader: &Reader<'_>, key: &str, written: Written<'_>) -> Option<SocketAddr> {
    let address = parse(written.text);
    if address.is_none() {
        reader.refuse(key, written, hint(written.text));
    }
    address
}

/// The path of a Unix socket, written as `unix:PATH`. `Some(None)` for an invalid path, which is reported; `None` for any
/// other address.
pub(super) fn unix_socket(cx: &Context<'_>, written: Written<'_>) -> Option<Option<PathBuf>> {
    let text = written.text.strip_prefix(UNIX_PREFIX)?;
    let path = cx.path(text);
    let quote = cx.quote(written.span);
    let message = if text.is_empty() || text.ends_with('/') {
        format!("{quote} is not a valid Unix socket: the path must name a file")
    } else if text.starts_with('@') {
        format!("{quote} is an abstract socket, which is not supported because it has no file permissions")
    } else if text.chars().any(char::is_control) {
        format!("{quote} is not a valid Unix socket: the path contains control characters")
    } else if path.as_os_str().as_bytes().len() > LONGEST_PATH {
        format!("{quote} is not a valid Unix socket: the path is longer than {LONGEST_PATH} bytes")
    } else {
        return Some(Some(path));
    };
    let diagnostic = Diagnostic::error(written.span, message);
    cx.report(diagnostic.note("accepted: a path such as unix:/run/evenkeel.sock"));
    Some(None)
}

/// Parses an address and a port. Without an address, or with `*` in its place, it is every IPv4 address.
pub(super) fn parse(text: &str) -> Option<SocketAddr> {
    let port = text
        .strip_prefix("*:")
        .or_else(|| text.strip_prefix(':'))
        .unwrap_or(text);
    if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) {
        let port = port.parse().ok()?;
        return Some(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port));
    }
    // An IPv4 address in IPv6 notation becomes an IPv4 address, since our IPv6 sockets do not accept IPv4 connections.
    let address: SocketAddr = text.parse().ok()?;
    Some(match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    })
}

fn hint(text: &str) -> Option<String> {
    let items = hints::split(text);
    if items.len() > 1 && items.iter().all(|item| parse(item).is_some()) {
        return Some(format!(
            "write several addresses as a list: `[{}]`",
            items.join(", ")
        ));
    }
    if text.contains(' ') {
        return None;
    }
    if matches!(text, "true" | "on" | "yes") {
        return Some("write the address, such as `127.0.0.1:9900`".to_owned());
    }
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
            return Some(format!("an IPv6 address needs brackets: `[{head}]:{port}`"));
        }
        return Some(format!(
            "the port is missing: did you mean `{}`?",
            SocketAddr::new(address, 8080)
        ));
    }
    let (name, port) = text.rsplit_once(':').unwrap_or((text, "8080"));
    let port: u16 = port.parse().ok()?;
    match name.parse::<Ipv6Addr>() {
        Ok(head) => Some(format!("an IPv6 address needs brackets: `[{head}]:{port}`")),
        Err(_) if name == "localhost" => Some(format!("did you mean `127.0.0.1:{port}`?")),
        Err(_) if name.parse::<Ipv4Addr>().is_err() => {
            Some("host names are not resolved here: write an IP address".to_owned())
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(text: &str) -> Listening<'static> {
        let address = match text.strip_prefix(UNIX_PREFIX) {
            Some(path) => ListenAddress::Unix(path.into()),
            None => ListenAddress::Ip(parse(text).unwrap()),
        };
        Listening {
            address,
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
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80"),
            ("[::ffff:7f00:1]:80", "127.0.0.1:80"),
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
    fn suggests_a_valid_address() {
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
    fn finds_overlaps() {
        for (one, other, overlap) in [
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("[::]:80", "[::1]:80", true),
            ("0.0.0.0:80", "[::]:80", false),
            ("0.0.0.0:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("unix:/a", "unix:/a", true),
            ("unix:/a", "unix:/b", false),
            ("unix:/a", "0.0.0.0:80", false),
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
