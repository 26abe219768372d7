//! Compresses a body on its way: takes payload from the input of its source, and puts what came of it, framed, into the output of
//! its sink. Holds at most one small buffer beside what the encoder needs.

use std::io;
use std::task::{Context, Poll, ready};

use super::connection::Connection;
use crate::buffer::{Buffer, Buffers, SMALL};
#[cfg(test)]
use crate::coding::ContentCoding;
use crate::coding::{ContentEncoder, EncodeError};
use crate::http1::Encoder;

/// Encoded payload from which on it is framed and put into the output, so that there is always room for as much again.
const STAGED: usize = SMALL / 2;
/// Payload that the encoder gets at once, so that its owner can end its turn in between.
const PIECE: usize = SMALL;

/// The filter of one body.
#[derive(Debug)]
pub(super) struct Filter {
    encoder: ContentEncoder,
    step: Step,
    /// Payload at the front of the source's input that the encoder has not taken.
    pub(super) payload: usize,
    /// Encoded payload that is not framed yet. Without memory while the source pauses.
    staged: Buffer,
    /// Bytes of encoded payload so far.
    pub(super) written: u64,
}

/// What is to be done before more payload is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Nothing,
    Flush,
    Finish,
    /// Nothing is taken any more: the end was put into the output.
    Ended,
}

/// Why a body cannot go on.
#[derive(Debug)]
pub(super) enum FilterError {
    Sink(io::Error),
    Encode(EncodeError),
}

impl Filter {
    pub(super) fn new(encoder: ContentEncoder) -> Self {
        Self {
            encoder,
            step: Step::Nothing,
            payload: 0,
            staged: Buffer::default(),
            written: 0,
        }
    }

    /// The coding that it applies.
    #[cfg(test)]
    pub(super) fn coding(&self) -> ContentCoding {
        self.encoder.coding()
    }

    /// Writes out with the next drain everything that was taken, if that is not so already. Whether there is something.
    pub(super) fn flush(&mut self) -> bool {
        if self.encoder.holds_input() {
            self.step = Step::Flush;
        }
        self.step == Step::Flush
    }

    /// Writes the end of the body with the next drain.
    pub(super) fn finish(&mut self) {
        self.step = Step::Finish;
    }

    /// Takes some of the payload at the front of `input`; returns how much.
    ///
    /// # Errors
    /// The encoder failed.
    pub(super) fn take(&mut self, input: &mut Buffer, buffers: &Buffers) -> Result<usize, FilterError> {
        let payload = input.unread().get(..self.payload.min(PIECE)).unwrap_or_default();
        if self.staged.capacity() == 0 {
            self.staged = buffers.lend(SMALL);
        }
        let progress = self.encoder.push(payload, self.staged.space())?;
        self.staged.filled(progress.written);
        self.written += progress.written as u64;
        self.payload = self.payload.saturating_sub(progress.read);
        input.consume(progress.read);
        Ok(progress.read)
    }

    /// Makes room for the next [`Self::take`], and flushes or ends the body where that is to be done. Returns whether the body was
    /// ended, with `trailers`, which are whole lines.
    ///
    /// # Errors
    /// The encoder or the sink failed.
    pub(super) fn poll_drain(
        &mut self,
        context: &mut Context<'_>,
        sink: &mut Connection,
        (framing, trailers): (Encoder, &[u8]),
        buffers: &Buffers,
    ) -> Poll<Result<bool, FilterError>> {
        loop {
            if self.staged.unread().len() >= STAGED {
                ready!(self.poll_emit(context, sink, framing, buffers))?;
            }
            if matches!(self.step, Step::Nothing | Step::Ended) {
                return Poll::Ready(Ok(self.step == Step::Ended));
            }
            if self.staged.capacity() == 0 {
                self.staged = buffers.lend(SMALL);
            }
            let space = self.staged.space();
            let progress = match self.step {
                Step::Finish => self.encoder.finish(space)?,
                _ => self.encoder.flush(space)?,
            };
            self.staged.filled(progress.written);
            self.written += progress.written as u64;
            if !progress.is_complete {
                continue;
            }
            if self.step == Step::Finish {
                ready!(self.poll_emit(context, sink, framing, buffers))?;
                framing.end(trailers, sink.output(buffers));
                sink.finish(trailers);
                self.step = Step::Ended;
            } else {
                self.step = Step::Nothing;
            }
        }
    }

    /// Bytes of memory that it holds beside the encoder.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.staged.capacity()
    }

    /// Frames what is staged and puts it into the output of `sink`, once there is room. Holds no memory afterwards.
    ///
    /// # Errors
    /// The sink failed.
    pub(super) fn poll_emit(
        &mut self,
        context: &mut Context<'_>,
        sink: &mut Connection,
        framing: Encoder,
        buffers: &Buffers,
    ) -> Poll<Result<(), FilterError>> {
        if !self.staged.is_empty() {
            if sink.is_output_full() {
                ready!(sink.poll_flush(context)).map_err(FilterError::Sink)?;
            }
            let payload = self.staged.unread();
            let out = sink.output(buffers);
            framing.open(payload.len(), out);
            out.extend_from_slice(payload);
            framing.close(out);
        }
        buffers.give_back(std::mem::take(&mut self.staged));
        Poll::Ready(Ok(()))
    }
}

impl From<EncodeError> for FilterError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}
