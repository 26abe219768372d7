//! The parsed message head, the same for HTTP/1 and HTTP/2: a flat list of spans over one buffer. It is not a map, and
//! allocates nothing once its vectors have grown. It does not depend on sockets, framing or limits.

mod flaw;
pub mod list;
mod name;
mod request;
mod response;

pub use flaw::Flaw;
pub use name::FieldName;
pub use request::{Method, RequestHead};
pub use response::ResponseHead;

/// A range of bytes in the buffer that a head owns or was parsed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Number of bytes.
    pub len: u32,
}

impl Span {
    /// Makes a span of `start..end`. Heads are bounded by `limits.head`, far below 4 GiB.
    #[inline]
    pub fn new(start: usize, end: usize) -> Self {
        Self {
            start: start as u32,
            len: end.saturating_sub(start) as u32,
        }
    }

    /// The bytes of this span in `buffer`; empty when it lies outside (which parsing rules out).
    #[inline]
    pub fn of(self, buffer: &[u8]) -> &[u8] {
        let start = self.start as usize;
        buffer.get(start..start + self.len as usize).unwrap_or_default()
    }

    /// The start and end offsets.
    #[inline]
    pub fn range(self) -> (usize, usize) {
        let start = self.start as usize;
        (start, start + self.len as usize)
    }

    /// Whether it covers no byte.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// One field line: the spans of its name and its value.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The name, if it is one that we act on.
    pub id: FieldName,
    /// The name as received.
    pub name: Span,
    /// The value without optional white space around it.
    pub value: Span,
    /// Whether it was received over HTTP/2 as a never-indexed literal, and must be forwarded as one (RFC 7541 §6.2.3).
    pub is_secret: bool,
}

/// Protocol version of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
    /// HTTP/2
    Http2,
}

impl Version {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 3] = [Self::Http10, Self::Http11, Self::Http2];

    /// Whether each message has a stream of its own, on a connection that many messages share.
    #[inline]
    pub fn is_multiplexed(self) -> bool {
        self == Self::Http2
    }

    /// The version number as in `Via` (RFC 9110 §7.6.3).
    #[inline]
    pub fn number(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2.0",
        }
    }

    /// The version as the log shows it.
    #[inline]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
        }
    }
}

/// How the end of a body is found (RFC 9112 §6.3), decided once when the head is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyLength {
    /// There is no body.
    #[default]
    None,
    /// Exactly this many bytes, from `Content-Length`. May be 0.
    Exact(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Until the connection closes. Responses only.
    UntilClose,
}
