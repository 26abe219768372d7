//! Field blocks of requests (RFC 7541), read before the `h2` crate reads them. It takes some flaws of one request for errors
//! of the connection, tells nobody of others, and calls what cannot be decoded by another name than RFC 9113 §4.3 does. Here
//! a block is judged, and one with a flaw is replaced by one that the crate can take and that leaves both dynamic tables
//! alike.

mod huffman;
mod name;
mod reader;

use std::collections::VecDeque;

use crate::http1::Malformed;
use name::{Kind, Name, Value};
use reader::Reader;

/// What our settings leave the dynamic table (RFC 9113 §6.5.2).
const TABLE: usize = 4096;
/// Room that is kept from one block to the next: that of any honest one.
const PARTS: usize = 1_024;
pub(super) const ROOM: usize = 64 << 10;
/// What a field costs beside its bytes (RFC 7541 §4.1).
const OVERHEAD: usize = 32;
/// `:method: GET`, `:scheme: http`, `:path: /` (RFC 7541, appendix A).
const REQUEST: [(Kind, u8); 3] = [(Kind::Method, 0x82), (Kind::Scheme, 0x86), (Kind::Path, 0x84)];
/// `connection: x`, which the crate takes for a flaw of the stream.
const FLAW: &[u8] = b"\x00\x0aconnection\x01x";

/// A block that no decoder can read: its connection is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotDecodable;

/// What a block stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// The head of a request, of at most so many bytes with 32 for each field; `is_whole` when no body follows.
    Head { most: usize, is_whole: bool },
    /// Trailers.
    Trailers,
}

/// The decoder's side of one connection, as far as judging needs it.
#[derive(Debug)]
pub(super) struct Decoder {
    entries: VecDeque<Entry>,
    size: usize,
    most: usize,
    /// Entries made so far.
    made: u64,
    /// Whether an entry that had no flaw can no longer be used.
    has_spoiled: bool,
    /// The fields of the block under way that make entries.
    parts: Vec<Part>,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// An entry of a table: what of a field is judged by.
#[derive(Debug, Clone, Copy)]
struct Entry {
    name: Name,
    value: Value,
    size: usize,
}

/// A field that is kept.
#[derive(Debug, Clone, Copy)]
struct Made {
    /// Its entry.
    number: u64,
    /// Whether its name is that of an entry before it.
    is_borrowed: bool,
}

/// A field of a block that made an entry.
#[derive(Debug, Clone, Copy)]
struct Part {
    start: usize,
    end: usize,
    made: Made,
    kind: Kind,
    /// Lengths of the name, and of the whole.
    name: usize,
    size: usize,
    /// Whether it may be given to the crate as it is.
    is_fine: bool,
}

/// What the fields of one block say together.
#[derive(Debug, Default)]
struct Summary {
    /// Where the first one stands.
    begins: Option<usize>,
    size: usize,
    /// Pseudo fields, by their bits.
    pseudo: u8,
    has_fields: bool,
    is_connect: bool,
    length: Option<u64>,
    flaw: Option<Malformed>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            most: TABLE,
            made: 0,
            has_spoiled: false,
            parts: Vec::new(),
            name: Vec::new(),
            value: Vec::new(),
        }
    }
}

impl Decoder {
    /// Judges a whole block. One with a flaw gives it, and writes what takes its place to `replacement`.
    ///
    /// # Errors
    /// [`NotDecodable`].
    pub(super) fn judge(
        &mut self,
        block: &[u8],
        section: Section,
        replacement: &mut Vec<u8>,
    ) -> Result<Option<Malformed>, NotDecodable> {
        self.parts.clear();
        let mut reader = Reader { block, at: 0 };
        let mut summary = Summary::default();
        while let Some(first) = reader.peek() {
            let start = reader.at;
            if first & 0xe0 == 0x20 {
                // RFC 7541 §4.2: these come first.
                if summary.begins.is_some() {
                    return Err(NotDecodable);
                }
                self.resize(&mut reader)?;
                continue;
            }
            summary.begins.get_or_insert(start);
            let (entry, made) = self.field(&mut reader, first)?;
            let is_fine = summary.add(&entry, section);
            if let Some(made) = made {
                self.parts.push(Part {
                    start,
                    end: reader.at,
                    made,
                    kind: entry.name.kind,
                    name: entry.name.length,
                    size: entry.size,
                    is_fine,
                });
            }
        }
        summary.close(section);
        if summary.flaw.is_some() {
            self.replace(block, section, &summary, replacement);
        }
        self.shrink();
        Ok(summary.flaw)
    }

