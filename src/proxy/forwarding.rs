//! The headers that tell a backend who the client is: what a trusted proxy said is kept and extended; what anybody else said is
//! replaced.

use std::net::IpAddr;

use super::Peer;
use super::forwarded::{Identity, read_address};
use crate::head::{FieldName, RequestHead, list};
use crate::message::{HeadWriter, name};
use crate::pool::ForwardedHeaders;

/// The headers for the backends of a pool that does not have the usual ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forwarding {
    pub(super) headers: ForwardedHeaders,
    /// The port that the client connected to, if it is known and needed.
    pub(super) port: Option<u16>,
}

/// What the headers are made from.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) head: &'a RequestHead,
    pub(super) identity: &'a Identity,
    pub(super) peer: &'a Peer,
}

impl Forwarding {
    /// Whether a header of a trusted proxy is not copied, because it is written anew.
    pub(super) fn replaces(&self, id: FieldName, name: &[u8]) -> bool {
        match id {
            FieldName::Forwarded => self.headers.has(ForwardedHeaders::FORWARDED),
            FieldName::XRealIp => self.headers.has(ForwardedHeaders::X_REAL_IP),
            FieldName::IdentityAlias => {
                self.headers.has(ForwardedHeaders::X_FORWARDED_PORT)
                    && name.eq_ignore_ascii_case(b"x-forwarded-port")
            }
            _ => false,
        }
    }

    /// Writes the headers of the list.
    #[cold]
    pub(super) fn write<W: HeadWriter>(&self, origin: Origin<'_>, out: &mut W) {
        if self.headers.has(ForwardedHeaders::X_FORWARDED) {
            write_x_forwarded(origin, out);
        }
        if self.headers.has(ForwardedHeaders::FORWARDED) {
            write_forwarded(origin, out);
        }
        if self.headers.has(ForwardedHeaders::X_REAL_IP) {
            write_real_ip(origin, out);
        }
        if self.headers.has(ForwardedHeaders::X_FORWARDED_PORT) {
            let theirs = origin.their_port();
            if let Some(port) = theirs.or_else(|| origin.implied_port()).or(self.port) {
                out.set_number(name!("X-Forwarded-Port"), port.into());
            }
        }
    }
}

impl<'a> Origin<'a> {
    /// The first value of a trusted proxy.
    fn theirs(&self, id: FieldName) -> Option<&'a [u8]> {
        match self.identity.is_trusted {
            true => self.head.values(id).next(),
            false => None,
        }
    }

    fn scheme(&self) -> &'a [u8] {
        let ours: &[u8] = if self.peer.is_secure { b"https" } else { b"http" };
        self.theirs(FieldName::XForwardedProto).unwrap_or(ours)
    }

    fn host(&self) -> &'a [u8] {
        let theirs = self.theirs(FieldName::XForwardedHost);
        theirs.unwrap_or(self.head.text(self.head.authority))
    }

    /// What a trusted proxy says of the port.
    fn their_port(&self) -> Option<u16> {
        let mut fields = self.head.fields.iter().filter(|_| self.identity.is_trusted);
        let field = fields.find(|field| {
            let name = self.head.text(field.name);
            name.eq_ignore_ascii_case(b"x-forwarded-port")
        })?;
        let mut ports = list::elements(self.head.text(field.value));
        number(ports.next()?)
    }

    /// The port that follows from what a trusted proxy says of the host and the scheme: ours is not that of the client.
    fn implied_port(&self) -> Option<u16> {
        let scheme = self.theirs(FieldName::XForwardedProto)?;
        let host = self.host();
        let colon = memchr::memrchr(b':', host);
        let named = colon.and_then(|colon| number(host.get(colon + 1..)?));
        named.or_else(|| match list::elements(scheme).next()? {
            scheme if scheme.eq_ignore_ascii_case(b"https") => Some(443),
            scheme if scheme.eq_ignore_ascii_case(b"http") => Some(80),
            _ => None,
        })
    }
}

