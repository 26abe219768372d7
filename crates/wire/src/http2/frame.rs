//! The frame format (RFC 9113 §§4, 6): frame headers, the lengths that are allowed, and writing frames.

use super::Reason;

pub(super) const DATA: u8 = 0x0;
pub(super) const HEADERS: u8 = 0x1;
pub(super) const PRIORITY: u8 = 0x2;
pub(super) const RST_STREAM: u8 = 0x3;
pub(super) const SETTINGS: u8 = 0x4;
pub(super) const PUSH_PROMISE: u8 = 0x5;
pub(super) const PING: u8 = 0x6;
pub(super) const GOAWAY: u8 = 0x7;
pub(super) const WINDOW_UPDATE: u8 = 0x8;
pub(super) const CONTINUATION: u8 = 0x9;

pub(super) const END_STREAM: u8 = 0x1;
/// Of SETTINGS and PING.
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const HAS_PRIORITY: u8 = 0x20;

/// The client connection preface (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length of a frame header (RFC 9113 §4.1).
pub(super) const HEAD: usize = 9;
/// The largest frame payload: the default, which our settings do not change (RFC 9113 §6.5.2). We send none that is larger either.
pub(super) const PAYLOAD: usize = 16_384;
/// Length of one setting (RFC 9113 §6.5.1).
const SETTING: usize = 6;
/// The largest window (RFC 9113 §6.9.1).
pub(super) const WINDOW: i64 = 0x7fff_ffff;
/// The initial window; for streams, unless a setting changes it (RFC 9113 §6.9.2).
pub(super) const FIRST_WINDOW: i64 = 65_535;

/// Identifiers of settings (RFC 9113 §6.5.2, RFC 8441 §3).
pub(super) const HEADER_TABLE_SIZE: u16 = 1;
pub(super) const ENABLE_PUSH: u16 = 2;
pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(super) const MAX_FRAME_SIZE: u16 = 5;
pub(super) const MAX_HEADER_LIST_SIZE: u16 = 6;
pub(super) const ENABLE_CONNECT_PROTOCOL: u16 = 8;

/// Whether the first bytes from a server are HTTP/2: a server begins with SETTINGS whatever it received (RFC 9113 §3.4), and some send
/// GOAWAY at once when they received no preface. Used for error messages only; nothing is decided by it.
pub fn is_begin_of_server(bytes: &[u8]) -> bool {
    Head::parse(bytes).is_some_and(|head| {
        let is_settings = head.kind == SETTINGS && head.length.is_multiple_of(SETTING);
        let is_goaway = head.kind == GOAWAY && head.length >= 8;
        // A length below 256: no other protocol's servers begin with two zero bytes.
        let is_short = head.length <= 255 && head.flags == 0 && head.stream == 0;
        (is_settings || is_goaway) && is_short
    })
}

/// Whether unread bytes begin a head, of a request or of trailers, that is not complete yet. The beginning of a frame may become
/// one.
pub fn may_begin_head(unread: &[u8]) -> bool {
    match Head::parse(unread) {
        Some(head) => matches!(head.kind, HEADERS | CONTINUATION),
        None => !unread.is_empty(),
    }
}

/// A frame header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    /// Parses a frame header; `None` if more bytes are needed.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, _) = bytes.split_first_chunk::<HEAD>()?;
        let [a, b, c, kind, flags, stream @ ..] = *head;
        Some(Self {
            length: usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c),
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
        })
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Checks the length, and whether the frame belongs on a stream or on the connection (RFC 9113 §§4.2, 6).
    ///
    /// # Errors
    /// A connection error.
    pub(super) fn check(&self) -> Result<(), Reason> {
        if !self.fits() {
            return Err(Reason::FRAME_SIZE_ERROR);
        }
        let is_right = match self.kind {
            DATA | HEADERS | PRIORITY | RST_STREAM | CONTINUATION => self.stream != 0,
            SETTINGS | PING | GOAWAY => self.stream == 0,
            // We disable push.
            PUSH_PROMISE => false,
            _ => true,
        };
        is_right.then_some(()).ok_or(Reason::PROTOCOL_ERROR)
    }

    fn fits(&self) -> bool {
        let padding = usize::from(self.has(PADDED));
        self.length <= PAYLOAD
            && match self.kind {
                DATA => self.length >= padding,
                HEADERS => self.length >= padding + if self.has(HAS_PRIORITY) { 5 } else { 0 },
                PRIORITY => self.length == 5,
                RST_STREAM | WINDOW_UPDATE => self.length == 4,
                SETTINGS if self.has(ACK) => self.length == 0,
                SETTINGS => self.length.is_multiple_of(SETTING),
                PING => self.length == 8,
                GOAWAY => self.length >= 8,
                _ => true,
            }
    }
}

