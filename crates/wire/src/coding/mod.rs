//! Content codings (RFC 9110 §8.4.1): encoders that compress a body piece by piece while it passes, and which of them a client accepts.
//! What is compressed, and for whom, is decided elsewhere.

mod accept;
mod brotli;
mod brotli_memory;
mod encoded_body;
mod gzip;
mod pool;
mod zstd;

use std::fmt;

use self::brotli::Brotli;
use self::brotli_memory::Memory;
use self::gzip::Gzip;
use self::zstd::Zstd;

pub use accept::preferred;
pub use encoded_body::EncodedBody;
pub use pool::EncoderPool;

/// Names of digests of a body as it is sent.
const DIGESTS: [&[u8]; 4] = [b"content-digest", b"repr-digest", b"digest", b"content-md5"];

/// A content coding that we can apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContentCoding {
    /// `zstd` (RFC 8878, with the window limit of RFC 9659).
    Zstd,
    /// `br` (RFC 7932).
    Br,
    /// `gzip` (RFC 1952).
    Gzip,
}

/// How much time is spent on a better ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// The least time.
    Fast,
    /// A good ratio in little time.
    #[default]
    Default,
    /// A better ratio, for several times the time.
    Best,
}

/// Why a body could not be encoded: the codec ran out of memory, or reported a fault of its own. The body is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {} encoder failed", .0.name())]
pub struct EncodeError(pub ContentCoding);

/// What one call has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes taken from the input.
    pub read: usize,
    /// Bytes written to the output.
    pub written: usize,
    /// Whether the flush or the end is complete. After `push` it has no meaning.
    pub is_complete: bool,
}

/// What a codec is asked to do with its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    /// Take it; output may come later.
    Push,
    /// Write out everything that was taken, so that the receiver can decode all of it.
    Flush,
    /// The same, and end the stream.
    Finish,
}

/// One coding. After an error it is not used again.
trait Codec {
    /// Takes input and writes output, at most as much as fits. With [`Operation::Push`] and room in `out`, it takes or writes at
    /// least one byte.
    fn run(&mut self, input: &[u8], out: &mut [u8], operation: Operation) -> Option<Progress>;

    /// Begins a new body of this length, if it is known. `false` means that the codec cannot be used again.
    fn reset(&mut self, length: Option<u64>) -> bool;
}

/// Encodes one body. What it holds is bounded by its window and one block, whatever the length of the body.
pub struct ContentEncoder {
    coding: ContentCoding,
    level: Level,
    codec: Box<dyn Codec>,
    holds_input: bool,
    is_finished: bool,
    has_failed: bool,
    /// Where its codec goes back to.
    pool: Option<EncoderPool>,
}

/// Takes the place of a codec that went back.
struct Gone;

impl ContentCoding {
    /// All of them, in the order of preference that suits most: the best ratio for the time first.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Br, Self::Gzip];

    /// Its name in `Content-Encoding`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Br => "br",
            Self::Gzip => "gzip",
        }
    }

    /// The coding of this name, in any case. `x-gzip` is `gzip` (RFC 9110 §8.4.1.3).
    pub fn from_name(name: &[u8]) -> Option<Self> {
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        let mut all = Self::ALL.into_iter();
        all.find(|coding| name.eq_ignore_ascii_case(coding.name().as_bytes()))
    }

    /// Bytes that an encoder holds, about: measured.
    const fn memory(self, level: Level) -> usize {
        let kib = match (self, level) {
            (Self::Gzip, _) => 370,
            (Self::Zstd, Level::Fast) => 510,
            (Self::Zstd, Level::Default) => 840,
            (Self::Zstd, Level::Best) => 1100,
            (Self::Br, Level::Fast) => 1400,
            (Self::Br, Level::Default) => 3600,
            (Self::Br, Level::Best) => 6800,
        };
        kib << 10
    }

    /// Whether a codec can encode one body after the other: the library of `br` has no such function, only its tables are kept.
    const fn is_reusable(self) -> bool {
        !matches!(self, Self::Br)
    }
}

/// Whether a field is a digest of the bytes that it came with: encoding them makes it wrong (RFC 9530 §2 and §3, and what was there
/// before it). That of the body without its coding, `Unencoded-Digest`, stays right.
pub fn is_digest(name: &[u8]) -> bool {
    DIGESTS.iter().any(|digest| name.eq_ignore_ascii_case(digest))
}

