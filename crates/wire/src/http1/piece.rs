//! What decoders of bodies find: payload, and the framing around it.

use std::ops::Range;

/// What is at the front of the unread bytes of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Payload: `skip` bytes of framing, then `len` bytes of payload, all present. The caller consumes both.
    Data {
        /// Bytes of framing.
        skip: usize,
        /// Bytes of payload after them; at least one in a chunked body.
        len: usize,
    },
    /// No payload yet: the caller consumes `skip` bytes, possibly 0, and calls again with more input.
    NeedMore {
        /// Bytes of framing.
        skip: usize,
    },
    /// The end of the body: the caller consumes `skip` bytes. What follows is not part of the message.
    End {
        /// Bytes of framing, including the trailer section and its empty line.
        skip: usize,
        /// The field lines of the trailer section within `skip`, including their line ends; `None` if empty.
        trailers: Option<Range<usize>>,
    },
}
