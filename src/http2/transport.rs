//! A connection's socket: moves what it brings into the engine, and what the engine has to send out of it.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use super::Reason;
use super::engine::{Begun, Engine, ReceiveContext};
use crate::buffer::{Buffer, Buffers, LARGE, SMALL};
use crate::net::Stream;

/// Bytes that are read and dropped after the last word, so that it arrives: closing at once would reset the connection.
const LINGER: usize = 256 << 10;

/// Reads after which others get their turn.
const READS: usize = 8;

/// What moving bytes has come to.
#[derive(Debug)]
pub(super) enum Moved {
    /// A request has begun.
    Request(Begun),
    /// The connection has an error, which the other side is still to be told of.
    Failed(Reason),
    /// Goodbye was said, and nothing is left to do.
    Done,
    /// Nothing more comes.
    Ended,
    /// Nothing more can be sent.
    Cut,
}

/// A socket, and what came by it that the engine has not taken.
#[derive(Debug)]
pub(super) struct Transport {
    stream: Stream,
    pub(super) input: Buffer,
    /// Whether the last write had to wait, or what TLS keeps back of it.
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

    /// Moves bytes both ways, until a request begins or the connection is over.
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
                Poll::Ready(Ok(1..)) => engine.hears(),
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Moved::Ended),
                Poll::Pending => break,
            }
        }
        engine.watch(context);
        if let Poll::Ready(Err(_)) = self.poll_send(context, engine) {
            return Poll::Ready(Moved::Cut);
        }
        if was_choked && !engine.is_choked() {
            // Nobody else says that it is time to read again.
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Reads behind what the engine has left; gives 0 at the end. Waits without holding memory where nothing is left.
    ///
    /// # Errors
    /// Those of the socket.
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
            // A frame that has to be seen whole and is larger than most.
            buffers.grow(&mut self.input, LARGE);
        }
        let count = ready!(self.stream.poll_read(context, self.input.space()))?;
        self.input.filled(count);
        Poll::Ready(Ok(count))
    }

    /// Writes all that the engine has to send.
    ///
    /// # Errors
    /// Those of the socket.
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

    /// Sends what is left, says that nothing more comes, and waits until the other side has heard it. Whoever calls bounds the
    /// time.
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
