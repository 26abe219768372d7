//! PROXY protocol version 1: one line of text such as `PROXY TCP4 192.0.2.7 192.0.2.1 50123 80`, ended by CRLF.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{BadHeader, ProxyHeader};

/// The start of every line.
pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// Longest line in bytes, including CRLF (§2.1 of the protocol).
const LONGEST: usize = 107;

pub(super) fn parse(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, BadHeader> {
    let window = bytes.get(..LONGEST).unwrap_or(bytes);
    let Some(end) = memchr::memchr2(b'\r', b'\n', window) else {
        return match bytes.len() < LONGEST {
            true => Ok(None),
            false => Err(BadHeader::TooLong),
        };
    };
    let (line, rest) = window.split_at(end);
    match rest {
        [b'\r', b'\n', ..] => Ok(Some((parse_line(line)?, end + 2))),
        [b'\r'] if window.len() < LONGEST => Ok(None),
        _ => Err(BadHeader::Line),
    }
}

fn parse_line(line: &[u8]) -> Result<ProxyHeader, BadHeader> {
    let is_text = line.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let line = std::str::from_utf8(line).ok().filter(|_| is_text);
    let mut words = line.ok_or(BadHeader::Line)?.split(' ');
    let family = words.nth(1).ok_or(BadHeader::Line)?;
    if family == "UNKNOWN" {
        // The rest of the line has to be ignored.
        return Ok(ProxyHeader::Unknown);
    }
    let mut word = || words.next().ok_or(BadHeader::Line);
    let texts = [word()?, word()?, word()?, word()?];
    if words.next().is_some() {
        return Err(BadHeader::Line);
    }
    match family {
        "TCP4" => addresses::<Ipv4Addr>(texts),
        "TCP6" => addresses::<Ipv6Addr>(texts),
        _ => Err(BadHeader::Unspecified),
    }
}

fn addresses<A: FromStr + Into<IpAddr>>(texts: [&str; 4]) -> Result<ProxyHeader, BadHeader> {
    let [source, destination, source_port, destination_port] = texts;
    let ip = |text: &str| text.parse::<A>().map(A::into).map_err(|_| BadHeader::Address);
    Ok(ProxyHeader::Ip {
        source: SocketAddr::new(ip(source)?, port(source_port)?),
        destination: SocketAddr::new(ip(destination)?, port(destination_port)?),
    })
}

/// A decimal number. Signs and leading zeros are rejected, because parsers could disagree on them.
fn port(text: &str) -> Result<u16, BadHeader> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let number = text.parse().ok().filter(|_| is_plain);
    number.ok_or(BadHeader::Address)
}

pub(super) fn write(header: &ProxyHeader, out: &mut Vec<u8>) {
    let ProxyHeader::Ip { source, destination } = header else {
        out.extend_from_slice(b"PROXY UNKNOWN\r\n");
        return;
    };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    // Writing to a vector does not fail.
    let _ = write!(
        out,
        "PROXY {family} {} {} {} {}\r\n",
        source.ip(),
        destination.ip(),
        source.port(),
        destination.port()
    );
}
