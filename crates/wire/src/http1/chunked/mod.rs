//! The chunked transfer coding (RFC 9112 §7.1): a decoder that separates framing from payload, and the lines that an
//! encoder writes. Nothing is copied, and extensions are never forwarded.

mod extension;
mod trailers;

pub use trailers::{is_forbidden_in_trailers, trailer_fields};

use super::piece::Piece;
use super::scan::{HeadScan, Kind};
use super::{Limits, Malformed};
use extension::Extension;

/// The last chunk and an empty trailer section, which end a body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Most digits of a chunk size: enough for 64 bits. More would be leading zeros, which nobody sends.
const SIZE_DIGITS: u8 = 16;

/// Largest chunk. With a larger one, recipients that use signed sizes, or add the length of the chunk's end, would overflow.
const SIZE_LIMIT: u64 = i64::MAX as u64;

/// Most blanks after a chunk size: before an extension, or as padding of servers that write sizes with a fixed width. The
/// bound is for each line, because a long response has a padded size in each of its many chunks.
const SIZE_PADDING: u8 = 16;

/// Most digits of a size that is read in one go.
const USUAL_DIGITS: usize = 8;

/// Decodes one chunked body, and resumes with every read. It looks at each byte once, at those of a size line in an unusual form
/// twice, except in a trailer section, which stays unconsumed until it is complete, so that it is contiguous.
#[derive(Debug)]
pub struct ChunkedDecoder {
    state: State,
    /// Whether it is the body of a request or of a response.
    kind: Kind,
    /// Size of the chunk whose line is being read.
    size: u64,
    /// Bytes of the extensions of all chunks so far.
    extensions: usize,
    limits: Limits,
    trailers: HeadScan,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// In the size, of which this many digits were read.
    Size(u8),
    /// In the blanks after the size, of which this many were read.
    Padding(u8),
    Extension(Extension),
    /// After the carriage return of a chunk line.
    LineFeed,
    /// In the payload, of which this many bytes are left (> 0).
    Data(u64),
    /// After the payload.
    DataEnd,
    /// After the carriage return that follows the payload.
    DataLineFeed,
    Trailers,
    Ended,
    /// Failed at this offset of the last input, or in the trailer section that begins there.
    Failed {
        reason: Malformed,
        at: u32,
        is_in_trailers: bool,
    },
}

impl ChunkedDecoder {
    /// A decoder for the body of a request or response, at its start.
    pub fn new(kind: Kind, limits: Limits) -> Self {
        Self {
            state: State::Size(0),
            kind,
            size: 0,
            extensions: 0,
            limits,
            trailers: HeadScan::default(),
        }
    }

    /// Whether the body has ended.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Returns what is first in `input`, which holds all bytes received and not consumed. After an error, every further call
    /// returns the same error.
    pub fn next(&mut self, input: &[u8]) -> Result<Piece, Malformed> {
        let mut skip = 0;
        let found = self.find(input, &mut skip);
        if let Err(reason) = found
            && !matches!(self.state, State::Failed { .. })
        {
            self.state = State::Failed {
                reason,
                at: u32::try_from(skip).unwrap_or(u32::MAX),
                is_in_trailers: matches!(self.state, State::Trailers),
            };
        }
        found
    }

    /// Offset of the fault in the input of the failed call. If the second value is true, the fault is in the trailer section that
    /// begins at the offset.
    pub fn fault(&self) -> Option<(usize, bool)> {
        match self.state {
            State::Failed {
                at, is_in_trailers, ..
            } => Some((at as usize, is_in_trailers)),
            _ => None,
        }
    }

    fn find(&mut self, input: &[u8], skipped: &mut usize) -> Result<Piece, Malformed> {
        loop {
            let skip = *skipped;
            let rest = input.get(skip..).unwrap_or_default();
            match self.state {
                State::Trailers => return self.find_trailers(rest, skip),
                State::Ended => {
                    return Ok(Piece::End {
                        skip: 0,
                        trailers: None,
                    });
                }
                State::Failed { reason, .. } => return Err(reason),
                _ => {}
            }
            let Some(byte) = rest.first() else {
                return Ok(Piece::NeedMore { skip });
            };
            if let Some((state, length)) = self.usual(rest) {
                self.state = state;
                *skipped += length;
                continue;
            }
            if let State::Data(left) = self.state {
                let len = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
                self.state = match left - len as u64 {
                    0 => State::DataEnd,
                    left => State::Data(left),
                };
                return Ok(Piece::Data { skip, len });
            }
            self.state = self.after(*byte)?;
            *skipped += 1;
        }
    }

