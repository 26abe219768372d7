//! Reads a body of limited length into memory, for a response that is not forwarded.

use std::task::{Context, Poll, ready};

use super::connection::Connection;
use super::protocol::source_length;
use super::transfer::TransferError;
use crate::buffer::Buffers;
use crate::head::ResponseHead;
use crate::http1::{Decoder, Kind, Limits, Piece};

/// A body that is being read.
#[derive(Debug)]
pub struct Collect {
    decoder: Decoder,
    limits: Limits,
    most: usize,
    /// What was read of it so far.
    pub body: Vec<u8>,
}

impl Collect {
    /// For the body of a response. More than `most` bytes are an error.
    pub fn of_response(head: &ResponseHead, limits: &Limits, most: usize) -> Self {
        let length = source_length(head.version, head.body);
        Self {
            decoder: Decoder::new(length, Kind::Response, limits),
            limits: *limits,
            most,
            body: Vec::new(),
        }
    }

    /// Reads as much as there is; ready when the body is whole.
    ///
    /// # Errors
    /// [`TransferError`], after which the connection cannot be used for another message.
    pub fn poll(
        &mut self,
        context: &mut Context<'_>,
        source: &mut Connection,
        buffers: &Buffers,
    ) -> Poll<Result<(), TransferError>> {
        loop {
            match self.decoder.next(source.input.unread(), source.input_ended)? {
                Piece::Data { skip, len } => {
                    source.input.consume(skip);
                    if self.body.len() + len > self.most {
                        return Poll::Ready(Err(TransferError::TooLarge));
                    }
                    let payload = source.input.unread().get(..len).unwrap_or_default();
                    self.body.extend_from_slice(payload);
                    source.input.consume(len);
                }
                Piece::NeedMore { skip } => {
                    source.input.consume(skip);
                    if source.input.capacity() > 0 && source.input.is_full() {
                        source.reserve_input(buffers, self.limits.trailers + crate::buffer::SMALL);
                    }
                    let read = ready!(source.poll_fill(context, buffers, self.decoder.expects()));
                    read.map_err(TransferError::Source)?;
                }
                Piece::End { skip, .. } => {
                    source.input.consume(skip);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}
