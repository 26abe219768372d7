//! What the heads of forwarded requests and responses say, from what was parsed: exactly one host and one framing field, both
//! set here, no hop-by-hop fields, and identity fields replaced. No byte that was not understood is forwarded.

use evenkeel_balance::edits::Direction;

use super::changes::{HeaderChanges, RequestChanges};
use super::forwarded::Identity;
use super::forwarding::{Forwarding, Origin, write_x_forwarded};
use super::max_forwards::MaxForwards;
use super::trace::Propagated;
use super::{Peer, via, websocket};
use crate::backend::{Address, Scheme};
use crate::head::{BodyLength, FieldName, RequestHead, ResponseHead, Version, list};
use crate::message::{HeadWriter, OutgoingHead, Target, name};

/// About how many fields, and how many bytes of them, are added to a request and to a response.
const ADDED_TO_REQUEST: (usize, usize) = (12, 256);
const ADDED_TO_RESPONSE: (usize, usize) = (3, 64);

/// The head of a request to a backend.
pub(super) struct ForwardedRequest<'a> {
    /// The head that the client sent.
    pub(super) head: &'a RequestHead,
    pub(super) identity: &'a Identity,
    /// Who sent it.
    pub(super) peer: &'a Peer,
    /// Its address takes the place of a host that the client left out.
    pub(super) backend: &'a Address,
    /// What the route changes.
    pub(super) changes: Option<&'a RequestChanges<'a>>,
    /// The headers that say who the client is, if they are not the usual ones.
    pub(super) forwarding: Option<Forwarding>,
    /// The context of the trace, while tracing is on.
    pub(super) trace: Option<Propagated>,
}

impl OutgoingHead for ForwardedRequest<'_> {
    fn size(&self) -> (usize, usize) {
        let (fields, text) = ADDED_TO_REQUEST;
        (fields + self.head.fields.len(), text + self.head.bytes.len())
    }

    #[inline]
    fn write<W: HeadWriter>(&self, out: &mut W) {
        let Self {
            head, identity, peer, ..
        } = *self;
        self.write_target(out);
        for field in &head.fields {
            let name = head.text(field.name);
            if self.is_forwarded(field.id, name)
                && !head.connection_names(name)
                && !websocket::is_foreign_key(head, name)
                && !self
                    .changes
                    .is_some_and(|changes| changes.headers.removes(Direction::Request, name))
            {
                out.received_field(field, &head.bytes);
            }
        }
        write_max_forwards(head, out);
        write_identity(Origin { head, identity, peer }, self.forwarding.as_ref(), out);
        if let Some(trace) = &self.trace {
            trace.write(self.changes, out);
        }
        if let Some(changes) = self.changes {
            write_added(&changes.headers, out);
        }
        if takes_trailers(head) {
            // RFC 9110 §10.1.4: it concerns this connection only.
            out.connection(b"TE");
            out.set(name!("TE"), b"trailers");
        }
        if head.expects_continue {
            out.set(name!("Expect"), b"100-continue");
        }
        if let Some(token) = head.upgrade.filter(|_| W::HAS_UPGRADE) {
            out.connection(b"upgrade");
            out.set(name!("Upgrade"), head.text(token));
            if websocket::needs_key(head) {
                out.set(name!("Sec-WebSocket-Key"), &identity.websocket_key());
            }
        }
        out.framing(head.body);
        out.finish();
    }
}

impl ForwardedRequest<'_> {
    /// Writes the request line, or the pseudo-headers of it.
    #[inline]
    fn write_target<W: HeadWriter>(&self, out: &mut W) {
        let Self { head, backend, .. } = *self;
        let host = self.changes.and_then(|changes| changes.authority.as_deref());
        let host = host.unwrap_or(head.text(head.authority));
        let may_be_empty = W::ALLOWS_EMPTY_HOST && head.version != Version::Http10;
        let address;
        let authority = match host {
            b"" if !may_be_empty => {
                address = backend.authority();
                address.as_bytes()
            }
            host => host,
        };
        let path = self.changes.and_then(|changes| changes.path);
        out.request(&Target {
            method: head.text(head.method_text),
            is_secure: backend.scheme == Scheme::Https,
            authority,
            path: path.unwrap_or(head.text(head.path)),
            query: head.query.map(|query| head.text(query)),
        });
    }

    /// Whether a field goes on to the backend as it is.
    fn is_forwarded(&self, id: FieldName, name: &[u8]) -> bool {
        let Self { identity, peer, .. } = *self;
        let is_rewritten = || {
            let forwarding = self.forwarding.as_ref();
            forwarding.is_some_and(|forwarding| forwarding.replaces(id, name))
        };
        match id {
            FieldName::Other => self.trace.as_ref().is_none_or(|trace| trace.forwards(name)),
            FieldName::Host | FieldName::Expect => false,
            FieldName::MaxForwards => !MaxForwards::is_counted(self.head.method),
            FieldName::XForwardedFor
            | FieldName::XForwardedHost
            | FieldName::XForwardedProto
            | FieldName::XRequestId => false,
            // A trusted proxy sets the names with dashes. One with `_` is its client's, and to some backends the same.
            FieldName::IdentityAlias => {
                identity.is_trusted && !name.contains(&b'_') && !is_replaced(name, peer) && !is_rewritten()
            }
            id if id.is_identity() => identity.is_trusted && !is_rewritten(),
            id => !is_ours(id),
        }
    }
}

