//! Moves bytes between the socket of a connection and its engine.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use super::Reason;
use crate::buffer::{Buffer, Buffers, LARGE, SMALL};
use crate::net::Stream;
use evenkeel_wire::http2::{Engine, IncomingRequest, ReceiveContext};

/// Bytes that are read and dropped after the last frame was sent. Closing with unread input would reset the connection, and the
/// last frames would be lost.
const LINGER: usize = 256 << 10;

/// Reads in one poll, after which other tasks run.
const READS: usize = 8;

/// Result of moving bytes.
#[derive(Debug)]
pub(super) enum Moved {
    /// A request head was received.
    Request(IncomingRequest),
    /// A connection error; its GOAWAY is still to be sent.
    Failed(Reason),
    /// The final GOAWAY was sent, and no stream is left.
    Done,
    /// The other side sends nothing more.
    Ended,
    /// Nothing more can be sent.
    Cut,
}

/// A socket, and received bytes that the engine has not consumed.
#[derive(Debug)]
pub(super) struct Transport {
    stream: Stream,
    pub(super) input: Buffer,
    /// Whether the last write is incomplete, in the socket or in TLS.
    pub(super) is_blocked: bool,
    is_shut: bool,
    linger: usize,
}

impl Transport {
    pub(super) fn new(stream: Stream, input: Buffer) -> Self {
        Self {
            stream,
            input,
            is_blocked: false,
            is_shut: false,
            linger: LINGER,
        }
    }

    /// Moves bytes in both directions, until a request head is complete or the connection is over.
    pub(super) fn poll_move(
        &mut self,
        context: &mut Context<'_>,
        engine: &mut Engine,
        receiving: &mut ReceiveContext<'_>,
    ) -> Poll<Moved> {
        let mut was_choked = false;
        for reads in 0..=READS {
            match engine.receive(&mut self.input, receiving) {
                Ok(Some(begun)) => return Poll::Ready(Moved::Request(begun)),
                Ok(None) => {}
                Err(reason) => {
                    engine.fail(reason);
                    return Poll::Ready(Moved::Failed(reason));
                }
            }
            if engine.is_done() {
                return Poll::Ready(Moved::Done);
            }
            if reads == READS {
                context.waker().wake_by_ref();
                break;
            }
            was_choked = engine.is_choked();
            if was_choked {
                break;
            }
            match self.poll_read(context, receiving.buffers) {
                Poll::Ready(Ok(1..)) => engine.count_read(),
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Moved::Ended),
                Poll::Pending => break,
            }
        }
        engine.watch(context);
        if let Poll::Ready(Err(_)) = self.poll_send(context, engine) {
            return Poll::Ready(Moved::Cut);
        }
        if was_choked && !engine.is_choked() {
            // Nothing else wakes this task to read again.
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Appends received bytes to the input; returns 0 at the end of the stream. While the input is empty, it waits without a buffer.
    ///
    /// # Errors
    /// Errors of the socket.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffers: &Buffers,
    ) -> Poll<io::Result<usize>> {
        if self.input.is_empty() {
            if let Poll::Ready(result) = self.stream.poll_readable(context) {
                result?;
            } else {
                buffers.give_back(std::mem::take(&mut self.input));
                return Poll::Pending;
            }
            if self.input.capacity() == 0 {
                self.input = buffers.lend(SMALL);
            }
        } else if self.input.is_full() {
            // A frame that is parsed as a whole and is larger than most.
            buffers.grow(&mut self.input, LARGE);
        }
        let count = ready!(self.stream.poll_read(context, self.input.space()))?;
        self.input.filled(count);
        Poll::Ready(Ok(count))
    }

    /// Writes all output of the engine.
    ///
    /// # Errors
    /// Errors of the socket.
    pub(super) fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        engine: &mut Engine,
    ) -> Poll<io::Result<()>> {
        loop {
            let output = engine.output();
            if output.is_empty() {
                let result = self.stream.poll_flush(context);
                self.is_blocked = result.is_pending();
                return result;
            }
            let result = self.stream.poll_write(context, &[IoSlice::new(output)]);
            self.is_blocked = result.is_pending();
            let count = ready!(result)?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            engine.sent(count);
        }
    }

    /// Sends what is left, shuts down the write side, and waits until the other side closes. The caller bounds the time.
    pub(super) fn poll_close(&mut self, context: &mut Context<'_>, engine: &mut Engine) -> Poll<()> {
        if !self.is_shut {
            if ready!(self.poll_send(context, engine)).is_err() {
                return Poll::Ready(());
            }
            self.is_shut = true;
            self.stream.shutdown_write();
        }
        let mut space = [0; 4096];
        while self.linger > 0 {
            match ready!(self.stream.poll_read(context, &mut space)) {
                Ok(count @ 1..) => self.linger = self.linger.saturating_sub(count),
                Ok(0) | Err(_) => break,
            }
        }
        Poll::Ready(())
    }
}