/// Writes `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`.
#[inline]
pub(super) fn write_x_forwarded<W: HeadWriter>(origin: Origin<'_>, out: &mut W) {
    write_chain(origin, out);
    out.set(name!("X-Forwarded-Proto"), origin.scheme());
    let host = origin.host();
    if !host.is_empty() {
        out.set(name!("X-Forwarded-Host"), host);
    }
}

/// Writes the chain of addresses: that of a trusted proxy, then the client's, if it has an IP address.
fn write_chain<W: HeadWriter>(origin: Origin<'_>, out: &mut W) {
    let ip = origin.peer.ip();
    if !origin.identity.is_trusted {
        if !ip.is_empty() {
            out.set(name!("X-Forwarded-For"), ip);
        }
        return;
    }
    let hops = origin
        .head
        .values(FieldName::XForwardedFor)
        .flat_map(list::elements);
    let mut hops = hops.chain([ip].into_iter().filter(|ip| !ip.is_empty()));
    if let Some(first) = hops.next() {
        out.begin(name!("X-Forwarded-For"));
        out.part(first);
        for hop in hops {
            out.part(b", ");
            out.part(hop);
        }
        out.end();
    }
}

/// Writes `Forwarded`: the elements of a trusted proxy, or else those that its `X-Forwarded-For` makes (RFC 7239 §7.4), then ours.
/// The scheme and the host of the client's request stand in the first element.
fn write_forwarded<W: HeadWriter>(origin: Origin<'_>, out: &mut W) {
    let theirs = |id| {
        let values = origin.head.values(id).filter(|_| origin.identity.is_trusted);
        values.flat_map(list::elements)
    };
    let mut value = Vec::new();
    for element in theirs(FieldName::Forwarded) {
        value.extend_from_slice(element);
        value.extend_from_slice(b", ");
    }
    if value.is_empty() {
        for hop in theirs(FieldName::XForwardedFor) {
            write_element(hop, value.is_empty().then_some(origin), &mut value);
            value.extend_from_slice(b", ");
        }
    }
    let is_first = value.is_empty();
    write_element(origin.peer.ip(), is_first.then_some(origin), &mut value);
    out.set(name!("Forwarded"), &value);
}

/// Writes an element for a hop with this address, and what it says of the client's request if it is the first.
fn write_element(address: &[u8], first: Option<Origin<'_>>, out: &mut Vec<u8>) {
    // An IPv6 address has colons, which need brackets and quotes (RFC 7239 §6).
    let node = match read_address(address).map(|ip| ip.to_canonical()) {
        Some(IpAddr::V4(ip)) => ip.to_string(),
        Some(IpAddr::V6(ip)) => format!("\"[{ip}]\""),
        None => "unknown".to_owned(),
    };
    out.extend_from_slice(b"for=");
    out.extend_from_slice(node.as_bytes());
    let Some(origin) = first else { return };
    let host = origin.host();
    if !host.is_empty() {
        out.extend_from_slice(b";host=");
        write_quoted(host, out);
    }
    match origin.scheme() {
        scheme @ (b"http" | b"https") => {
            out.extend_from_slice(b";proto=");
            out.extend_from_slice(scheme);
        }
        scheme => {
            out.extend_from_slice(b";proto=");
            write_quoted(scheme, out);
        }
    }
}

/// Writes a quoted string (RFC 9110 §5.6.4).
fn write_quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

/// Writes `X-Real-IP`: the client as the access log names it.
fn write_real_ip<W: HeadWriter>(origin: Origin<'_>, out: &mut W) {
    let named = origin.identity.named.map(|ip| ip.to_string());
    let address = match (&named, origin.theirs(FieldName::XRealIp)) {
        (Some(named), _) => named.as_bytes(),
        (None, Some(theirs)) => theirs,
        (None, None) => origin.peer.ip(),
    };
    if !address.is_empty() {
        out.set(name!("X-Real-IP"), address);
    }
}

fn number(text: &[u8]) -> Option<u16> {
    let is_number = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_number)?.parse().ok()
}