/// The field block in the payload of HEADERS, without padding and priority (RFC 9113 §6.2).
///
/// # Errors
/// A connection error.
pub(super) fn block_of(payload: &[u8], head: Head) -> Result<&[u8], Reason> {
    let (mut block, mut padding) = (payload, 0);
    if head.has(PADDED)
        && let Some((length, rest)) = block.split_first()
    {
        (block, padding) = (rest, usize::from(*length));
    }
    if head.has(HAS_PRIORITY) {
        check_priority(block, head)?;
        block = block.get(5..).unwrap_or_default();
    }
    let length = block.len().checked_sub(padding);
    length
        .and_then(|length| block.get(..length))
        .ok_or(Reason::PROTOCOL_ERROR)
}

/// Refuses a stream that depends on itself (RFC 7540 §5.3.1). RFC 9113 deprecates priorities, but a sender of this is broken anyway.
///
/// # Errors
/// A connection error.
pub(super) fn check_priority(priority: &[u8], head: Head) -> Result<(), Reason> {
    match number(priority) & 0x7fff_ffff == head.stream {
        true => Err(Reason::PROTOCOL_ERROR),
        false => Ok(()),
    }
}

/// The first four bytes as a number.
pub(super) fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// Identifiers and values of settings.
pub(super) fn settings(payload: &[u8]) -> impl Iterator<Item = (u16, u32)> {
    payload.chunks_exact(SETTING).map(|setting| {
        let (name, value) = setting.split_first_chunk().unwrap_or((&[0; 2], &[]));
        (u16::from_be_bytes(*name), number(value))
    })
}

/// The bytes of a frame header.
fn head_of((kind, flags): (u8, u8), stream: u32, length: usize) -> [u8; HEAD] {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    [a, b, c, kind, flags, d, e, f, g]
}

/// Writes a frame header.
pub(super) fn put_head(out: &mut Vec<u8>, kind: (u8, u8), stream: u32, length: usize) {
    out.extend_from_slice(&head_of(kind, stream, length));
}

/// Writes a frame with these numbers as its payload.
pub(super) fn put_numbers(out: &mut Vec<u8>, kind: u8, stream: u32, numbers: &[u32]) {
    put_head(out, (kind, 0), stream, 4 * numbers.len());
    for number in numbers {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// Writes a SETTINGS frame.
pub(super) fn put_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    put_head(out, (SETTINGS, 0), 0, SETTING * settings.len());
    for (name, value) in settings {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Turns a field block into frames, as many as it needs. It begins at `start`, with space for a frame header in front.
pub(super) fn close_block(out: &mut Vec<u8>, start: usize, stream: u32, is_end: bool) {
    let flags = if is_end { END_STREAM } else { 0 };
    let length = out.len() - start - HEAD;
    if length <= PAYLOAD {
        if let Some(room) = out.get_mut(start..start + HEAD) {
            room.copy_from_slice(&head_of((HEADERS, flags | END_HEADERS), stream, length));
        }
        return;
    }
    let block = out.split_off(start);
    let block = block.get(HEAD..).unwrap_or_default();
    let mut fragments = block.chunks(PAYLOAD).peekable();
    let (mut kind, mut flags) = (HEADERS, flags);
    while let Some(fragment) = fragments.next() {
        if fragments.peek().is_none() {
            flags |= END_HEADERS;
        }
        put_head(out, (kind, flags), stream, fragment.len());
        out.extend_from_slice(fragment);
        (kind, flags) = (CONTINUATION, 0);
    }
}