    /// The state after the end of a payload, or after a short size without anything else in its line, if that is whole, and its
    /// length. Nearly all framing is of these two forms; the others, and what is wrong, are looked at byte by byte.
    #[inline]
    fn usual(&mut self, rest: &[u8]) -> Option<(State, usize)> {
        match self.state {
            State::DataEnd if rest.starts_with(b"\r\n") => {
                self.size = 0;
                Some((State::Size(0), 2))
            }
            State::Size(0) => {
                let mut size = 0;
                for (digits, byte) in rest.iter().take(USUAL_DIGITS + 1).enumerate() {
                    match char::from(*byte).to_digit(16) {
                        Some(digit) => size = size << 4 | u64::from(digit),
                        _ if size > 0 && rest.get(digits..)?.starts_with(b"\r\n") => {
                            self.size = size;
                            return Some((State::Data(size), digits + 2));
                        }
                        _ => return None,
                    }
                }
                None
            }
            _ => None,
        }
    }

    /// The state after one byte of framing.
    fn after(&mut self, byte: u8) -> Result<State, Malformed> {
        match (self.state, byte) {
            (State::Size(digits), _) => self.after_size(digits, byte),
            (State::Padding(blanks), _) => self.after_padding(blanks, byte),
            (State::Extension(extension), _) => self.after_extension(extension, byte),
            (State::LineFeed, b'\n') if self.size == 0 => Ok(State::Trailers),
            (State::LineFeed, b'\n') => Ok(State::Data(self.size)),
            (State::DataEnd, b'\r') => Ok(State::DataLineFeed),
            (State::DataLineFeed, b'\n') => {
                self.size = 0;
                Ok(State::Size(0))
            }
            _ => Err(Malformed::BadChunkEnd),
        }
    }

    fn after_size(&mut self, digits: u8, byte: u8) -> Result<State, Malformed> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if digits == SIZE_DIGITS {
                return Err(Malformed::BadChunkSize);
            }
            // 16 digits fit.
            self.size = self.size << 4 | u64::from(digit);
            return Ok(State::Size(digits + 1));
        }
        if digits == 0 || self.size > SIZE_LIMIT {
            return Err(Malformed::BadChunkSize);
        }
        match byte {
            b'\r' => Ok(State::LineFeed),
            b';' => self.after_extension(Extension::Ended, byte),
            b' ' | b'\t' => Ok(State::Padding(1)),
            b'\n' => Err(Malformed::BadChunkEnd),
            _ => Err(Malformed::BadChunkSize),
        }
    }

    /// Blanks are allowed before an extension (RFC 9112 §7.1.1). Before the end of the line the grammar does not allow them,
    /// but some servers pad every size to a fixed width. No client does, and in requests they were used for smuggling.
    fn after_padding(&mut self, blanks: u8, byte: u8) -> Result<State, Malformed> {
        match byte {
            b' ' | b'\t' if blanks < SIZE_PADDING => Ok(State::Padding(blanks + 1)),
            b';' => {
                self.extensions += usize::from(blanks);
                self.after_extension(Extension::Ended, byte)
            }
            b'\r' if self.kind == Kind::Response => Ok(State::LineFeed),
            _ => Err(Malformed::BadChunkSize),
        }
    }

    fn after_extension(&mut self, extension: Extension, byte: u8) -> Result<State, Malformed> {
        if byte == b'\r' && extension.may_end() {
            return Ok(State::LineFeed);
        }
        self.extensions += 1;
        if self.extensions > self.limits.chunk_extensions {
            return Err(Malformed::ChunkExtensionsTooLarge);
        }
        extension.after(byte).map(State::Extension)
    }

    fn find_trailers(&mut self, section: &[u8], skip: usize) -> Result<Piece, Malformed> {
        let Some(length) = self.trailers.advance(section, Kind::Trailers, &self.limits)? else {
            return Ok(Piece::NeedMore { skip });
        };
        trailers::check(section, self.trailers.ends())?;
        self.state = State::Ended;
        let lines = length - b"\r\n".len();
        Ok(Piece::End {
            skip: skip + length,
            trailers: (lines > 0).then_some(skip..skip + lines),
        })
    }
}

/// Writes the line before a chunk of `len` bytes. 0 is the last chunk, after which a trailer section must follow.
pub fn chunk_header(len: u64, out: &mut Vec<u8>) {
    let mut line = *b"0000000000000000\r\n";
    let mut start = SIZE_DIGITS as usize;
    let mut rest = len;
    for place in line.iter_mut().take(SIZE_DIGITS as usize).rev() {
        let digit = (rest & 0xf) as u8;
        *place = if digit < 10 {
            b'0' + digit
        } else {
            b'a' - 10 + digit
        };
        start -= 1;
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(line.get(start..).unwrap_or_default());
}

#[cfg(test)]
mod tests;
