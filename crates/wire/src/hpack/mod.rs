//! HPACK header compression for HTTP/2 (RFC 7541): decodes and encodes the field blocks of one connection. It does not
//! check whether a field is allowed in its message; the engine does, using the [`Kind`] of its [`Name`].

mod decoder;
mod encoder;
mod huffman;
mod indexing;
mod reader;
mod static_table;
mod table;

pub use decoder::Decoder;
pub use encoder::Encoder;

use crate::head::FieldName;

/// Largest dynamic table in either direction, in bytes as RFC 7541 §4.1 counts them. It is the default before any SETTINGS:
/// ours do not change it, and we use no more of what the peer allows.
pub const TABLE: usize = 4096;

/// A field block that cannot be decoded. The dynamic tables of the two sides are out of sync from then on, so the
/// connection must end (RFC 9113 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("field block cannot be decoded")]
pub struct NotDecodable;

/// A received field name and its kind, which is determined once, when the name is first decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'n> {
    /// The bytes of the name.
    pub text: &'n [u8],
    /// The kind of the name.
    pub kind: Kind,
    /// Whether the field was sent as a never-indexed literal. It has to be forwarded as one too (RFC 7541 §6.2.3).
    pub is_secret: bool,
}

/// The kind of a field name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `:authority`
    Authority,
    /// `:method`
    Method,
    /// `:path`
    Path,
    /// `:scheme`
    Scheme,
    /// `:protocol` (RFC 8441 §4)
    Protocol,
    /// `:status`
    Status,
    /// Any other pseudo-header (begins with `:`).
    UnknownPseudo,
    /// A regular field.
    Field(FieldName),
    /// Invalid: empty, or not a lower-case token (RFC 9113 §8.2.1).
    Flawed,
}

impl Kind {
    /// Whether it is a pseudo-header (RFC 9113 §8.3), known or unknown.
    pub fn is_pseudo(self) -> bool {
        !matches!(self, Self::Field(_) | Self::Flawed)
    }

    /// Determines the kind of a name.
    fn of(name: &[u8]) -> Self {
        match name {
            b":authority" => Self::Authority,
            b":method" => Self::Method,
            b":path" => Self::Path,
            b":scheme" => Self::Scheme,
            b":protocol" => Self::Protocol,
            b":status" => Self::Status,
            [b':', ..] => Self::UnknownPseudo,
            [_, ..] if name.iter().all(is_name_byte) => Self::Field(FieldName::recognise(name)),
            _ => Self::Flawed,
        }
    }
}

/// Whether a byte is allowed in a field name: token characters without upper-case letters (RFC 9113 §8.2.1).
fn is_name_byte(byte: &u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests;
