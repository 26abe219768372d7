//! A parsed answer head. Its spans point into the buffer it was parsed from, which stays with the connection.

use super::{BodyLength, Field, FieldName, Span, Version, list};

/// One answer head. Reused from answer to answer: `clear` keeps the capacity.
#[derive(Debug, Default)]
pub struct ResponseHead {
    /// The protocol version of the answer.
    pub version: Version,
    /// 100 to 599 (RFC 9110 §15).
    pub status: u16,
    /// The reason phrase, perhaps empty.
    pub reason: Span,
    /// All fields in the order in which they came.
    pub fields: Vec<Field>,
    /// How the body ends; the request's method is already taken into account (RFC 9112 §6.3).
    pub body: BodyLength,
    /// The `Content-Length` that an answer without a body (HEAD, 304) announces; it is passed on, not counted.
    pub announced_length: Option<u64>,
    /// Whether the backend keeps the connection open after this answer (version and `Connection` taken together).
    pub keep_alive: bool,
    /// Whether `Connection` names fields beside those that are never forwarded anyway: see `connection_names`.
    pub connection_lists: bool,
}

impl ResponseHead {
    /// Empties it for the next answer; the list of fields keeps its capacity.
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Self {
            fields,
            ..Self::default()
        };
    }

    /// Whether `Connection` asks that the field `name` end here (RFC 9110 §7.6.1). Framing, `Host` and the fields that
    /// carry identity do not obey it. The fields point into `buffer`.
    pub fn connection_names(&self, buffer: &[u8], name: &[u8]) -> bool {
        self.connection_lists && list::connection_names(&self.fields, buffer, name)
    }

    /// The values in `buffer` of every field line with this name, in order.
    pub fn values<'a>(&'a self, buffer: &'a [u8], id: FieldName) -> impl Iterator<Item = &'a [u8]> {
        self.fields
            .iter()
            .filter(move |field| field.id == id)
            .map(move |field| field.value.of(buffer))
    }
}
