//! Decodes the bytes of a run: two bytes of options, which are digits in the seeds, then a message.

use evenkeel_balance::rng::Rng;
use evenkeel_wire::http1::Limits;

/// Longest message that is also fed byte by byte: each step may cost as much as the message is long.
const BYTE_BY_BYTE: usize = 512;
/// Most pieces of a random split.
const PIECES: u64 = 8;

/// One run's input.
pub(crate) struct Input<'a> {
    /// Options besides the message; each target defines them.
    pub(crate) options: u8,
    /// The bytes under test.
    pub(crate) message: &'a [u8],
    seed: u8,
}

impl<'a> Input<'a> {
    /// `None` if the options are missing.
    pub(crate) fn new(data: &'a [u8]) -> Option<Self> {
        let [options, seed, message @ ..] = data else {
            return None;
        };
        Some(Self {
            options: *options,
            message,
            seed: *seed,
        })
    }

    /// The default limits or, with the lowest option bit, limits that few bytes reach.
    pub(crate) fn limits(&self) -> Limits {
        if self.options & 1 == 0 {
            return Limits::default();
        }
        Limits {
            head: 192,
            line: 64,
            fields: 4,
            chunk_extensions: 12,
            trailers: 96,
        }
    }

    /// Ways in which the message arrives: ascending lengths of the part that has arrived, the whole length last.
    pub(crate) fn splits(&self) -> Vec<Vec<usize>> {
        let whole = self.message.len();
        let mut rng = self.rng();
        let pieces = rng.bits() % PIECES;
        let mut lengths: Vec<usize> = (0..pieces)
            .map(|_| (rng.bits() % (whole as u64 + 1)) as usize)
            .collect();
        lengths.push(whole);
        lengths.sort_unstable();
        let mut splits = vec![lengths];
        if whole <= BYTE_BY_BYTE {
            splits.push((0..=whole).collect());
        }
        splits
    }

    /// Random numbers seeded by the second byte.
    pub(crate) fn rng(&self) -> Rng {
        Rng::seeded(u64::from(self.seed))
    }
}
