//! Chunk extensions, `*( ";" name [ "=" value ] )` (RFC 9112 §7.1.1), checked byte by byte and forgotten. Without the
//! white space that the grammar tolerates: each leniency in a chunk line has been used to smuggle requests.

use crate::http1::Malformed;
use crate::http1::syntax::TOKEN;

/// Where in an extension the decoder stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Extension {
    /// Behind `;`.
    NameStart,
    Name,
    /// Behind `=`.
    ValueStart,
    Value,
    Quoted,
    /// Behind a backslash in a quoted value.
    QuotedPair,
    /// Behind a closing quote, or before the first extension.
    Ended,
}

impl Extension {
    /// Whether the chunk line may end here.
    pub(super) fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Value | Self::Ended)
    }

    /// Where it stands behind `byte`.
    pub(super) fn after(self, byte: u8) -> Result<Self, Malformed> {
        let is_token = TOKEN.contains(byte);
        // `HTAB / SP / VCHAR / obs-text` (RFC 9110 §5.6.4).
        let is_text = byte == b'\t' || !byte.is_ascii_control();
        match (self, byte) {
            (Self::Name | Self::Value | Self::Ended, b';') => Ok(Self::NameStart),
            (Self::Name, b'=') => Ok(Self::ValueStart),
            (Self::NameStart | Self::Name, _) if is_token => Ok(Self::Name),
            (Self::ValueStart, b'"') => Ok(Self::Quoted),
            (Self::ValueStart | Self::Value, _) if is_token => Ok(Self::Value),
            (Self::Quoted, b'"') => Ok(Self::Ended),
            (Self::Quoted, b'\\') => Ok(Self::QuotedPair),
            (Self::Quoted | Self::QuotedPair, _) if is_text => Ok(Self::Quoted),
            _ => Err(Malformed::BadChunkExtension),
        }
    }
}
