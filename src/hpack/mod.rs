//! Fields as HTTP/2 writes them (HPACK, RFC 7541): what a block of one connection says, and a block that says it. Whether a
//! field may stand where it does is not asked here; the engine judges with what a [`Name`] is known to be.

mod decoder;
mod encoder;
mod huffman;
mod known;
mod reader;
mod standing;
mod table;

pub use decoder::Decoder;
pub use encoder::Encoder;

use crate::head::FieldName;

/// Largest dynamic table on either side, in bytes as RFC 7541 §4.1 counts them: what is in force before any SETTINGS. Ours
/// leave it there, and as much of another's is enough.
pub const TABLE: usize = 4096;

/// A block that no decoder can read: the tables of the two sides are no longer alike, and the connection is of no use any
/// more (RFC 9113 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("field block cannot be decoded")]
pub struct NotDecodable;

/// A name as it came, with what is known of it: found out once, when it is first read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'n> {
    /// Its bytes.
    pub text: &'n [u8],
    /// What it is.
    pub kind: Kind,
    /// Whether its field came as one that no table may keep, which holds for whoever sends it on too (RFC 7541 §6.2.3).
    pub is_secret: bool,
}

/// What a name is.
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
    /// Any other that begins with `:`.
    UnknownPseudo,
    /// That of a field.
    Field(FieldName),
    /// Empty, or no token in lower case (RFC 9113 §8.2.1).
    Flawed,
}

impl Kind {
    /// Whether it is one that says what a field cannot (RFC 9113 §8.3), known or not.
    pub fn is_pseudo(self) -> bool {
        !matches!(self, Self::Field(_) | Self::Flawed)
    }

    /// What a name is.
    fn of(name: &[u8]) -> Self {
        match name {
            b":authority" => Self::Authority,
            b":method" => Self::Method,
            b":path" => Self::Path,
            b":scheme" => Self::Scheme,
            b":protocol" => Self::Protocol,
            b":status" => Self::Status,
            [b':', ..] => Self::UnknownPseudo,
            [_, ..] if name.iter().all(is_of_name) => Self::Field(FieldName::recognise(name)),
            _ => Self::Flawed,
        }
    }
}

/// RFC 9113 §8.2.1: a token without letters in upper case.
fn is_of_name(byte: &u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests;