    /// Whether an entry that had no flaw was lost with a block that had: what comes later may depend on it.
    pub(super) fn has_spoiled(&self) -> bool {
        self.has_spoiled
    }

    /// Gives back what an unusual block took.
    fn shrink(&mut self) {
        self.parts.clear();
        self.parts.shrink_to(PARTS);
        for text in [&mut self.name, &mut self.value] {
            text.clear();
            text.shrink_to(ROOM);
        }
    }

    /// RFC 7541 §6.3.
    fn resize(&mut self, reader: &mut Reader<'_>) -> Result<(), NotDecodable> {
        let most = reader.number(5)?;
        if most > TABLE {
            return Err(NotDecodable);
        }
        self.most = most;
        self.evict(0);
        Ok(())
    }

    /// Reads one field, and makes an entry of it if it is to be one.
    fn field(&mut self, reader: &mut Reader<'_>, first: u8) -> Result<(Entry, Option<Made>), NotDecodable> {
        if first & 0x80 != 0 {
            return Ok((self.entry(reader.number(7)?)?, None));
        }
        let is_kept = first & 0x40 != 0;
        let index = reader.number(if is_kept { 6 } else { 4 })?;
        let name = match index {
            0 => name::of(reader.text(&mut self.name)?),
            _ => self.entry(index)?.name,
        };
        let text = reader.text(&mut self.value)?;
        let entry = Entry {
            name,
            value: name::value(name.kind, text),
            size: name.length + text.len() + OVERHEAD,
        };
        if !is_kept {
            return Ok((entry, None));
        }
        if name.length == 0 {
            // The crate cannot keep it, and nothing of its size can take its place.
            return Err(NotDecodable);
        }
        self.evict(entry.size);
        // RFC 7541 §4.4: one that is larger than the table empties it.
        if entry.size <= self.most {
            self.size += entry.size;
            self.entries.push_front(entry);
        }
        self.made += 1;
        let made = Made {
            number: self.made,
            is_borrowed: index > name::STATIC,
        };
        Ok((entry, Some(made)))
    }

    fn entry(&self, index: usize) -> Result<Entry, NotDecodable> {
        if let Some((name, value, length)) = name::of_static(index) {
            let size = name.length + length + OVERHEAD;
            return Ok(Entry { name, value, size });
        }
        let entry = index
            .checked_sub(name::STATIC + 1)
            .and_then(|at| self.entries.get(at));
        entry.copied().ok_or(NotDecodable)
    }

    /// Makes room for an entry of `size`.
    fn evict(&mut self, size: usize) {
        while self.size + size > self.most
            && let Some(entry) = self.entries.pop_back()
        {
            self.size -= entry.size;
        }
    }

    /// Writes a block that leaves the same entries and has no flaw that the crate sees; or, for trailers, one that it sees as one
    /// of the stream. It is no longer than the table and what the flawed block said well.
    fn replace(&mut self, block: &[u8], section: Section, summary: &Summary, out: &mut Vec<u8>) {
        out.clear();
        let mut parts = std::mem::take(&mut self.parts);
        let resizes = summary.begins.unwrap_or(block.len());
        out.extend_from_slice(block.get(..resizes).unwrap_or_default());
        // Entries go in the order in which they came: where one of these has gone, all that were there before have.
        let is_all_kept = parts.first().is_none_or(|part| self.has(part.made));
        if !is_all_kept {
            parts.retain(|part| self.has(part.made));
            put_number(0x20, 5, 0, out);
            put_number(0x20, 5, self.most, out);
        }
        let is_head = matches!(section, Section::Head { .. });
        // Pseudo fields come first, and a name is what it was as long as nothing was made up before.
        let (mut leads, mut is_as_was) = (is_head && !summary.is_connect, is_all_kept);
        for part in &mut parts {
            // A length would be compared with a body, and a protocol with the method.
            let is_relative = matches!(part.kind, Kind::ContentLength | Kind::Protocol);
            leads &= part.is_fine && part.kind.is_pseudo() && !is_relative;
            part.is_fine &= is_all_kept
                && !is_relative
                && (leads || !part.kind.is_pseudo())
                && (is_as_was || !part.made.is_borrowed);
            is_as_was &= part.is_fine;
            leads &= part.is_fine;
        }
        if is_head {
            let is_missing = |kind: Kind| !parts.iter().any(|part| part.is_fine && part.kind == kind);
            let missing = REQUEST.iter().filter(|(kind, _)| is_missing(*kind));
            out.extend(missing.map(|(_, byte)| *byte));
        }
        for part in &parts {
            if part.is_fine {
                out.extend_from_slice(block.get(part.start..part.end).unwrap_or_default());
            } else {
                self.spoil(part.made, summary.flaw);
                put_nothing(part, out);
            }
        }
        if section == Section::Trailers {
            out.extend_from_slice(FLAW);
        }
        self.parts = parts;
    }

