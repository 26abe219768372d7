//! Receives frames and checks that each is allowed in the current state (RFC 9113 §§4–6). A stream error resets the stream; a
//! connection error is returned as an error.

use super::super::Reason;
use super::super::frame::{self, Head};
use super::super::head::{RequestReader, ResponseReader, TrailersReader};
use super::super::refused::Refused;
use super::entry::{Entry, Response};
use super::{Engine, GoAway, Role, STREAMS_OF_CLIENT};
use crate::buffer::{Buffer, Buffers};
use crate::head::{RequestHead, ResponseHead};
use crate::hpack::NotDecodable;
use crate::http1::Malformed;

/// Frames in which a field block may always be sent. More are allowed if `limits.head` needs more.
const FRAMES_OF_BLOCK: usize = 6;
/// Interim response heads of one stream that are kept until its handle takes them.
const RESPONSES: usize = 16;

/// State of the connection preface (RFC 9113 §3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// Waiting for the client's preface.
    Preface,
    /// Waiting for the first SETTINGS frame.
    Settings,
    Done,
}

impl Opening {
    pub(super) fn of(role: &Role) -> Self {
        match role {
            Role::Server { .. } => Self::Preface,
            Role::Client { .. } => Self::Settings,
        }
    }
}

/// An incomplete field block.
#[derive(Debug)]
pub(super) struct Block {
    head: Head,
    bytes: Vec<u8>,
    frames: usize,
}

/// Where received data is put.
pub struct ReceiveContext<'a> {
    /// Lends memory for payload.
    pub buffers: &'a Buffers,
    /// The head of the next request; `None` on the client side.
    pub head: Option<&'a mut RequestHead>,
}

/// A request whose head was received and put into `ReceiveContext::head`.
#[derive(Debug)]
pub struct IncomingRequest {
    /// The id of the stream.
    pub stream: u32,
    /// Whether the head is valid, or why it was refused.
    pub result: Result<(), Malformed>,
}

impl From<NotDecodable> for Reason {
    fn from(_: NotDecodable) -> Self {
        Self::COMPRESSION_ERROR
    }
}

impl Engine {
    /// Consumes frames from the front of `input`, until a request head is complete or more input is needed.
    ///
    /// # Errors
    /// A connection error.
    pub fn receive(
        &mut self,
        input: &mut Buffer,
        receiving: &mut ReceiveContext<'_>,
    ) -> Result<Option<IncomingRequest>, Reason> {
        loop {
            if let Role::Server { budget, .. } = &self.role
                && budget.is_overdrawn()
            {
                return Err(Reason::ENHANCE_YOUR_CALM);
            }
            if self.data.is_some() {
                if !self.take_payload(input, receiving.buffers) {
                    return Ok(None);
                }
                continue;
            }
            if self.opening == Opening::Preface {
                let Some(preface) = input.unread().get(..frame::PREFACE.len()) else {
                    return match frame::PREFACE.starts_with(input.unread()) {
                        true => Ok(None),
                        false => Err(Reason::PROTOCOL_ERROR),
                    };
                };
                if preface != frame::PREFACE {
                    return Err(Reason::PROTOCOL_ERROR);
                }
                input.consume(frame::PREFACE.len());
                self.opening = Opening::Settings;
            }
            let Some(head) = Head::parse(input.unread()) else {
                return Ok(None);
            };
            self.note_half_head(head, input.unread().len());
            let block = self.block.as_ref().map(|block| block.head.stream);
            check_order(head, self.opening == Opening::Settings, block)?;
            head.check()?;
            let needed = match head.kind {
                frame::DATA => usize::from(head.has(frame::PADDED)),
                _ => head.length,
            };
            let Some(payload) = input.unread().get(frame::HEAD..frame::HEAD + needed) else {
                return Ok(None);
            };
            self.opening = Opening::Done;
            let begun = self.frame(head, payload, receiving)?;
            input.consume(frame::HEAD + needed);
            if self.block.is_none() {
                self.half_head = None;
                self.frames = self.frames.wrapping_add(1);
            }
            if begun.is_some() {
                return Ok(begun);
            }
        }
    }

    /// Records how much of a request head was received, if this frame is part of one, or would be. `received` is the number of bytes
    /// available from the start of the frame.
    fn note_half_head(&mut self, head: Head, received: usize) {
        let received = received.min(frame::HEAD + head.length);
        self.half_head = match &self.block {
            Some(block) => self.half_head.map(|_| block.bytes.len() + received),
            None => self.begins_request(head).then_some(received),
        };
    }

