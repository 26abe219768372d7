//! Checks chunk extensions, `*( BWS ";" BWS name [ BWS "=" BWS value ] )` (RFC 9112 §7.1.1), byte by byte, and drops them.
//! Bad white space (BWS) is accepted only where the grammar has it (RFC 9110 §5.6.3): not after the last name or value.

use crate::http1::Malformed;
use crate::http1::syntax::TOKEN;

/// Position of the decoder in an extension.
#[derive(Debug, Clone, Copy)]
pub(super) enum Extension {
    /// After `;` and blanks.
    NameStart,
    Name,
    /// In blanks after a name.
    NameEnd,
    /// After `=` and blanks.
    ValueStart,
    Value,
    /// In blanks after a value.
    ValueEnd,
    Quoted,
    /// After a backslash in a quoted value.
    QuotedPair,
    /// After a closing quote, or before the first extension.
    Ended,
}

impl Extension {
    /// Whether the chunk line may end here.
    pub(super) fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Value | Self::Ended)
    }

    /// The position after `byte`.
    pub(super) fn after(self, byte: u8) -> Result<Self, Malformed> {
        let is_token = TOKEN.contains(byte);
        // `HTAB / SP / VCHAR / obs-text` (RFC 9110 §5.6.4).
        let is_text = byte == b'\t' || !byte.is_ascii_control();
        match (self, byte) {
            (Self::Quoted, b'"') => Ok(Self::Ended),
            (Self::Quoted, b'\\') => Ok(Self::QuotedPair),
            (Self::Quoted | Self::QuotedPair, _) if is_text => Ok(Self::Quoted),
            (Self::NameStart | Self::ValueStart | Self::NameEnd | Self::ValueEnd, b' ' | b'\t') => Ok(self),
            (Self::Name, b' ' | b'\t') => Ok(Self::NameEnd),
            (Self::Value | Self::Ended, b' ' | b'\t') => Ok(Self::ValueEnd),
            (Self::Name | Self::NameEnd | Self::Value | Self::ValueEnd | Self::Ended, b';') => {
                Ok(Self::NameStart)
            }
            (Self::Name | Self::NameEnd, b'=') => Ok(Self::ValueStart),
            (Self::NameStart | Self::Name, _) if is_token => Ok(Self::Name),
            (Self::ValueStart, b'"') => Ok(Self::Quoted),
            (Self::ValueStart | Self::Value, _) if is_token => Ok(Self::Value),
            _ => Err(Malformed::BadChunkExtension),
        }
    }
}
