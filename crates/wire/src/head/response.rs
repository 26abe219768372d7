//! A parsed response head. Its spans point into the buffer that it was parsed from, which stays with the connection.

use super::{BodyLength, Field, FieldName, Span, Version, list};

/// One response head. Reused for the next response: `clear` keeps the capacity.
#[derive(Debug, Default)]
pub struct ResponseHead {
    /// The protocol version of the response.
    pub version: Version,
    /// 100 to 599 (RFC 9110 §15).
    pub status: u16,
    /// The reason phrase; may be empty.
    pub reason: Span,
    /// All fields in the order received.
    pub fields: Vec<Field>,
    /// How the body ends; the request's method is already taken into account (RFC 9112 §6.3).
    pub body: BodyLength,
    /// The `Content-Length` of a response without a body (HEAD, 304): forwarded, but no body of that length follows.
    pub announced_length: Option<u64>,
    /// Whether the backend keeps the connection open after this response, by version and `Connection`.
    pub keep_alive: bool,
    /// Whether `Connection` names fields other than those that are never forwarded anyway: see `connection_names`.
    pub connection_lists: bool,
}

impl ResponseHead {
    /// Clears the head for the next response; the list of fields keeps its capacity.
    #[inline]
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Self {
            fields,
            ..Self::default()
        };
    }

    /// Whether `Connection` forbids forwarding the field `name` (RFC 9110 §7.6.1). Framing, `Host` and identity headers are
    /// exempt. The fields point into `buffer`.
    #[inline]
    pub fn connection_names(&self, buffer: &[u8], name: &[u8]) -> bool {
        self.connection_lists && list::connection_names(&self.fields, buffer, name)
    }

    /// The values in `buffer` of every field line with this name, in order.
    #[inline]
    pub fn values<'a>(&'a self, buffer: &'a [u8], id: FieldName) -> impl Iterator<Item = &'a [u8]> {
        self.fields
            .iter()
            .filter(move |field| field.id == id)
            .map(move |field| field.value.of(buffer))
    }
}
