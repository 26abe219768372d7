//! Frames as they come from a client, before the `h2` crate sees them (RFC 9113 §§4–6): each is charged for, those that the
//! crate would call by another name than the RFC are told apart, and flawed heads are replaced.

use h2::Reason;

use super::Glitches;
use super::hpack::{Decoder, ROOM, Section};
use crate::http1::Limits;

pub(super) const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const PRIORITY: u8 = 0x2;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;
/// Flags; the first is that of acknowledgements too.
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const HAS_PRIORITY: u8 = 0x20;

/// Length of a frame's head (RFC 9113 §4.1).
const HEAD: usize = 9;
/// The largest payload, as our settings leave it (RFC 9113 §6.5.2).
const PAYLOAD: usize = 16_384;
/// Length of one setting (RFC 9113 §6.5.1), and the one that has a bound of its own: the window of streams.
const SETTING: usize = 6;
const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];
/// Length of the connection preface (RFC 9113 §3.4).
const PREFACE: usize = 24;
/// Frames that a field block may come in, however little is allowed of it. More is, where that does not fit into so many.
const FRAMES_OF_BLOCK: usize = 6;
/// Streams that are remembered after their client has ended them.
const ENDED: usize = 128;
/// Gaps between streams that are remembered. Clients leave none.
const GAPS: usize = 8;

/// Frames of one connection.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes that are no head of a frame: of the preface, or of the frame under way.
    skip: usize,
    has_settings: bool,
    /// The last request.
    highest: u32,
    /// The streams that the client ended last, and where the next one goes.
    ended: [u32; ENDED],
    next_ended: usize,
    /// The last gaps between requests, which stay unused (RFC 9113 §5.1.1): the first stream, and the one behind.
    gaps: [(u32, u32); GAPS],
    decoder: Decoder,
    /// A block that came in several frames.
    block: Vec<u8>,
    /// The block that takes the place of a flawed one.
    instead: Vec<u8>,
    most: usize,
    /// Frames that a block may come in.
    most_frames: usize,
}

/// What became of bytes: the first `passed` may go on as they are, `replaced` behind them are replaced. What follows has to wait,
/// for more bytes or for the next look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Examined {
    pub(super) passed: usize,
    pub(super) replaced: usize,
}

/// The head of a frame.
#[derive(Debug, Clone, Copy)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Head {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, _) = bytes.split_first_chunk::<HEAD>()?;
        let [a, b, c, kind, flags, stream @ ..] = *head;
        Some(Self {
            length: usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c),
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
        })
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// RFC 9113 §§4.2, 6: whether a frame of this kind may have this length.
    fn fits(&self) -> bool {
        let padding = usize::from(self.has(PADDED));
        self.length <= PAYLOAD
            && match self.kind {
                DATA => self.length >= padding,
                HEADERS => self.length >= padding + if self.has(HAS_PRIORITY) { 5 } else { 0 },
                PRIORITY => self.length == 5,
                RST_STREAM | WINDOW_UPDATE => self.length == 4,
                SETTINGS if self.has(END_STREAM) => self.length == 0,
                SETTINGS => self.length.is_multiple_of(SETTING),
                PING => self.length == 8,
                GOAWAY => self.length >= 8,
                _ => true,
            }
    }
}

/// Why no more can be said of bytes.
enum Stop {
    /// More have to come.
    Incomplete,
    /// The connection has to end.
    Violation(Reason),
    /// A block of so many bytes was replaced.
    Replaced(usize),
}

