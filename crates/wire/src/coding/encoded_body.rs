//! A body that is there already, compressed into memory.

use super::{ContentEncoder, EncodeError, Progress};

/// Room for output beside what is there already.
const ROOM: usize = 4 << 10;

/// What an encoder has made of a body so far.
#[derive(Debug)]
pub struct EncodedBody {
    encoder: ContentEncoder,
    bytes: Vec<u8>,
    length: usize,
}

impl EncodedBody {
    /// Nothing yet.
    pub fn new(encoder: ContentEncoder) -> Self {
        Self {
            encoder,
            bytes: Vec::new(),
            length: 0,
        }
    }

    /// Adds a piece of the body.
    ///
    /// # Errors
    /// [`EncodeError`], after which the body cannot be completed.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<(), EncodeError> {
        while !piece.is_empty() {
            let done = self.step(|encoder, room| encoder.push(piece, room))?;
            piece = piece.get(done.read..).unwrap_or_default();
        }
        Ok(())
    }

    /// Ends the body.
    ///
    /// # Errors
    /// [`EncodeError`]: the body cannot be completed.
    pub fn finish(mut self) -> Result<Vec<u8>, EncodeError> {
        while !self.step(ContentEncoder::finish)?.is_complete {}
        self.bytes.truncate(self.length);
        Ok(self.bytes)
    }

    fn step(
        &mut self,
        step: impl FnOnce(&mut ContentEncoder, &mut [u8]) -> Result<Progress, EncodeError>,
    ) -> Result<Progress, EncodeError> {
        if self.bytes.len() - self.length < ROOM {
            self.bytes.resize(self.length + ROOM.max(self.length), 0);
        }
        let room = self.bytes.get_mut(self.length..).unwrap_or_default();
        let done = step(&mut self.encoder, room)?;
        self.length += done.written;
        Ok(done)
    }
}