    /// Whether a frame begins a request, or belongs to a message on a stream that was never opened.
    fn begins_request(&self, head: Head) -> bool {
        let Role::Server { history, .. } = &self.role else {
            return false;
        };
        let is_ignored = matches!(self.goaway, GoAway::Sent { last } if head.stream > last);
        matches!(head.kind, frame::HEADERS | frame::CONTINUATION | frame::DATA)
            && history.is_unused(head.stream)
            && !is_ignored
    }

    fn frame(
        &mut self,
        head: Head,
        payload: &[u8],
        receiving: &mut ReceiveContext<'_>,
    ) -> Result<Option<IncomingRequest>, Reason> {
        match head.kind {
            frame::DATA => self.begin_data(head, payload.first().copied()).map(|()| None),
            frame::HEADERS => {
                let block = frame::block_of(payload, head)?;
                if head.has(frame::END_HEADERS) {
                    return self.fields(head, block, receiving);
                }
                self.block = Some(Block {
                    head,
                    bytes: block.to_vec(),
                    frames: 1,
                });
                Ok(None)
            }
            frame::CONTINUATION => self.continuation(head, payload, receiving),
            _ => self.control(head, payload).map(|()| None),
        }
    }

    fn continuation(
        &mut self,
        head: Head,
        payload: &[u8],
        receiving: &mut ReceiveContext<'_>,
    ) -> Result<Option<IncomingRequest>, Reason> {
        let Some(mut block) = self.block.take() else {
            return Ok(None);
        };
        block.frames += 1;
        // A quarter more, for frames that are not full.
        let most = (1 + self.limits.head / frame::PAYLOAD * 5 / 4).max(FRAMES_OF_BLOCK);
        if block.frames > most {
            return Err(Reason::ENHANCE_YOUR_CALM);
        }
        block.bytes.extend_from_slice(payload);
        if head.has(frame::END_HEADERS) {
            return self.fields(block.head, &block.bytes, receiving);
        }
        self.block = Some(block);
        Ok(None)
    }

    /// Handles a complete field block.
    fn fields(
        &mut self,
        head: Head,
        block: &[u8],
        receiving: &mut ReceiveContext<'_>,
    ) -> Result<Option<IncomingRequest>, Reason> {
        let is_end = head.has(frame::END_STREAM);
        if let Some(entry) = self.streams.get_mut(&head.stream) {
            // RFC 9113 §5.1: a side that has ended or reset a stream sends nothing more on it; on a stream that we have reset, frames
            // may still be in transit.
            if entry.is_their_end {
                return Err(Reason::STREAM_CLOSED);
            }
            if entry.reset_reason.is_some() {
                return self.ignore(block);
            }
            if matches!(self.role, Role::Client { .. }) && !entry.has_responded {
                return self.response(head, block).map(|()| None);
            }
            return self.trailers(head, block, is_end).map(|()| None);
        }
        let Role::Server { history, budget } = &mut self.role else {
            return match self.is_idle_stream(head.stream) {
                true => Err(Reason::PROTOCOL_ERROR),
                false => self.ignore(block),
            };
        };
        if !history.begins(head.stream)? {
            return self.ignore(block);
        }
        budget.asked();
        if matches!(self.goaway, GoAway::Sent { last } if head.stream > last) {
            return self.ignore(block);
        }
        if self.open >= STREAMS_OF_CLIENT || self.streams.len() >= 2 * STREAMS_OF_CLIENT {
            self.ignore(block)?;
            self.refuse(head.stream, Reason::REFUSED_STREAM);
            return Ok(None);
        }
        let Some(into) = &mut receiving.head else {
            return self.ignore(block);
        };
        let mut reader = RequestReader::new(into, &self.limits);
        self.decoder
            .decode(block, |name, value| reader.add(name, value))?;
        let result = reader.finish(!is_end);
        let mut entry = Entry::new(self.first_window, self.window_of_streams());
        entry.expected = result.as_ref().ok().copied().flatten();
        (entry.is_remote_closed, entry.is_their_end) = (is_end, is_end);
        self.streams.insert(head.stream, entry);
        self.open += 1;
        self.handles += 1;
        Ok(Some(IncomingRequest {
            stream: head.stream,
            result: result.map(|_| ()),
        }))
    }