impl Frames {
    /// Begins with the preface.
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            skip: PREFACE,
            has_settings: false,
            highest: 0,
            ended: [0; ENDED],
            next_ended: 0,
            gaps: [(0, 0); GAPS],
            decoder: Decoder::default(),
            block: Vec::new(),
            instead: Vec::new(),
            most: limits.head,
            // The crate counts in the same way. A quarter more is for frames that are not full.
            most_frames: (1 + limits.head / PAYLOAD * 5 / 4).max(FRAMES_OF_BLOCK),
        }
    }

    /// Looks at bytes that follow those that passed. What takes the place of a flawed block is written to `out`.
    pub(super) fn examine(&mut self, bytes: &[u8], glitches: &Glitches, out: &mut Vec<u8>) -> Examined {
        let mut passed = 0;
        loop {
            let rest = bytes.get(passed..).unwrap_or_default();
            let skipped = self.skip.min(rest.len());
            self.skip -= skipped;
            passed += skipped;
            let rest = rest.get(skipped..).unwrap_or_default();
            match self.frame(rest, glitches, out) {
                Ok(length) => self.skip = length,
                Err(stop) => {
                    let replaced = match stop {
                        Stop::Incomplete => 0,
                        Stop::Replaced(length) => length,
                        Stop::Violation(reason) => {
                            glitches.accuse(reason);
                            0
                        }
                    };
                    return Examined { passed, replaced };
                }
            }
        }
    }

    /// Looks at the frame at the front; gives how long it is.
    fn frame(&mut self, bytes: &[u8], glitches: &Glitches, out: &mut Vec<u8>) -> Result<usize, Stop> {
        let head = Head::parse(bytes).ok_or(Stop::Incomplete)?;
        let violation = |reason| Err(Stop::Violation(reason));
        if !self.has_settings && (head.kind != SETTINGS || head.has(END_STREAM)) {
            // RFC 9113 §3.4.
            return violation(Reason::PROTOCOL_ERROR);
        }
        if !head.fits() {
            return violation(Reason::FRAME_SIZE_ERROR);
        }
        self.has_settings = true;
        // RFC 9113 §5.1: what a client has ended, or reset, gets no more.
        if matches!(head.kind, DATA | HEADERS) && head.stream != 0 && self.ended.contains(&head.stream) {
            return violation(Reason::STREAM_CLOSED);
        }
        let length = HEAD + head.length;
        match head.kind {
            HEADERS => return self.headers(bytes, head, (glitches, out)),
            SETTINGS => check_settings(bytes.get(HEAD..length).ok_or(Stop::Incomplete)?)?,
            PRIORITY => check_priority(bytes.get(HEAD..length).ok_or(Stop::Incomplete)?, head)?,
            _ => {}
        }
        if head.kind == RST_STREAM || head.kind == DATA && head.has(END_STREAM) {
            self.ends(head.stream);
        }
        let does_something = head.kind == DATA && (head.length > 0 || head.has(END_STREAM));
        match head.kind {
            DATA if does_something => glitches.worked(),
            RST_STREAM => glitches.reset(),
            WINDOW_UPDATE | PING => glitches.acknowledged(),
            _ => glitches.did_nothing(),
        }
        Ok(length)
    }

    /// Whether a stream is a new one.
    fn opens(&mut self, stream: u32) -> Result<bool, Stop> {
        if stream <= self.highest {
            let is_unused = self.gaps.iter().any(|(from, to)| (*from..*to).contains(&stream));
            return match is_unused {
                true => Err(Stop::Violation(Reason::PROTOCOL_ERROR)),
                false => Ok(false),
            };
        }
        let next = self.highest + if self.highest == 0 { 1 } else { 2 };
        self.highest = stream;
        if stream > next {
            self.gaps.rotate_right(1);
            if let Some(gap) = self.gaps.first_mut() {
                *gap = (next, stream);
            }
        }
        Ok(true)
    }

    fn ends(&mut self, stream: u32) {
        if let Some(place) = self.ended.get_mut(self.next_ended) {
            *place = stream;
        }
        self.next_ended = (self.next_ended + 1) % ENDED;
    }

    /// Looks at a block, with all frames that it came in; gives how long they are.
    fn headers(
        &mut self,
        bytes: &[u8],
        first: Head,
        (glitches, out): (&Glitches, &mut Vec<u8>),
    ) -> Result<usize, Stop> {
        let (mut head, mut length, mut frames) = (first, 0, 1);
        self.block.clear();
        loop {
            let payload = bytes
                .get(length + HEAD..length + HEAD + head.length)
                .ok_or(Stop::Incomplete)?;
            let payload = if frames == 1 {
                block_of(payload, head)?
            } else {
                payload
            };
            length += HEAD + head.length;
            if head.has(END_HEADERS) && frames == 1 {
                return self.judge((payload, length), first, (glitches, out));
            }
            self.block.extend_from_slice(payload);
            if head.has(END_HEADERS) {
                break;
            }
            let rest = bytes.get(length..).unwrap_or_default();
            head = Head::parse(rest).ok_or(Stop::Incomplete)?;
            frames += 1;
            // RFC 9113 §6.10: nothing comes between.
            if head.kind != CONTINUATION || head.stream != first.stream {
                return Err(Stop::Violation(Reason::PROTOCOL_ERROR));
            }
            if !head.fits() {
                return Err(Stop::Violation(Reason::FRAME_SIZE_ERROR));
            }
            if frames > self.most_frames {
                return Err(Stop::Violation(Reason::ENHANCE_YOUR_CALM));
            }
        }
        let block = std::mem::take(&mut self.block);
        let result = self.judge((&block, length), first, (glitches, out));
        self.block = block;
        self.block.clear();
        self.block.shrink_to(ROOM);
        result
    }

    /// Judges a block whose frames are `length` bytes long.
    fn judge(
        &mut self,
        (block, length): (&[u8], usize),
        head: Head,
        (glitches, out): (&Glitches, &mut Vec<u8>),
    ) -> Result<usize, Stop> {
        glitches.asked();
        let is_whole = head.has(END_STREAM);
        let is_new = self.opens(head.stream)?;
        let section = match is_new {
            true => Section::Head {
                most: self.most,
                is_whole,
            },
            false => Section::Trailers,
        };
        if is_whole {
            self.ends(head.stream);
        }
        let flaw = self
            .decoder
            .judge(block, section, &mut self.instead)
            .map_err(|_| Stop::Violation(Reason::COMPRESSION_ERROR))?;
        let Some(flaw) = flaw else {
            return Ok(length);
        };
        if is_new && !glitches.refuse(head.stream, flaw) {
            return Err(Stop::Violation(Reason::ENHANCE_YOUR_CALM));
        }
        if self.decoder.has_spoiled() {
            glitches.spoil();
        }
        write_block(head, &self.instead, out);
        self.instead.clear();
        self.instead.shrink_to(ROOM);
        Err(Stop::Replaced(length))
    }
}

