//! How the protocols differ, as questions to a connection: what its messages need, and what became of them. Above this module
//! nothing depends on the protocol of a connection.

use std::task::{Context, Poll};

use super::connection::Connection;
use crate::head::{BodyLength, Flaw, Version};
use crate::http1::{Encoder, Malformed};
use crate::http2::BrokeOff;

/// What is known about a request whose response did not come.
#[derive(Debug, Clone, Copy)]
pub struct RequestFate {
    /// Whether the backend can have processed nothing of it.
    pub is_unprocessed: bool,
    /// Whether the backend has said so (RFC 9113 §8.7).
    pub is_refused: bool,
    /// Whether its connection carries no more requests.
    pub is_connection_over: bool,
}

impl Connection {
    /// Whether it carries one message after the other. A stream carries one each way.
    pub fn is_sequential(&self) -> bool {
        !self.is_stream()
    }

    /// Whether it can be upgraded to another protocol (RFC 9110 §7.8).
    pub fn can_upgrade(&self) -> bool {
        !self.is_stream()
    }

    /// Whether the end of a message is marked whatever its length: its end never needs the end of the connection, and only
    /// a reset shows that a message is incomplete.
    pub fn marks_message_ends(&self) -> bool {
        self.is_stream()
    }

    /// How a message with this body is framed when it is sent.
    pub(super) fn encoder(&self, body: BodyLength) -> Encoder {
        match self.is_stream() {
            true => Encoder::Plain,
            false => Encoder::for_body(body),
        }
    }

    /// Whether it reports that the other side has left: see [`Self::poll_gone`]. Otherwise only reading shows that.
    pub fn reports_departure(&self) -> bool {
        self.is_stream()
    }

    /// Ready when the other side has reset the stream, or its connection broke. `None` where only reading shows that.
    pub fn poll_gone(&mut self, context: &Context<'_>) -> Option<Poll<()>> {
        let stream = self.http2()?;
        Some(stream.poll_gone(context).map(drop))
    }

    /// Lets other messages of the same connection go first: the rest of this one is not sent for now, or never.
    pub fn stand_back(&mut self) {
        if let Some(stream) = self.http2() {
            stream.stand_back();
        }
    }

    /// The request has waited too long: no more requests are sent over its connection if nothing at all came over it
    /// meanwhile. A connection that carries one request is closed anyway.
    pub fn suspect(&mut self) {
        if let Some(stream) = self.http2() {
            stream.suspect_connection();
        }
    }

    /// What is known about a request whose response did not come. `bytes_before` had been sent before it.
    pub fn request_fate(&mut self, bytes_before: u64) -> RequestFate {
        let is_unsent = self.bytes_out == bytes_before;
        match self.http2() {
            // What counts is whether the backend says that it did nothing with it.
            Some(stream) => RequestFate {
                is_unprocessed: stream.was_refused() || !stream.has_begun(),
                is_refused: stream.was_refused(),
                is_connection_over: stream.is_connection_over(),
            },
            None => RequestFate {
                is_unprocessed: is_unsent,
                is_refused: false,
                is_connection_over: true,
            },
        }
    }

    /// Why a message was refused, and for which field, where the protocol reset its stream for that.
    pub fn take_refused(&mut self) -> Option<(Malformed, Box<Flaw>)> {
        self.http2()?.take_refused()
    }

    /// Why the stream broke off, as far as the protocol says.
    pub fn broke_off(&mut self) -> Option<BrokeOff> {
        self.http2()?.broke_off()
    }
}

/// How a body is framed for a client of this version: HTTP/1.0 and HTTP/2 have no chunks.
#[inline]
pub fn framing_for(body: BodyLength, version: Version) -> BodyLength {
    match (body, version) {
        (BodyLength::Chunked | BodyLength::UntilClose, Version::Http11) => BodyLength::Chunked,
        (BodyLength::Chunked | BodyLength::UntilClose, _) => BodyLength::UntilClose,
        (body, _) => body,
    }
}

/// Whether trailers can follow a received body.
#[inline]
pub fn may_have_trailers(version: Version, body: BodyLength) -> bool {
    version == Version::Http2 || body == BodyLength::Chunked
}

/// Says why a backend's stream broke off before its response was whole.
#[cold]
pub fn explain_break(broke_off: BrokeOff) -> String {
    match broke_off {
        BrokeOff::Stream(reason) => format!("the backend reset the stream with {reason}"),
        BrokeOff::Connection(reason) => {
            format!("what the backend sent ended its HTTP/2 connection with {reason}")
        }
    }
}

/// How the end of a received body is found. HTTP/2 marks it, whatever length was announced.
pub(super) fn source_length(version: Version, body: BodyLength) -> BodyLength {
    match (version, body) {
        (Version::Http2, BodyLength::Exact(_) | BodyLength::Chunked) => BodyLength::UntilClose,
        (_, body) => body,
    }
}

/// Whether a received message is whole with its head as HTTP/1 frames it, and yet its stream may go on: nothing of it may be
/// sent before its end has come (RFC 9113 §8.1.1).
pub(super) fn is_empty_stream(version: Version, body: BodyLength) -> bool {
    version == Version::Http2 && body == BodyLength::Exact(0)
}
