//! Writes the heads that leave us, from what was parsed: one `Host` and one framing field of our own making, hop-by-hop
//! fields removed, identity replaced. No byte that was not understood gets through here.

use super::forwarded::Identity;
use super::max_forwards::MaxForwards;
use super::{Peer, via, websocket};
use crate::backend::{Address, Scheme};
use crate::head::{BodyLength, Field, FieldName, Method, RequestHead, ResponseHead, Version, list};
use crate::http1::reason_phrase;
use crate::http2;

/// What is written beside the fields that came, roughly.
const LINES_OF_REQUEST: usize = 256;
const LINES_OF_RESPONSE: usize = 64;

/// Writes the head of a request to a backend. `peer` is who sent it. The address of `backend` stands in for a `Host` that
/// an HTTP/1.0 client left out.
pub fn write_request(
    head: &RequestHead,
    identity: &Identity,
    peer: &Peer,
    backend: &Address,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(head.text(head.method_text));
    out.push(b' ');
    out.extend_from_slice(head.text(head.path));
    if let Some(query) = head.query {
        out.push(b'?');
        out.extend_from_slice(head.text(query));
    }
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    let host = head.text(head.authority);
    let has_host = head.version != Version::Http10 || !host.is_empty();
    if has_host {
        out.extend_from_slice(host);
    } else {
        out.extend_from_slice(backend.authority().as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    for field in &head.fields {
        let name = head.text(field.name);
        if is_forwarded((field.id, name), head.method, identity.is_trusted, peer)
            && !head.connection_names(name)
            && !websocket::is_foreign_key(head, name)
        {
            write_field(name, head.text(field.value), out);
        }
    }
    write_max_forwards(head, out);
    write_identity(head, identity, peer, out);
    if takes_trailers(head) {
        // RFC 9110 §10.1.4: whoever sends it says that it concerns this connection only.
        out.extend_from_slice(b"Connection: TE\r\nTE: trailers\r\n");
    }
    if head.expects_continue {
        out.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    if let Some(token) = head.upgrade {
        out.extend_from_slice(b"Connection: upgrade\r\n");
        write_field(b"Upgrade", head.text(token), out);
        if head.version == Version::Http2 {
            write_field(b"Sec-WebSocket-Key", &identity.websocket_key(), out);
        }
    }
    write_framing(head.body, out);
    out.extend_from_slice(b"\r\n");
}

/// The lines of the head of a request to a backend that speaks HTTP/2, with the same meaning.
pub(super) fn request_for_http2(
    head: &RequestHead,
    identity: &Identity,
    peer: &Peer,
    backend: &Address,
) -> Vec<u8> {
    let mut lines = Vec::with_capacity(LINES_OF_REQUEST + head.bytes.len());
    let out = &mut lines;
    write_field(b":method", head.text(head.method_text), out);
    let is_secure = backend.scheme == Scheme::Https;
    write_field(b":scheme", if is_secure { b"https" } else { b"http" }, out);
    match head.text(head.authority) {
        b"" => write_field(b":authority", backend.authority().as_bytes(), out),
        host => write_field(b":authority", host, out),
    }
    out.extend_from_slice(b":path: ");
    write_escaped(head.text(head.path), b"`", out);
    if let Some(query) = head.query {
        out.push(b'?');
        write_escaped(head.text(query), b"\"<>", out);
    }
    out.extend_from_slice(b"\r\n");
    for field in &head.fields {
        let name = head.text(field.name);
        if is_forwarded((field.id, name), head.method, identity.is_trusted, peer)
            && !head.connection_names(name)
        {
            write_line(field, &head.bytes, out);
        }
    }
    write_max_forwards(head, out);
    write_identity(head, identity, peer, out);
    if takes_trailers(head) {
        out.extend_from_slice(b"te: trailers\r\n");
    }
    if head.expects_continue {
        out.extend_from_slice(b"expect: 100-continue\r\n");
    }
    if let BodyLength::Exact(_) = head.body {
        write_framing(head.body, out);
    }
    lines
}

/// Writes a part of a target with those bytes escaped that some clients send as they are, and that backends which speak HTTP/2
/// refuse.
fn write_escaped(text: &[u8], escaped: &[u8], out: &mut Vec<u8>) {
    for byte in text {
        match escaped.contains(byte) {
            true => out.extend_from_slice(&[b'%', hex(byte >> 4), hex(byte & 15)]),
            false => out.push(*byte),
        }
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        0..10 => b'0' + digit,
        _ => b'A' + digit - 10,
    }
}

/// Writes the line of a field for HTTP/2.
fn write_line(field: &Field, bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len() + field.name.of(bytes).len() + 1;
    write_field(field.name.of(bytes), field.value.of(bytes), out);
    if field.is_secret
        && let Some(mark) = out.get_mut(start)
    {
        *mark = http2::NEVER_INDEXED;
    }
}

/// What an answer's head depends on beside the answer itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResponseContext<'a> {
    /// The framing that the client gets.
    pub(super) body: BodyLength,
    /// Whether the client's connection stays open.
    pub(super) keep_alive: bool,
    /// The version the client speaks.
    pub(super) version: Version,
    /// For an answer without a `Date` (RFC 9110 §6.6.1).
    pub(super) date: &'a [u8],
    /// Whether the answer switches protocols.
    pub(super) is_switch: bool,
}

/// Writes the head of an answer, interim ones included, to a client. `bytes` is what `head` was parsed from.
pub(super) fn write_response(
    head: &ResponseHead,
    bytes: &[u8],
    context: ResponseContext<'_>,
    out: &mut Vec<u8>,
) {
    write_status_line(head.status, head.reason.of(bytes), out);
    let mut has_date = head.status < 200;
    for field in &head.fields {
        has_date |= field.id == FieldName::Date;
        if !is_ours(field.id) && !head.connection_names(bytes, field.name.of(bytes)) {
            write_field(field.name.of(bytes), field.value.of(bytes), out);
        }
    }
    if !has_date {
        write_field(b"Date", context.date, out);
    }
    match context.body {
        BodyLength::None => {
            if let Some(length) = head.announced_length {
                write_framing(BodyLength::Exact(length), out);
            }
        }
        body => write_framing(body, out),
    }
    if context.is_switch {
        out.extend_from_slice(b"Connection: upgrade\r\nUpgrade: websocket\r\n");
    } else if head.status >= 200 {
        write_connection(context.keep_alive, context.version, out);
    }
    out.extend_from_slice(b"\r\n");
}

/// The lines of the head of an answer, interim ones included, to a client that speaks HTTP/2. `bytes` is what `head` was parsed
/// from.
pub(super) fn response_for_http2(head: &ResponseHead, bytes: &[u8], context: ResponseContext<'_>) -> Vec<u8> {
    let end = head.fields.last().map_or(0, |field| field.value.range().1);
    let mut lines = Vec::with_capacity(LINES_OF_RESPONSE + end);
    let out = &mut lines;
    // RFC 8441 §5: what HTTP/1.1 switches with 101 is a plain success here.
    write_status(if context.is_switch { 200 } else { head.status }, out);
    let mut has_date = head.status < 200;
    for field in &head.fields {
        has_date |= field.id == FieldName::Date;
        let name = field.name.of(bytes);
        let is_handshake = context.is_switch && name.eq_ignore_ascii_case(b"sec-websocket-accept");
        if !is_ours(field.id) && !is_handshake && !head.connection_names(bytes, name) {
            write_line(field, bytes, out);
        }
    }
    if !has_date {
        write_field(b"date", context.date, out);
    }
    let length = match context.body {
        BodyLength::None => head.announced_length,
        BodyLength::Exact(length) => Some(length),
        BodyLength::Chunked | BodyLength::UntilClose => None,
    };
    if let Some(length) = length {
        write_framing(BodyLength::Exact(length), out);
    }
    lines
}

/// Writes the line of HTTP/2 that says the status.
pub(super) fn write_status(status: u16, out: &mut Vec<u8>) {
    write_field(b":status", itoa::Buffer::new().format(status).as_bytes(), out);
}

/// Writes a status line; an empty reason is left empty.
pub(super) fn write_status_line(status: u16, reason: &[u8], out: &mut Vec<u8>) {
    if status == 200 && reason == b"OK" {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    write_number(u64::from(status), out);
    out.push(b' ');
    out.extend_from_slice(if reason.is_empty() {
        reason_phrase(status).as_bytes()
    } else {
        reason
    });
    out.extend_from_slice(b"\r\n");
}

/// Writes the `Connection` field that an answer needs: the default of the client's version needs none.
pub(super) fn write_connection(keep_alive: bool, version: Version, out: &mut Vec<u8>) {
    match (keep_alive, version) {
        (false, _) => out.extend_from_slice(b"Connection: close\r\n"),
        (true, Version::Http10) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        (true, Version::Http11 | Version::Http2) => {}
    }
}

/// Writes a field line.
pub(super) fn write_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes a decimal number.
pub(super) fn write_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn write_framing(body: BodyLength, out: &mut Vec<u8>) {
    match body {
        BodyLength::None | BodyLength::UntilClose => {}
        BodyLength::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        BodyLength::Exact(length) => {
            out.extend_from_slice(b"Content-Length: ");
            write_number(length, out);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Fields that are never copied: those of one hop (RFC 9110 §7.6.1), and framing.
fn is_ours(id: FieldName) -> bool {
    id.is_hop_by_hop() || matches!(id, FieldName::ContentLength | FieldName::FramingAlias)
}

/// Whether the client says that it keeps trailers (RFC 9110 §10.1.4).
fn takes_trailers(head: &RequestHead) -> bool {
    head.values(FieldName::Te)
        .flat_map(list::elements)
        .any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

/// Whether a request's field goes on to the backend as it is.
fn is_forwarded((id, name): (FieldName, &[u8]), method: Method, is_trusted: bool, peer: &Peer) -> bool {
    match id {
        FieldName::Other => true,
        FieldName::Host | FieldName::Expect => false,
        FieldName::MaxForwards => !MaxForwards::is_counted(method),
        FieldName::XForwardedFor
        | FieldName::XForwardedHost
        | FieldName::XForwardedProto
        | FieldName::XRequestId => false,
        // A trusted proxy sets the names with dashes. One with `_` is its client's, and to some backends the same.
        FieldName::IdentityAlias => is_trusted && !name.contains(&b'_') && !is_replaced(name, peer),
        id if id.is_identity() => is_trusted,
        id => !is_ours(id),
    }
}

/// Whether what came of a certificate, of these names the ones that begin with `c`, stands beside our own word of one. The
/// chain that belongs to another certificate would be taken for this one's (RFC 9440 §2.4).
fn is_replaced(name: &[u8], peer: &Peer) -> bool {
    peer.certificate.is_some() && matches!(name.first(), Some(b'c' | b'C'))
}

/// Writes how many more times the request may be forwarded, if it says so.
fn write_max_forwards(head: &RequestHead, out: &mut Vec<u8>) {
    if let MaxForwards::Left(left) = MaxForwards::of(head) {
        write_field(b"Max-Forwards", itoa::Buffer::new().format(left).as_bytes(), out);
    }
}

/// What backends are told of the client. From a trusted proxy the chain goes on; what anybody else said is replaced.
fn write_identity(head: &RequestHead, identity: &Identity, peer: &Peer, out: &mut Vec<u8>) {
    let ip = peer.ip();
    if !ip.is_empty() {
        out.extend_from_slice(b"X-Forwarded-For: ");
        if identity.is_trusted {
            for hop in hops(head) {
                out.extend_from_slice(hop);
                out.extend_from_slice(b", ");
            }
        }
        out.extend_from_slice(ip);
        out.extend_from_slice(b"\r\nX-Forwarded-Proto: ");
    } else {
        write_chain_alone(head, identity, out);
        out.extend_from_slice(b"X-Forwarded-Proto: ");
    }
    let theirs = |id| {
        if identity.is_trusted {
            head.values(id).next()
        } else {
            None
        }
    };
    let scheme = if peer.is_secure { "https" } else { "http" };
    out.extend_from_slice(theirs(FieldName::XForwardedProto).unwrap_or(scheme.as_bytes()));
    let host = theirs(FieldName::XForwardedHost).unwrap_or(head.text(head.authority));
    if !host.is_empty() {
        out.extend_from_slice(b"\r\nX-Forwarded-Host: ");
        out.extend_from_slice(host);
    }
    if let Some(certificate) = &peer.certificate {
        out.extend_from_slice(b"\r\nClient-Cert: ");
        out.extend_from_slice(certificate.field.as_bytes());
    }
    out.extend_from_slice(b"\r\nX-Request-Id: ");
    out.extend_from_slice(identity.request_id(head));
    out.extend_from_slice(b"\r\n");
    if !identity.is_trusted {
        via::of_instances(head).for_each(|element| write_field(b"Via", element, out));
    }
    out.extend_from_slice(via::line(head.version));
}

/// The line with the chain that a trusted proxy sent, if it did, for a client who has no IP address to add to it.
#[cold]
fn write_chain_alone(head: &RequestHead, identity: &Identity, out: &mut Vec<u8>) {
    let mut hops = hops(head).filter(|_| identity.is_trusted);
    let Some(first) = hops.next() else {
        return;
    };
    out.extend_from_slice(b"X-Forwarded-For: ");
    out.extend_from_slice(first);
    for hop in hops {
        out.extend_from_slice(b", ");
        out.extend_from_slice(hop);
    }
    out.extend_from_slice(b"\r\n");
}

/// The elements of the chain over all lines, without empty ones.
fn hops(head: &RequestHead) -> impl Iterator<Item = &[u8]> {
    head.values(FieldName::XForwardedFor).flat_map(list::elements)
}

#[cfg(test)]
mod tests;