/// The field block in the payload of HEADERS, without padding and priority (RFC 9113 §6.2).
fn block_of(payload: &[u8], head: Head) -> Result<&[u8], Stop> {
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
        .ok_or(Stop::Violation(Reason::PROTOCOL_ERROR))
}

/// RFC 7540 §5.3.1: no stream depends on itself. The crate would drop a head that says so before it has read the fields, and the
/// tables would differ.
fn check_priority(priority: &[u8], head: Head) -> Result<(), Stop> {
    let on = priority.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
    match on.is_some_and(|on| on & 0x7fff_ffff == head.stream) {
        true => Err(Stop::Violation(Reason::PROTOCOL_ERROR)),
        false => Ok(()),
    }
}

/// RFC 9113 §6.5.2: a window has at most 31 bits.
fn check_settings(settings: &[u8]) -> Result<(), Stop> {
    let is_too_large = settings.chunks_exact(SETTING).any(
        |setting| matches!(setting, [a, b, high, ..] if [*a, *b] == INITIAL_WINDOW_SIZE && *high > 0x7f),
    );
    match is_too_large {
        true => Err(Stop::Violation(Reason::FLOW_CONTROL_ERROR)),
        false => Ok(()),
    }
}

/// Writes a block in as many frames as it needs.
fn write_block(head: Head, block: &[u8], out: &mut Vec<u8>) {
    let mut pieces = block.chunks(PAYLOAD).peekable();
    let (mut kind, mut flags) = (HEADERS, head.flags & END_STREAM);
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            flags |= END_HEADERS;
        }
        let [_, length @ ..] = (piece.len() as u32).to_be_bytes();
        out.extend_from_slice(&length);
        out.extend_from_slice(&[kind, flags]);
        out.extend_from_slice(&head.stream.to_be_bytes());
        out.extend_from_slice(piece);
        (kind, flags) = (CONTINUATION, 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::clock::{self, Wheel};

    /// A frame of any kind, of which most have a shape that is looked at further.
    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let fields = (0_u8..11, any::<u8>(), 0_u32..6, vec(any::<u8>(), 0..40));
        fields.prop_map(|(kind, flags, stream, payload)| {
            let head = Head {
                length: payload.len(),
                kind,
                flags,
                stream,
            };
            let [_, length @ ..] = (head.length as u32).to_be_bytes();
            [&length[..], &[kind, flags], &stream.to_be_bytes(), &payload].concat()
        })
    }

    proptest! {
        /// Whatever comes, what is said of it stays within it, and what is left waits for more or is the end.
        #[test]
        fn any_frames_are_examined(frames in vec(frame(), 0..20), rest in vec(any::<u8>(), 0..20)) {
            let settings = [0, 0, 0, SETTINGS, 0, 0, 0, 0, 0];
            let bytes = [&[0; PREFACE][..], &settings, &frames.concat(), &rest].concat();
            let glitches = Glitches::new(&Wheel::new(clock::now()));
            let mut all = Frames::new(&Limits::default());
            let (mut at, mut out) = (0, Vec::new());
            loop {
                let Examined { passed, replaced } = all.examine(&bytes[at..], &glitches, &mut out);
                at += passed + replaced;
                prop_assert!(at <= bytes.len());
                if replaced == 0 {
                    break;
                }
            }
            prop_assert!(at >= PREFACE);
        }
    }
}
