//! The coding `gzip`.

use flate2::{Compress, Compression, FlushCompress, Status};

use super::{Codec, Level, Operation, Progress};

/// Bits of the window: the largest that the format has (RFC 1951 §2).
const WINDOW_BITS: u8 = 15;

/// Holds about 370 KiB, which are used again for the next body.
pub(super) struct Gzip(Compress);

impl Gzip {
    pub(super) fn new(level: Level) -> Self {
        let level = match level {
            Level::Fast => 1,
            // Less time and a better ratio than level 1 of zlib itself, which nginx uses unless told otherwise.
            Level::Default => 2,
            Level::Best => 6,
        };
        Self(Compress::new_gzip(Compression::new(level), WINDOW_BITS))
    }
}

impl Codec for Gzip {
    fn run(&mut self, input: &[u8], out: &mut [u8], operation: Operation) -> Option<Progress> {
        let flush = match operation {
            Operation::Push => FlushCompress::None,
            Operation::Flush => FlushCompress::Sync,
            Operation::Finish => FlushCompress::Finish,
        };
        let (read, written) = (self.0.total_in(), self.0.total_out());
        let status = self.0.compress(input, out, flush).ok()?;
        let written = usize::try_from(self.0.total_out() - written).ok()?;
        Some(Progress {
            read: usize::try_from(self.0.total_in() - read).ok()?,
            written,
            is_complete: match operation {
                Operation::Push => false,
                // Room that is left over is the only sign of a complete flush.
                Operation::Flush => written < out.len(),
                Operation::Finish => status == Status::StreamEnd,
            },
        })
    }

    fn reset(&mut self, _: Option<u64>) -> bool {
        self.0.reset();
        true
    }
}
