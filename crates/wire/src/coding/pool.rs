//! The encoders of a worker that wait for their next body.

use std::cell::RefCell;

use super::{ContentCoding, ContentEncoder, EncodeError, Level};

/// Encoders that a worker keeps for reuse; more are freed. Each holds up to about 1 MiB.
const KEPT: usize = 8;

/// Keeps encoders whose tables can be used again, which saves their allocation for every body.
#[derive(Debug, Default)]
pub struct EncoderPool(RefCell<Vec<ContentEncoder>>);

impl EncoderPool {
    /// Lends an encoder of a body of this length, if it is known.
    ///
    /// # Errors
    /// [`EncodeError`] when the codec cannot be set up.
    pub fn lend(
        &self,
        coding: ContentCoding,
        level: Level,
        length: Option<u64>,
    ) -> Result<ContentEncoder, EncodeError> {
        let mut kept = self.0.borrow_mut();
        let found = kept
            .iter()
            .position(|encoder| (encoder.coding, encoder.level) == (coding, level));
        if let Some(index) = found {
            let mut encoder = kept.swap_remove(index);
            if encoder.reset(length) {
                return Ok(encoder);
            }
        }
        drop(kept);
        ContentEncoder::new(coding, level, length)
    }

    /// Takes an encoder back, whether or not its body was complete.
    pub fn give_back(&self, encoder: ContentEncoder) {
        let is_reusable = encoder.coding != ContentCoding::Br;
        let mut kept = self.0.borrow_mut();
        if is_reusable && kept.len() < KEPT {
            kept.push(encoder);
        }
    }

    /// How many it keeps.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.0.borrow().len()
    }
}
