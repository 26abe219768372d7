//! Hosts of routes.

use std::net::Ipv6Addr;

use crate::config::reader::{Reader, Written};
use crate::schema::{Form, Kind};

/// The form of a host.
pub(super) const HOST_NAME: Kind = Kind::Text(
    Form::new("a host name such as api.example.com or *.example.com, without a port")
        .matching(r"^(\*\.)?[A-Za-z0-9._-]+$|^\[[0-9A-Fa-f:.]+\]$"),
);

/// Longest name of a DNS host, in bytes (RFC 1035 §2.3.4).
const LONGEST_HOST: usize = 253;

/// A host in lower case. `None` is an error that was reported.
pub(super) fn read(reader: &Reader<'_>, written: Written<'_>) -> Option<String> {
    let host = parse_host(written.text);
    if host.is_none() {
        reader.refuse("host", written, host_hint(written.text));
    }
    host
}

fn parse_host(text: &str) -> Option<String> {
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Ipv6Addr = address.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_label = |label: &str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(is_part)
    };
    let is_host = name.len() <= LONGEST_HOST && name.split('.').all(is_label);
    is_host.then(|| text.to_ascii_lowercase())
}

fn host_hint(text: &str) -> Option<String> {
    if text == "*" {
        return Some("to match every host, omit `host`".to_owned());
    }
    if !text.is_ascii() {
        return Some("write the name as it appears in requests: `xn--…`".to_owned());
    }
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Some(format!("did you mean `[{address}]`?"));
    }
    if text.split('.').skip(1).any(|label| label.contains('*')) {
        return Some("`*` is allowed only as the first label, such as `*.example.com`".to_owned());
    }
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    if let Some(domain) = text.strip_prefix('.').and_then(parse_host) {
        return Some(format!("did you mean `*.{domain}`?"));
    }
    let end = text.find([':', '/']).unwrap_or(text.len());
    let host = parse_host(text.get(..end)?)?;
    Some(format!("did you mean `{host}`?"))
}