    /// Decodes a field block of a closed stream and drops it: the HPACK tables of both sides have to stay in step.
    fn ignore(&mut self, block: &[u8]) -> Result<Option<IncomingRequest>, Reason> {
        if let Role::Server { budget, .. } = &mut self.role {
            budget.did_nothing();
        }
        self.decoder.decode(block, |_, _| {})?;
        Ok(None)
    }

    fn response(&mut self, head: Head, block: &[u8]) -> Result<(), Reason> {
        let is_whole = head.has(frame::END_STREAM);
        let (mut response, mut lines) = (ResponseHead::default(), Vec::with_capacity(2 * block.len()));
        let mut reader = ResponseReader::new(&mut response, &mut lines, &self.limits);
        self.decoder
            .decode(block, |name, value| reader.add(name, value))?;
        let Some(entry) = self.streams.get_mut(&head.stream) else {
            return Ok(());
        };
        let result = reader.finish(is_whole, entry.asked).map_err(|refused| {
            let reason = refused.reason;
            entry.refused = Some(refused);
            reason
        });
        let is_interim = result.is_ok() && response.status < 200;
        if is_interim && (is_whole || entry.responses.len() >= RESPONSES) {
            self.refuse(head.stream, Reason::PROTOCOL_ERROR);
            return Ok(());
        }
        entry.has_responded = !is_interim;
        entry.expected = result.as_ref().ok().copied().flatten();
        let result = result.map(|_| response);
        entry.responses.push_back(Response { result, lines });
        if is_whole {
            self.end(head.stream);
        } else {
            entry.wake();
        }
        Ok(())
    }

    fn trailers(&mut self, head: Head, block: &[u8], is_end: bool) -> Result<(), Reason> {
        let is_of_response = match &mut self.role {
            Role::Server { budget, .. } => {
                budget.asked();
                false
            }
            Role::Client { .. } => true,
        };
        let mut reader = TrailersReader::new(is_of_response, &self.limits);
        self.decoder
            .decode(block, |name, value| reader.add(name, value))?;
        match (reader.finish(), self.streams.get_mut(&head.stream)) {
            (Ok(lines), Some(entry)) if is_end => {
                entry.trailers = lines;
                self.end(head.stream);
            }
            (Err(refused), Some(entry)) => {
                entry.refused = Some(refused);
                self.refuse(head.stream, Reason::PROTOCOL_ERROR);
            }
            _ => self.refuse(head.stream, Reason::PROTOCOL_ERROR),
        }
        Ok(())
    }

    /// Handles END_STREAM: the other side's message is complete.
    pub(super) fn end(&mut self, stream: u32) {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return;
        };
        entry.is_remote_closed = true;
        entry.is_their_end = true;
        // RFC 9113 §8.1.1.
        if entry.expected.is_some_and(|left| left > 0) && entry.reset_reason.is_none() {
            entry.refused = Some(Refused::length());
            return self.refuse(stream, Reason::PROTOCOL_ERROR);
        }
        entry.wake();
        self.settle(stream);
    }

    /// Checks that a frame may still arrive on a stream that is closed.
    pub(super) fn check_gone(&self, stream: u32) -> Result<(), Reason> {
        if self.streams.contains_key(&stream) {
            return Ok(());
        }
        match &self.role {
            _ if self.is_idle_stream(stream) => Err(Reason::PROTOCOL_ERROR),
            Role::Server { history, .. } => history.check_not_ended(stream),
            Role::Client { .. } => Ok(()),
        }
    }

    /// Whether this stream was never opened (state "idle" of RFC 9113 §5.1).
    pub(super) fn is_idle_stream(&self, stream: u32) -> bool {
        match &self.role {
            Role::Server { history, .. } => history.is_idle(stream),
            Role::Client { next, .. } => stream >= *next || stream.is_multiple_of(2),
        }
    }
}

/// Checks the order of frames: SETTINGS first, and nothing but CONTINUATION within a field block (RFC 9113 §§3.4, 6.10).
fn check_order(head: Head, is_first: bool, block: Option<u32>) -> Result<(), Reason> {
    let is_expected = match block {
        Some(stream) => head.kind == frame::CONTINUATION && head.stream == stream,
        None if is_first => head.kind == frame::SETTINGS && !head.has(frame::ACK),
        None => head.kind != frame::CONTINUATION,
    };
    is_expected.then_some(()).ok_or(Reason::PROTOCOL_ERROR)
}