    /// Where an entry stands, if it was not more than the table could hold.
    fn place(&self, made: Made) -> Option<usize> {
        usize::try_from(self.made - made.number).ok()
    }

    /// Whether an entry is still there.
    fn has(&self, made: Made) -> bool {
        self.place(made).is_some_and(|at| at < self.entries.len())
    }

    /// An entry that the crate has in another form must not be used, nor its name.
    fn spoil(&mut self, made: Made, flaw: Option<Malformed>) {
        let place = self.place(made);
        if let Some(entry) = place.and_then(|at| self.entries.get_mut(at)) {
            self.has_spoiled |= entry.name.flaw.is_none();
            entry.name.flaw = entry.name.flaw.or(flaw);
            entry.value.flaw = entry.value.flaw.or(flaw);
        }
    }
}

/// A field that makes an entry of the same size, and says nothing.
fn put_nothing(part: &Part, out: &mut Vec<u8>) {
    out.push(0x40);
    for length in [part.name, part.size - OVERHEAD - part.name] {
        put_number(0, 7, length, out);
        out.extend(std::iter::repeat_n(b'x', length));
    }
}

/// An integer in the last `prefix` bits of `first` and what follows them (RFC 7541 §5.1).
fn put_number(first: u8, prefix: u32, number: usize, out: &mut Vec<u8>) {
    let mask = (1_u8 << prefix) - 1;
    let Some(mut rest) = number.checked_sub(usize::from(mask)) else {
        out.push(first | number as u8);
        return;
    };
    out.push(first | mask);
    while rest > 0x7f {
        out.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
}

impl Summary {
    /// Adds a field; gives whether it may stand where it stands.
    fn add(&mut self, entry: &Entry, section: Section) -> bool {
        self.size += entry.size;
        let mut flaw = entry.name.flaw.or(entry.value.flaw);
        let kind = entry.name.kind;
        if kind.is_pseudo() {
            let bit = kind.bit();
            let is_misplaced = self.has_fields || self.pseudo & bit != 0 || section == Section::Trailers;
            if is_misplaced || kind == Kind::Status {
                flaw = flaw.or(Some(Malformed::BadFieldName));
            }
            self.pseudo |= bit;
            self.is_connect |= entry.value.is_connect;
        } else {
            self.has_fields = true;
        }
        if kind == Kind::ContentLength {
            let length = entry.value.number;
            if self.length.is_some_and(|before| before != length) {
                flaw = flaw.or(Some(Malformed::DuplicateContentLength));
            }
            self.length = Some(length);
        }
        self.flaw = self.flaw.or(flaw);
        flaw.is_none()
    }

    /// Looks at all of them together.
    fn close(&mut self, section: Section) {
        let Section::Head { most, is_whole } = section else {
            return;
        };
        let has = |kind: Kind| self.pseudo & kind.bit() != 0;
        let has_target = has(Kind::Scheme) && has(Kind::Path);
        let is_extended = has(Kind::Protocol);
        let is_proper = match self.is_connect {
            // RFC 9113 §8.5, RFC 8441 §4.
            true if !is_extended => has(Kind::Authority) && !has(Kind::Scheme) && !has(Kind::Path),
            true => has_target && has(Kind::Authority),
            false => has(Kind::Method) && has_target && !is_extended,
        };
        let flaw = if self.size >= most {
            Some(Malformed::HeadTooLarge)
        } else if !is_proper {
            Some(Malformed::BadRequestLine)
        } else if is_whole && self.length.is_some_and(|length| length > 0) {
            Some(Malformed::BadContentLength)
        } else {
            None
        };
        self.flaw = self.flaw.or(flaw);
    }
}

#[cfg(test)]
mod tests;