impl ContentEncoder {
    /// Room for output that every call needs. With less, a flush of gzip never ends: each call begins it anew.
    pub const LEAST_ROOM: usize = 16;

    /// An encoder of a body of this length, if it is known.
    ///
    /// # Errors
    /// [`EncodeError`] when the codec cannot be set up.
    pub fn new(coding: ContentCoding, level: Level, length: Option<u64>) -> Result<Self, EncodeError> {
        Self::with(coding, level, length, &Memory::default())
    }

    /// The same, with tables from this memory.
    fn with(
        coding: ContentCoding,
        level: Level,
        length: Option<u64>,
        memory: &Memory,
    ) -> Result<Self, EncodeError> {
        let codec: Box<dyn Codec> = match coding {
            ContentCoding::Zstd => Box::new(Zstd::new(level, length).ok_or(EncodeError(coding))?),
            ContentCoding::Br => Box::new(Brotli::new(level, length, memory)),
            ContentCoding::Gzip => Box::new(Gzip::new(level)),
        };
        Ok(Self::of(coding, level, codec))
    }

    fn of(coding: ContentCoding, level: Level, codec: Box<dyn Codec>) -> Self {
        Self {
            coding,
            level,
            codec,
            holds_input: false,
            is_finished: false,
            has_failed: false,
            pool: None,
        }
    }

    /// The coding that it applies.
    pub fn coding(&self) -> ContentCoding {
        self.coding
    }

    /// Whether the receiver cannot decode yet all that was pushed.
    pub fn holds_input(&self) -> bool {
        self.holds_input
    }

    /// Takes the front of `input`. Call it again with what is left, and room for output, until everything is taken.
    ///
    /// # Errors
    /// [`EncodeError`], after which the body cannot be completed.
    pub fn push(&mut self, input: &[u8], out: &mut [u8]) -> Result<Progress, EncodeError> {
        let progress = self.run(input, out, Operation::Push)?;
        self.holds_input |= progress.read > 0;
        Ok(progress)
    }

    /// Writes out what was pushed before, so that the receiver can decode all of it. Call it again, with room for output and
    /// nothing else in between, until it is complete.
    ///
    /// # Errors
    /// [`EncodeError`], after which the body cannot be completed.
    pub fn flush(&mut self, out: &mut [u8]) -> Result<Progress, EncodeError> {
        if !self.holds_input {
            return Ok(Progress {
                is_complete: true,
                ..Progress::default()
            });
        }
        let progress = self.run(&[], out, Operation::Flush)?;
        self.holds_input = !progress.is_complete;
        Ok(progress)
    }

    /// Writes the end of the body. Call it again, with room for output and nothing else in between, until it is complete. Without
    /// it, a receiver sees that the body is incomplete.
    ///
    /// # Errors
    /// [`EncodeError`], after which the body cannot be completed.
    pub fn finish(&mut self, out: &mut [u8]) -> Result<Progress, EncodeError> {
        if self.is_finished {
            return Ok(Progress {
                is_complete: true,
                ..Progress::default()
            });
        }
        let progress = self.run(&[], out, Operation::Finish)?;
        self.is_finished = progress.is_complete;
        self.holds_input &= !progress.is_complete;
        Ok(progress)
    }

    fn run(&mut self, input: &[u8], out: &mut [u8], operation: Operation) -> Result<Progress, EncodeError> {
        let progress = self.codec.run(input, out, operation);
        self.has_failed |= progress.is_none();
        progress.ok_or(EncodeError(self.coding))
    }
}

impl Drop for ContentEncoder {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            let codec = std::mem::replace(&mut self.codec, Box::new(Gone));
            pool.give_back((self.coding, self.level), (!self.has_failed).then_some(codec));
        }
    }
}

impl Codec for Gone {
    fn run(&mut self, _: &[u8], _: &mut [u8], _: Operation) -> Option<Progress> {
        None
    }

    fn reset(&mut self, _: Option<u64>) -> bool {
        false
    }
}

impl fmt::Debug for ContentEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentEncoder")
            .field("coding", &self.coding)
            .field("level", &self.level)
            .field("holds_input", &self.holds_input)
            .finish_non_exhaustive()
    }
}

/// The smallest window, in bits, that holds a body of this length; `most` if the length is not known.
fn window_bits(length: Option<u64>, least: u32, most: u32) -> u32 {
    let Some(length) = length else { return most };
    let bits = u64::BITS - length.saturating_sub(1).leading_zeros();
    bits.clamp(least, most)
}

#[cfg(test)]
mod tests;
