//! The encoders of a worker: bounds the memory of those in use, and keeps tables for the next body.

use std::cell::RefCell;
use std::rc::Rc;

use super::brotli_memory::Memory;
use super::{Codec, ContentCoding, ContentEncoder, Level};

/// Codecs that a worker keeps for reuse; more are freed. Each holds up to about 1 MiB.
const KEPT: usize = 8;

/// Makes encoders, as long as those in use together hold less memory than its limit. An encoder goes back by being dropped. A
/// clone is the same pool.
#[derive(Clone)]
pub struct EncoderPool(Rc<RefCell<Shared>>);

struct Shared {
    kept: Vec<(ContentCoding, Level, Box<dyn Codec>)>,
    /// The tables of `br`.
    memory: Memory,
    /// Bytes that the encoders in use hold, about.
    in_use: usize,
    limit: usize,
}

impl EncoderPool {
    /// The limit of a worker, in bytes: some 300 bodies with `gzip`, 150 with `zstd` or 30 with `br` at a time.
    pub const DEFAULT_LIMIT: usize = 128 << 20;

    /// A pool with a limit in bytes.
    pub fn new(limit: usize) -> Self {
        Self(Rc::new(RefCell::new(Shared {
            kept: Vec::new(),
            memory: Memory::default(),
            in_use: 0,
            limit,
        })))
    }

    /// Lends an encoder of a body of this length, if it is known. `None` when the limit is reached, or when the codec could not be
    /// set up: the body goes on as it is.
    pub fn lend(&self, coding: ContentCoding, level: Level, length: Option<u64>) -> Option<ContentEncoder> {
        let mut shared = self.0.borrow_mut();
        let memory = coding.memory(level);
        let in_use = shared.in_use + memory;
        if in_use > shared.limit {
            return None;
        }
        let mut encoder = match shared.take(coding, level, length) {
            Some(codec) => ContentEncoder::of(coding, level, codec),
            None => ContentEncoder::with(coding, level, length, &shared.memory).ok()?,
        };
        shared.in_use = in_use;
        encoder.pool = Some(self.clone());
        Some(encoder)
    }

    /// Takes the codec of an encoder back. Its body need not have been complete.
    pub(super) fn give_back(&self, (coding, level): (ContentCoding, Level), codec: Option<Box<dyn Codec>>) {
        let mut shared = self.0.borrow_mut();
        shared.in_use = shared.in_use.saturating_sub(coding.memory(level));
        if let Some(codec) = codec
            && coding.is_reusable()
            && shared.kept.len() < KEPT
        {
            shared.kept.push((coding, level, codec));
        }
    }
}

impl Default for EncoderPool {
    fn default() -> Self {
        Self::new(Self::DEFAULT_LIMIT)
    }
}

impl std::fmt::Debug for EncoderPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shared = self.0.borrow();
        f.debug_struct("EncoderPool")
            .field("kept", &shared.kept.len())
            .field("in_use", &shared.in_use)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// A kept codec, ready for a new body.
    fn take(&mut self, coding: ContentCoding, level: Level, length: Option<u64>) -> Option<Box<dyn Codec>> {
        let is_match = |kept: &(ContentCoding, Level, _)| (kept.0, kept.1) == (coding, level);
        let index = self.kept.iter().position(is_match)?;
        let (_, _, mut codec) = self.kept.swap_remove(index);
        codec.reset(length).then_some(codec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GZIP: usize = ContentCoding::Gzip.memory(Level::Fast);

    fn kept(pool: &EncoderPool) -> usize {
        pool.0.borrow().kept.len()
    }

    fn lend(pool: &EncoderPool, level: Level) -> Option<ContentEncoder> {
        pool.lend(ContentCoding::Gzip, level, None)
    }

    #[test]
    fn keeps_a_bounded_number_and_tells_levels_apart() {
        let pool = EncoderPool::default();
        let lent: Vec<_> = (0..20).map(|_| lend(&pool, Level::Fast).unwrap()).collect();
        assert_eq!(kept(&pool), 0);
        drop(lent);
        assert_eq!(kept(&pool), KEPT);
        let best = lend(&pool, Level::Best);
        assert_eq!((best.unwrap().level, kept(&pool)), (Level::Best, KEPT));
        let fast = lend(&pool, Level::Fast);
        assert_eq!(
            (fast.as_ref().unwrap().level, kept(&pool)),
            (Level::Fast, KEPT - 1)
        );
    }

    #[test]
    fn lends_no_more_than_the_limit_at_a_time() {
        let pool = EncoderPool::new(2 * GZIP);
        let first = lend(&pool, Level::Fast).unwrap();
        let second = lend(&pool, Level::Fast).unwrap();
        assert!(lend(&pool, Level::Fast).is_none());
        drop(first);
        assert!(pool.lend(ContentCoding::Br, Level::Default, None).is_none());
        let third = lend(&pool, Level::Fast).unwrap();
        assert!(lend(&pool, Level::Fast).is_none());
        drop((second, third));
        assert_eq!(pool.0.borrow().in_use, 0);
    }

    #[test]
    fn keeps_no_codec_that_cannot_be_used_again() {
        let pool = EncoderPool::default();
        drop(pool.lend(ContentCoding::Br, Level::Fast, None).unwrap());
        assert_eq!(kept(&pool), 0);
        let mut encoder = lend(&pool, Level::Fast).unwrap();
        encoder.has_failed = true;
        drop(encoder);
        assert_eq!((kept(&pool), pool.0.borrow().in_use), (0, 0));
    }
}
