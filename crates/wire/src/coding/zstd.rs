//! The coding `zstd`.

use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation as _, OutBuffer};

use super::{Codec, Level, Operation, Progress, window_bits};

/// Bits of the smallest window.
const LEAST_WINDOW_BITS: u32 = 14;

/// Holds 0.5 to 1 MiB, which are used again for the next body.
pub(super) struct Zstd {
    encoder: Encoder<'static>,
    most_window_bits: u32,
}

impl Zstd {
    /// `None` when the library refuses its parameters.
    pub(super) fn new(level: Level, length: Option<u64>) -> Option<Self> {
        // Receivers need not accept windows above 8 MiB (RFC 9659 §3). These windows and tables are smaller than the library's own,
        // because every response that is under way has its own; the ratio is less than 3% worse.
        let (level, most_window_bits, table_bits) = match level {
            Level::Fast => (1, 17, 14),
            Level::Default => (3, 18, 15),
            Level::Best => (6, 18, 16),
        };
        let mut encoder = Encoder::new(level).ok()?;
        encoder.set_parameter(CParameter::HashLog(table_bits)).ok()?;
        encoder.set_parameter(CParameter::ChainLog(table_bits)).ok()?;
        let mut zstd = Self {
            encoder,
            most_window_bits,
        };
        zstd.set_window(length).then_some(zstd)
    }

    fn set_window(&mut self, length: Option<u64>) -> bool {
        let bits = window_bits(length, LEAST_WINDOW_BITS, self.most_window_bits);
        self.encoder.set_parameter(CParameter::WindowLog(bits)).is_ok()
    }
}

impl Codec for Zstd {
    fn run(&mut self, input: &[u8], out: &mut [u8], operation: Operation) -> Option<Progress> {
        let mut input = InBuffer::around(input);
        let mut out = OutBuffer::around(out);
        let left = match operation {
            Operation::Push => self.encoder.run(&mut input, &mut out),
            Operation::Flush => self.encoder.flush(&mut out),
            Operation::Finish => self.encoder.finish(&mut out, true),
        };
        let left = left.ok()?;
        Some(Progress {
            read: input.pos(),
            written: out.pos(),
            is_complete: operation != Operation::Push && left == 0,
        })
    }

    fn reset(&mut self, length: Option<u64>) -> bool {
        self.encoder.reinit().is_ok() && self.set_window(length)
    }
}
