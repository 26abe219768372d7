//! The operations of streams: take received payload, and queue what is sent for the socket.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, Waker};

use super::super::Reason;
use super::super::fields::HeadFields;
use super::super::frame::{self, HEAD, PAYLOAD};
use super::super::head::{encode, encode_trailers};
use super::entry::{Entry, ResetReason, Response};
use super::queue::Part;
use super::{Engine, LAST, OPENERS, ROOM, Role};
use crate::buffer::{Buffer, PIECE};
use crate::head::{Flaw, Method};
use crate::hpack::Encoder;
use crate::http1::Malformed;

/// The connection opens no more streams, so the request was not sent.
#[derive(Debug)]
pub struct NotOpened;

impl Engine {
    /// Opens a stream with the head of a request. Waits while the backend allows no more concurrent streams.
    pub fn poll_open(
        &mut self,
        context: &Context<'_>,
        head: &HeadFields,
        asked: Method,
        is_end: bool,
    ) -> Poll<Result<u32, NotOpened>> {
        let is_over = self.is_over();
        let (open, is_full) = (self.open, self.output().len() >= ROOM);
        let window = self.window_of_streams();
        let Role::Client { next, most, waiting } = &mut self.role else {
            return Poll::Ready(Err(NotOpened));
        };
        if is_over || *next >= LAST {
            return Poll::Ready(Err(NotOpened));
        }
        if open >= *most || is_full {
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                if waiting.len() >= OPENERS {
                    // Those that still wait come back.
                    waiting.drain(..).for_each(Waker::wake);
                }
                waiting.push(context.waker().clone());
            }
            return Poll::Pending;
        }
        let stream = *next;
        *next += 2;
        let mut entry = Entry::new(self.first_window, window);
        entry.asked = asked;
        entry.is_local_closed = is_end;
        self.streams.insert(stream, entry);
        self.open += 1;
        self.put_head(stream, head, is_end);
        Poll::Ready(Ok(stream))
    }

    /// Sends the head of a response.
    ///
    /// # Errors
    /// The stream is gone.
    pub fn poll_head(
        &mut self,
        context: &Context<'_>,
        stream: u32,
        head: &HeadFields,
        is_end: bool,
    ) -> Poll<io::Result<()>> {
        self.check_sending(stream)?;
        if !self.is_let_in(stream, Part::Head) {
            self.wait(stream, context, Part::Head);
            return Poll::Pending;
        }
        self.put_head(stream, head, is_end);
        if is_end {
            self.end_ours(stream);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends the head of an interim response, unless so much waits for the socket that it is dropped: it is optional.
    ///
    /// # Errors
    /// The stream is gone.
    pub fn interim(&mut self, stream: u32, head: &HeadFields) -> io::Result<()> {
        self.check_sending(stream)?;
        if self.output().len() < ROOM {
            self.put_head(stream, head, false);
        }
        Ok(())
    }

    /// Sends the front of `parts`, as much as there is credit and room for. If that is all and `is_last` says that nothing
    /// follows, the end of the message goes with it. Returns how much was sent, and whether the end was.
    ///
    /// # Errors
    /// The stream is gone.
    pub fn poll_data(
        &mut self,
        context: &Context<'_>,
        stream: u32,
        parts: &[IoSlice<'_>],
        is_last: bool,
    ) -> Poll<io::Result<(usize, bool)>> {
        let credit = self.check_sending(stream)?;
        if credit <= 0 {
            self.return_grant(stream);
            self.watch_stream(stream, context);
            return Poll::Pending;
        }
        if !self.is_let_in(stream, Part::Payload) {
            self.wait(stream, context, Part::Payload);
            return Poll::Pending;
        }
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let count = self.spend_turn(stream, total);
        let is_end = is_last && count == total;
        let flags = if is_end { frame::END_STREAM } else { 0 };
        frame::put_head(&mut self.out, (frame::DATA, flags), stream, count);
        put_parts(&mut self.out, parts, count);
        if let Role::Server { budget, .. } = &mut self.role
            && count == total
        {
            budget.responded();
        }
        if is_end {
            self.end_ours(stream);
        }
        self.wake();
        Poll::Ready(Ok((count, is_end)))
    }

    /// Sends the end of a message, with trailers as lines.
    ///
    /// # Errors
    /// The stream is gone.
    pub fn end_message(&mut self, stream: u32, trailers: &[u8]) -> io::Result<()> {
        self.check_sending(stream)?;
        match trailers {
            [] => {
                frame::put_head(&mut self.out, (frame::DATA, frame::END_STREAM), stream, 0);
                self.wake();
            }
            lines => self.put_block(stream, true, |encoder, out| encode_trailers(lines, encoder, out)),
        }
        self.end_ours(stream);
        Ok(())
    }

    /// Returns received payload; `None` is the proven end of the message. The last announced payload waits for that end: forwarded
    /// by HTTP/1 it would make the message whole, and more may come that makes it malformed (RFC 9113 §8.1.1).
    ///
    /// # Errors
    /// The message is incomplete.
    pub fn poll_take(&mut self, context: &Context<'_>, stream: u32) -> Poll<io::Result<Option<Buffer>>> {
        let window = self.window_of_streams();
        let Some(entry) = self.streams.get_mut(&stream) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        if entry.reset_reason.is_some() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let is_held = entry.expected == Some(0) && entry.received.len() <= 1 && !entry.is_remote_closed;
        if is_held || entry.received.is_empty() && !entry.is_remote_closed {
            entry.watch(context);
            return Poll::Pending;
        }
        let Some(buffer) = entry.received.pop_front() else {
            return Poll::Ready(Ok(None));
        };
        let count = buffer.unread().len() as u32;
        entry.unread -= count;
        entry.to_release += count;
        let before = self.out.len();
        if let Some(count) = entry.credit_due(window) {
            frame::put_numbers(&mut self.out, frame::WINDOW_UPDATE, stream, &[count]);
        }
        self.release(count, false);
        if self.out.len() > before {
            self.wake();
        }
        Poll::Ready(Ok(Some(buffer)))
    }

    /// Returns the next head of the response to a request.
    ///
    /// # Errors
    /// No more heads follow.
    pub fn poll_response(
        &mut self,
        context: &Context<'_>,
        stream: u32,
    ) -> Poll<Result<Response, ResetReason>> {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return Poll::Ready(Err(ResetReason::Broken));
        };
        if let Some(response) = entry.responses.pop_front() {
            return Poll::Ready(Ok(response));
        }
        if let Some(reset_reason) = entry.reset_reason {
            return Poll::Ready(Err(reset_reason));
        }
        entry.watch(context);
        Poll::Pending
    }

    /// Returns the trailers of a message that has ended, as lines.
    pub fn take_trailers(&mut self, stream: u32) -> Vec<u8> {
        let entry = self.streams.get_mut(&stream);
        entry
            .map(|entry| std::mem::take(&mut entry.trailers))
            .unwrap_or_default()
    }

    /// Why a received message was refused, and for which field.
    pub fn take_refused(&mut self, stream: u32) -> Option<(Malformed, Box<Flaw>)> {
        let refused = self.streams.get_mut(&stream)?.refused.take()?;
        Some((refused.reason, refused.flaw))
    }

    /// Ready when the stream was reset, or its connection is gone.
    pub fn poll_gone(&mut self, context: &Context<'_>, stream: u32) -> Poll<()> {
        match self.streams.get_mut(&stream) {
            Some(entry) if entry.reset_reason.is_none() => {
                entry.watch(context);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// Whether a stream may send payload, and only its connection has no credit. A backend that loses the credit of streams which were
    /// reset never returns it.
    pub fn lacks_credit(&self, stream: u32) -> bool {
        let has_own = |entry: &Entry| !entry.is_local_closed && entry.send_window.left() > 0;
        self.send_window.left() <= 0 && self.streams.get(&stream).is_some_and(has_own)
    }

    /// Ends a stream in the middle of its message.
    pub fn reset(&mut self, stream: u32, reason: Reason) {
        let is_running = self.streams.get(&stream).is_some_and(|entry| {
            entry.reset_reason.is_none() && !(entry.is_local_closed && entry.is_remote_closed)
        });
        if !is_running {
            return;
        }
        // What the other side has provoked is counted, what we or others did is not.
        if reason == Reason::PROTOCOL_ERROR {
            self.refuse(stream, reason);
        } else {
            frame::put_numbers(&mut self.out, frame::RST_STREAM, stream, &[reason.0]);
            if let Some(entry) = self.streams.get_mut(&stream) {
                let unread = entry.lose(ResetReason::Reset);
                self.release(unread, false);
                self.settle(stream);
            }
        }
        self.wake();
    }

    /// Records that the handle of a stream was dropped; 0 is a stream that was never opened.
    pub fn drop_handle(&mut self, stream: u32) {
        self.handles -= 1;
        if self.handles == 0 {
            // The task that moves the bytes may end the connection.
            self.wake();
        }
        let Some(entry) = self.streams.get_mut(&stream) else {
            return;
        };
        entry.is_held = false;
        let unread = entry.drop_received();
        // RFC 9113 §8.1: once the response is complete, the rest of the request is not needed.
        let reason = match self.role {
            Role::Server { .. } if entry.is_local_closed => Reason::NO_ERROR,
            _ => Reason::CANCEL,
        };
        self.release(unread, false);
        self.reset(stream, reason);
        self.settle(stream);
    }

    /// The credit of a stream.
    fn check_sending(&self, stream: u32) -> io::Result<i64> {
        match self.streams.get(&stream) {
            Some(entry) if !entry.is_local_closed => Ok(entry.send_window.left()),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Spends credit for as much of `total` bytes of payload as a stream may send in its turn; gives how much. What the connection
    /// has no credit for is left of the turn.
    fn spend_turn(&mut self, stream: u32, total: usize) -> usize {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return 0;
        };
        let [ours, whole] =
            [&entry.send_window, &self.send_window].map(|window| usize::try_from(window.left()).unwrap_or(0));
        // A few bytes more than a piece are no frame of their own, unless the credit for them was granted to others.
        let of_others = self.payloads.granted * PIECE;
        let is_spare = whole >= total.saturating_add(of_others);
        let most = if total <= PAYLOAD && entry.turn == PIECE && is_spare {
            total
        } else {
            entry.turn
        };
        let wanted = most.min(total).min(ours);
        let count = wanted.min(whole);
        entry.turn = match count < wanted {
            true => PIECE.min(most - count),
            false => PIECE,
        };
        entry.send_window.spend(count);
        self.send_window.spend(count);
        count
    }

    pub(super) fn watch_stream(&mut self, stream: u32, context: &Context<'_>) {
        if let Some(entry) = self.streams.get_mut(&stream) {
            entry.watch(context);
        }
    }

    fn end_ours(&mut self, stream: u32) {
        if let Some(entry) = self.streams.get_mut(&stream) {
            entry.is_local_closed = true;
            self.settle(stream);
        }
    }

    fn put_head(&mut self, stream: u32, head: &HeadFields, is_end: bool) {
        self.put_block(stream, is_end, |encoder, out| encode(head, encoder, out));
    }

    /// Writes the frames of a field block.
    fn put_block(&mut self, stream: u32, is_end: bool, encode: impl FnOnce(&mut Encoder, &mut Vec<u8>)) {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; HEAD]);
        encode(&mut self.encoder, &mut self.out);
        frame::close_block(&mut self.out, start, stream, is_end);
        self.wake();
    }
}

/// Writes the first `count` bytes of `parts`.
fn put_parts(out: &mut Vec<u8>, parts: &[IoSlice<'_>], count: usize) {
    let mut left = count;
    for part in parts {
        let part = part.get(..left).unwrap_or(part);
        out.extend_from_slice(part);
        left -= part.len();
    }
}