/// Writes the head of a request to a backend, for a route that changes nothing.
pub fn write_request<W: HeadWriter>(
    head: &RequestHead,
    identity: &Identity,
    peer: &Peer,
    backend: &Address,
    out: &mut W,
) {
    let request = ForwardedRequest {
        head,
        identity,
        peer,
        backend,
        changes: None,
        forwarding: None,
        trace: None,
    };
    request.write(out);
}

/// Writes the headers that the changes add.
#[inline]
pub(super) fn write_added<W: HeadWriter>(changes: &HeaderChanges<'_>, out: &mut W) {
    for (name, value, is_secret) in changes.listed() {
        out.field(name, value, is_secret);
    }
    if let Some(edits) = changes.literals() {
        let fields = edits.literals().map(|(name, value)| (name.as_bytes(), value));
        out.fixed(edits.lines(), fields);
    }
}

/// What the head of a response depends on besides the response itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResponseContext<'a> {
    /// How the body ends for the client.
    pub(super) body: BodyLength,
    /// Whether the client's connection stays open.
    pub(super) keep_alive: bool,
    /// The version that the client speaks.
    pub(super) version: Version,
    /// For a response without a `Date` (RFC 9110 §6.6.1).
    pub(super) date: &'a [u8],
    /// Whether the response switches protocols.
    pub(super) is_switch: bool,
}

/// The head of a response to a client, final or interim.
pub(super) struct ForwardedResponse<'a> {
    pub(super) head: &'a ResponseHead,
    /// What `head` was parsed from.
    pub(super) bytes: &'a [u8],
    pub(super) context: ResponseContext<'a>,
    /// What the route changes.
    pub(super) changes: Option<&'a HeaderChanges<'a>>,
}

impl OutgoingHead for ForwardedResponse<'_> {
    fn size(&self) -> (usize, usize) {
        let (fields, text) = ADDED_TO_RESPONSE;
        let end = self.head.fields.last().map_or(0, |field| field.value.range().1);
        (fields + self.head.fields.len(), text + end)
    }

    #[inline]
    fn write<W: HeadWriter>(&self, out: &mut W) {
        let Self {
            head,
            bytes,
            context,
            changes,
        } = self;
        // RFC 8441 §5: what HTTP/1.1 switches with 101 is a plain success in HTTP/2, without the fields of the handshake.
        let is_accepted_stream = context.is_switch && !W::HAS_UPGRADE;
        let status = if is_accepted_stream { 200 } else { head.status };
        out.status(status, head.reason.of(bytes));
        let mut has_date = head.status < 200;
        for field in &head.fields {
            has_date |= field.id == FieldName::Date;
            let name = field.name.of(bytes);
            let is_handshake = is_accepted_stream && name.eq_ignore_ascii_case(b"sec-websocket-accept");
            if !is_ours(field.id)
                && !is_handshake
                && !head.connection_names(bytes, name)
                && !changes.is_some_and(|changes| changes.removes(Direction::Response, name))
            {
                out.received_field(field, bytes);
            }
        }
        if let Some(changes) = changes {
            write_added(changes, out);
        }
        if !has_date {
            out.set(name!("Date"), context.date);
        }
        out.framing(match (context.body, head.announced_length) {
            (BodyLength::None, Some(_)) if changes.is_some_and(|changes| changes.hides_length) => {
                BodyLength::None
            }
            (BodyLength::None, Some(length)) => BodyLength::Exact(length),
            (body, _) => body,
        });
        if context.is_switch && W::HAS_UPGRADE {
            out.connection(b"upgrade");
            out.set(name!("Upgrade"), b"websocket");
        } else if head.status >= 200 {
            out.keep_alive(context.keep_alive, context.version);
        }
        out.finish();
    }
}

/// The fields of a response, parsed from `bytes`, that a client may get: name, value, and whether it may be a secret.
pub(super) fn of_response<'a>(
    head: &'a ResponseHead,
    bytes: &'a [u8],
) -> impl Iterator<Item = (&'a [u8], &'a [u8], bool)> {
    head.fields.iter().filter_map(move |field| {
        let name = field.name.of(bytes);
        let is_copied = !is_ours(field.id) && !head.connection_names(bytes, name);
        is_copied.then(|| (name, field.value.of(bytes), field.is_secret))
    })
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

/// Whether what came of a certificate, of these names the ones that begin with `c`, stands beside our own word of one. The
/// chain that belongs to another certificate would be taken for this one's (RFC 9440 §2.4).
fn is_replaced(name: &[u8], peer: &Peer) -> bool {
    peer.certificate.is_some() && matches!(name.first(), Some(b'c' | b'C'))
}

/// Writes how many more times the request may be forwarded, if it says so.
fn write_max_forwards<W: HeadWriter>(head: &RequestHead, out: &mut W) {
    if let MaxForwards::Left(left) = MaxForwards::of(head) {
        out.set_number(name!("Max-Forwards"), left);
    }
}

/// Tells the backend who the client is. What a trusted proxy said is kept and extended; what anybody else said is replaced.
fn write_identity<W: HeadWriter>(origin: Origin<'_>, forwarding: Option<&Forwarding>, out: &mut W) {
    let Origin { head, identity, peer } = origin;
    match forwarding {
        None => write_x_forwarded(origin, out),
        Some(forwarding) => forwarding.write(origin, out),
    }
    if let Some(certificate) = &peer.certificate {
        out.set(name!("Client-Cert"), certificate.field.as_bytes());
    }
    out.set(name!("X-Request-Id"), identity.request_id(head));
    if !identity.is_trusted {
        via::of_instances(head).for_each(|element| out.set(name!("Via"), element));
    }
    out.set(name!("Via"), via::element(head.version));
}

#[cfg(test)]
mod tests;
