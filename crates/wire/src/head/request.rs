//! A parsed request head. It owns its bytes, so that they remain when the connection is read again.

use super::{BodyLength, Field, FieldName, Flaw, Span, Version, list};

/// The methods that are treated differently; any other token is `Other`, and `method_text` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are those of RFC 9110 §9.3 and RFC 5789")]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    Other,
}

impl Method {
    /// Recognises a method by its exact, case-sensitive token.
    #[inline]
    pub fn from_token(token: &[u8]) -> Self {
        match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }

    /// Whether the method is idempotent (RFC 9110 §9.2.2). Unknown methods are not.
    #[inline]
    pub fn is_idempotent(self) -> bool {
        matches!(
            self,
            Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options | Self::Trace
        )
    }
}

/// One request head. Reused from request to request: `clear` keeps the capacity.
#[derive(Debug, Default)]
pub struct RequestHead {
    /// The bytes that every span below points into.
    pub bytes: Vec<u8>,
    /// The method.
    pub method: Method,
    /// The method as received.
    pub method_text: Span,
    /// The path: begins with `/`, dot segments resolved; `*` for `OPTIONS *`. Used both for routing and forwarding.
    pub path: Span,
    /// The query without its `?`; `None` when there is no `?`.
    pub query: Option<Span>,
    /// Host and optional port, from the absolute-form target if there is one, else from `Host`. Empty only for an
    /// HTTP/1.0 request without `Host`, or for `Host:` with an empty value.
    pub authority: Span,
    /// The protocol version of the request.
    pub version: Version,
    /// All fields in the order received, including `Host` and framing.
    pub fields: Vec<Field>,
    /// How the body ends.
    pub body: BodyLength,
    /// Whether the client keeps the connection open after the response, by version and `Connection`.
    pub keep_alive: bool,
    /// Whether the client sent `Expect: 100-continue` and a body, over HTTP/1.1 or later.
    pub expects_continue: bool,
    /// Whether `Connection` names fields other than those that are never forwarded anyway: see `connection_names`.
    pub connection_lists: bool,
    /// The token of `Upgrade`, if the request has `Connection: upgrade` and may upgrade. Only `websocket` is supported.
    pub upgrade: Option<Span>,
    /// The field for which an HTTP/2 request was refused. Method, path and authority are then set as far as they were read.
    pub flaw: Option<Box<Flaw>>,
}

impl RequestHead {
    /// Clears the head for the next request; buffers keep their capacity.
    #[inline]
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.clear_parsed();
    }

    /// Clears the parsed values and keeps the bytes.
    #[inline]
    pub fn clear_parsed(&mut self) {
        self.fields.clear();
        *self = Self {
            bytes: std::mem::take(&mut self.bytes),
            fields: std::mem::take(&mut self.fields),
            ..Self::default()
        };
    }

    /// Whether `Connection` forbids forwarding the field `name` (RFC 9110 §7.6.1). Framing, `Host` and identity headers are
    /// exempt.
    #[inline]
    pub fn connection_names(&self, name: &[u8]) -> bool {
        self.connection_lists && list::connection_names(&self.fields, &self.bytes, name)
    }

    /// The bytes of a span of this head.
    #[inline]
    pub fn text(&self, span: Span) -> &[u8] {
        span.of(&self.bytes)
    }

    /// The values of every field line with this name, in order.
    #[inline]
    pub fn values(&self, id: FieldName) -> impl Iterator<Item = &[u8]> {
        self.fields
            .iter()
            .filter(move |field| field.id == id)
            .map(|field| field.value.of(&self.bytes))
    }
}
