//! Reads and writes the framing of a body: finds the end of a received body, and marks the end of a sent one.

use super::Limits;
use super::Malformed;
use super::chunked::{self, ChunkedDecoder};
use super::piece::Piece;
use super::scan::Kind;
use crate::head::BodyLength;

/// Why a body could not be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The stream ended before the body did.
    #[error("the body is truncated")]
    Cut,
    /// The framing is invalid.
    #[error("the framing of the body is invalid: {0}")]
    Malformed(#[from] Malformed),
}

/// Reads the framing of one body.
#[derive(Debug)]
pub enum Decoder {
    /// This many bytes are still to be received.
    Exact(u64),
    /// The chunked transfer coding.
    Chunked(ChunkedDecoder),
    /// Everything until the stream ends.
    UntilClose,
}

impl Decoder {
    /// A decoder for a body with the length that the head gave.
    #[inline]
    pub fn new(length: BodyLength, kind: Kind, limits: &Limits) -> Self {
        match length {
            BodyLength::None => Self::Exact(0),
            BodyLength::Exact(count) => Self::Exact(count),
            BodyLength::Chunked => Self::Chunked(ChunkedDecoder::new(kind, *limits)),
            BodyLength::UntilClose => Self::UntilClose,
        }
    }

    /// Returns what is first in `input`, which holds all unread bytes. Returned payload counts as consumed. `ended` means that no
    /// more bytes will be received.
    ///
    /// # Errors
    /// [`BodyError`]; nothing after it can be read.
    pub fn next(&mut self, input: &[u8], ended: bool) -> Result<Piece, BodyError> {
        match self {
            Self::Exact(0) => Ok(Piece::End {
                skip: 0,
                trailers: None,
            }),
            _ if input.is_empty() && ended => match self {
                Self::UntilClose => Ok(Piece::End {
                    skip: 0,
                    trailers: None,
                }),
                _ => Err(BodyError::Cut),
            },
            Self::Exact(_) | Self::UntilClose if input.is_empty() => Ok(Piece::NeedMore { skip: 0 }),
            Self::Exact(left) => {
                let len = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= len as u64;
                Ok(Piece::Data { skip: 0, len })
            }
            Self::UntilClose => Ok(Piece::Data {
                skip: 0,
                len: input.len(),
            }),
            Self::Chunked(decoder) => match decoder.next(input)? {
                Piece::NeedMore { .. } if ended => Err(BodyError::Cut),
                piece => Ok(piece),
            },
        }
    }

    /// Offset in the last input at which the chunked framing is invalid: see [`ChunkedDecoder::fault`].
    #[inline]
    pub fn fault(&self) -> Option<(usize, bool)> {
        match self {
            Self::Chunked(decoder) => decoder.fault(),
            Self::Exact(_) | Self::UntilClose => None,
        }
    }

    /// Counts `count` bytes of payload, at most as many as are expected, that bypassed this decoder (splice).
    #[inline]
    pub fn skip(&mut self, count: u64) {
        if let Self::Exact(left) = self {
            *left = left.saturating_sub(count);
        }
    }

    /// Number of bytes still expected; the largest number if unknown.
    #[inline]
    pub fn expects(&self) -> u64 {
        match self {
            Self::Exact(left) => *left,
            Self::Chunked(_) | Self::UntilClose => u64::MAX,
        }
    }

    /// Whether the length is known in advance: a source that pauses before the end is stalled, not idle.
    #[inline]
    pub fn has_known_end(&self) -> bool {
        matches!(self, Self::Exact(_))
    }
}

/// Writes the framing of one body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoder {
    /// Payload without framing: its length is known, or the connection closes after it.
    Plain,
    /// The chunked transfer coding.
    Chunked,
}

impl Encoder {
    /// The encoder for a body of this length.
    #[inline]
    pub fn for_body(length: BodyLength) -> Self {
        match length {
            BodyLength::Chunked => Self::Chunked,
            BodyLength::None | BodyLength::Exact(_) | BodyLength::UntilClose => Self::Plain,
        }
    }

    /// Begins a payload of `len` bytes.
    #[inline]
    pub fn open(self, len: usize, out: &mut Vec<u8>) {
        if self == Self::Chunked {
            chunked::chunk_header(len as u64, out);
        }
    }

    /// Ends a payload.
    #[inline]
    pub fn close(self, out: &mut Vec<u8>) {
        if self == Self::Chunked {
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Ends the body. `trailers` are complete lines, written only if the framing can carry them.
    #[inline]
    pub fn end(self, trailers: &[u8], out: &mut Vec<u8>) {
        if self == Self::Chunked {
            out.extend_from_slice(b"0\r\n");
            out.extend_from_slice(trailers);
            out.extend_from_slice(b"\r\n");
        }
    }
}
