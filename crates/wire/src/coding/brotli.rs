//! The coding `br`.

use brotli::enc::encode::{
    BrotliEncoderDestroyInstance, BrotliEncoderOperation, BrotliEncoderParameter, BrotliEncoderStateStruct,
};

use super::brotli_memory::Memory;
use super::{Codec, Level, Operation, Progress, window_bits};

/// It is made anew for every body, and its tables, about 4 MiB (7 MiB at the best level), are used again.
pub(super) struct Brotli(Box<BrotliEncoderStateStruct<Memory>>);

impl Brotli {
    pub(super) fn new(level: Level, length: Option<u64>, memory: &Memory) -> Self {
        // The format allows windows of 24 bits, for 16 MiB in every sender and receiver. From quality 5 on, windows of 16 bits and
        // less make the library choose tables of 32 MiB.
        let (quality, least_window_bits, most_window_bits) = match level {
            Level::Fast => (2, 16, 18),
            Level::Default => (4, 16, 18),
            Level::Best => (5, 17, 19),
        };
        // A window is 16 bytes smaller than its power of 2 (RFC 7932 §9.1).
        let length = length.map(|length| length.saturating_add(16));
        let window = window_bits(length, least_window_bits, most_window_bits);
        let mut state = Box::new(BrotliEncoderStateStruct::new(memory.clone()));
        state.set_parameter(BrotliEncoderParameter::BROTLI_PARAM_QUALITY, quality);
        state.set_parameter(BrotliEncoderParameter::BROTLI_PARAM_LGWIN, window);
        Self(state)
    }
}

impl Codec for Brotli {
    fn run(&mut self, input: &[u8], out: &mut [u8], operation: Operation) -> Option<Progress> {
        let brotli_operation = match operation {
            Operation::Push => BrotliEncoderOperation::BROTLI_OPERATION_PROCESS,
            Operation::Flush => BrotliEncoderOperation::BROTLI_OPERATION_FLUSH,
            Operation::Finish => BrotliEncoderOperation::BROTLI_OPERATION_FINISH,
        };
        let (mut left, mut room) = (input.len(), out.len());
        let (mut read, mut written) = (0, 0);
        let succeeded = self.0.compress_stream(
            brotli_operation,
            &mut left,
            input,
            &mut read,
            &mut room,
            out,
            &mut written,
            &mut None,
            &mut |_, _, _, _| (),
        );
        succeeded.then_some(Progress {
            read,
            written,
            is_complete: match operation {
                Operation::Push => false,
                Operation::Flush => !self.0.has_more_output(),
                Operation::Finish => self.0.is_finished(),
            },
        })
    }

    fn reset(&mut self, _: Option<u64>) -> bool {
        false
    }
}

impl Drop for Brotli {
    /// Gives the tables back.
    fn drop(&mut self) {
        BrotliEncoderDestroyInstance(&mut self.0);
    }
}
