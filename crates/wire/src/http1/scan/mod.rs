//! Finds the end of a head while it is being received, and refuses invalid bytes as soon as they arrive. It splits the head
//! into lines and does not interpret them, except the start of the first line.
//!
//! The result does not depend on how the input is split into reads: every decision depends on a prefix of the bytes only.

use super::syntax::{TOKEN, find_control};
use super::{Limits, Malformed};

/// Longest method. The longest registered one has 17 bytes (`UPDATEREDIRECTREF`).
pub(super) const METHOD_LIMIT: usize = 64;

/// The kind of message section that the lines belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request. One empty line before it is allowed (RFC 9112 §2.2).
    Request,
    /// A response.
    Response,
    /// The trailer section of a chunked body: field lines only, bounded by `limits.trailers`.
    Trailers,
}

/// The scan of one head, resumed with every read. Reused for the next head: `clear` keeps the capacity.
#[derive(Debug, Default)]
pub struct HeadScan {
    /// Offset of the first line: 2 if an empty line was skipped.
    start: usize,
    /// Offset of the current line.
    line: usize,
    /// Bytes before this offset were scanned.
    position: usize,
    /// Whether the empty line that may precede the head was received and removed earlier.
    is_empty_line_used: bool,
    /// Whether the whole method was scanned.
    is_method_known: bool,
    /// Whether the current field line contains a colon; checked only when a tab is found.
    has_colon: bool,
    /// Offsets of the carriage returns of all lines except the empty one.
    ends: Vec<u32>,
}

impl HeadScan {
    /// Resets the scan for the next head.
    pub fn clear(&mut self) {
        let mut ends = std::mem::take(&mut self.ends);
        ends.clear();
        *self = Self {
            ends,
            ..Self::default()
        };
    }

    /// Allows no empty line before this head, because one was received and removed already.
    pub fn refuse_empty_line(&mut self) {
        self.is_empty_line_used = true;
    }

    /// Scans what is new in `bytes`, which hold everything received since the head began. Returns the length of the head,
    /// including the empty line after it, once it is complete.
    pub fn advance(&mut self, bytes: &[u8], kind: Kind, limits: &Limits) -> Result<Option<usize>, Malformed> {
        loop {
            // Nothing beyond the bounds is scanned, else the split into reads could decide which error is found first.
            let bound = whole(kind, limits).min(self.line.saturating_add(limits.line));
            let seen = bytes.get(..bound).unwrap_or(bytes);
            let Some(end) = self.find_line_end(seen, kind, limits)? else {
                return if bytes.len() < bound {
                    Ok(None)
                } else {
                    Err(self.too_long(bound, kind, limits))
                };
            };
            if end > self.line {
                if kind == Kind::Request && self.ends.is_empty() {
                    check_version(seen.get(self.line..end).unwrap_or_default())?;
                }
                self.ends.push(end as u32);
                self.begin(end + 2);
            } else if self.is_in_start_line(kind) {
                if kind != Kind::Request || self.start > 0 || self.is_empty_line_used {
                    return Err(bad_start_line(kind));
                }
                self.start = 2;
                self.begin(2);
            } else {
                return Ok(Some(end + 2));
            }
        }
    }

    /// Offset of the first line.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// Offsets of the carriage returns of all lines except the empty one.
    pub(super) fn ends(&self) -> &[u32] {
        &self.ends
    }

    fn begin(&mut self, line: usize) {
        self.line = line;
        self.position = line;
        self.has_colon = false;
    }

    fn is_in_start_line(&self, kind: Kind) -> bool {
        kind != Kind::Trailers && self.ends.is_empty()
    }

    /// Offset of the carriage return that ends the current line, once its line feed was received too.
    #[inline]
    fn find_line_end(
        &mut self,
        seen: &[u8],
        kind: Kind,
        limits: &Limits,
    ) -> Result<Option<usize>, Malformed> {
        if self.is_in_start_line(kind) {
            self.check_start_line(seen, kind)?;
        } else if self.position == self.line {
            self.check_field_line(seen, kind, limits)?;
        }
        loop {
            let unseen = seen.get(self.position..).unwrap_or_default();
            let Some(offset) = find_control(unseen) else {
                self.position += unseen.len();
                return Ok(None);
            };
            let at = self.position + offset;
            self.position = at;
            match (seen.get(at), seen.get(at + 1)) {
                (Some(b'\r'), Some(b'\n')) => return Ok(Some(at)),
                (Some(b'\r'), None) => return Ok(None),
                (Some(b'\r'), _) => return Err(Malformed::BareCr),
                (Some(b'\n'), _) => return Err(Malformed::BareLf),
                (Some(b'\t'), _) if self.may_hold_tab(seen, at, kind) => self.position = at + 1,
                _ => return Err(Malformed::ControlByte),
            }
        }
    }

    /// Refuses input whose first bytes cannot begin a request or a response, without waiting for a whole head.
    fn check_start_line(&mut self, seen: &[u8], kind: Kind) -> Result<(), Malformed> {
        let line = seen.get(self.line..).unwrap_or_default();
        if kind == Kind::Response {
            const BEGINNING: &[u8; 7] = b"HTTP/1.";
            let is_status_line = match line.first_chunk() {
                Some(beginning) => beginning == BEGINNING,
                // Not `starts_with`: for an empty line it would compare zero bytes at a dangling address, which is slow on some
                // processors.
                None => line
                    .iter()
                    .zip(BEGINNING)
                    .all(|(byte, expected)| byte == expected),
            };
            return if is_status_line {
                Ok(())
            } else {
                Err(Malformed::BadStatusLine)
            };
        }
        if self.is_method_known {
            return Ok(());
        }
        let length = TOKEN.prefix(line);
        if length > METHOD_LIMIT {
            return Err(Malformed::MethodTooLong);
        }
        match line.split_at_checked(length).unwrap_or_default() {
            (_, []) => Ok(()),
            // The record type of a TLS handshake (RFC 8446 §5.1).
            ([], [0x16, ..]) => Err(Malformed::TlsHandshake),
            ([], [b' ', ..]) => Err(Malformed::BadRequestLine),
            // The method is reserved for the preface (RFC 9113 §11.6).
            (b"PRI", [b' ', ..]) => Err(Malformed::Http2Preface),
            (_, [b' ', ..]) => {
                self.is_method_known = true;
                Ok(())
            }
            // The search for the end of the line reports these.
            (_, [byte, ..]) if byte.is_ascii_control() => Ok(()),
            _ => Err(Malformed::BadMethod),
        }
    }

    /// Refuses a continuation line, an empty name and one line too many, by the first byte of the line.
    fn check_field_line(&self, seen: &[u8], kind: Kind, limits: &Limits) -> Result<(), Malformed> {
        let start_lines = usize::from(kind != Kind::Trailers);
        match seen.get(self.line) {
            Some(b' ' | b'\t') => Err(Malformed::ObsFold),
            Some(b':') => Err(Malformed::BadFieldName),
            None | Some(b'\r') => Ok(()),
            Some(_) if self.ends.len() >= limits.fields.saturating_add(start_lines) => {
                Err(Malformed::TooManyFields)
            }
            Some(_) => Ok(()),
        }
    }

    /// Whether a tab is allowed at `at`: in values and in a reason phrase.
    fn may_hold_tab(&mut self, seen: &[u8], at: usize, kind: Kind) -> bool {
        if self.is_in_start_line(kind) {
            return kind == Kind::Response;
        }
        if !self.has_colon {
            self.has_colon = seen
                .get(self.line..at)
                .is_some_and(|line| memchr::memchr(b':', line).is_some());
        }
        self.has_colon
    }

    /// The error for a current line that did not end before `bound`.
    fn too_long(&self, bound: usize, kind: Kind, limits: &Limits) -> Malformed {
        if bound == whole(kind, limits) {
            return if kind == Kind::Trailers {
                Malformed::TrailersTooLarge
            } else {
                Malformed::HeadTooLarge
            };
        }
        match kind {
            Kind::Request if self.ends.is_empty() => Malformed::TargetTooLong,
            Kind::Response if self.ends.is_empty() => Malformed::BadStatusLine,
            _ => Malformed::FieldTooLong,
        }
    }
}

/// The limit on all lines together.
fn whole(kind: Kind, limits: &Limits) -> usize {
    match kind {
        Kind::Request | Kind::Response => limits.head,
        Kind::Trailers => limits.trailers,
    }
}

/// Refuses a request line that does not end in a version, as in HTTP/0.9: its client sends no fields and already waits for
/// the response. The parser checks the version itself and the rest of the line.
fn check_version(line: &[u8]) -> Result<(), Malformed> {
    match line {
        [
            ..,
            b' ',
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            b'0'..=b'9',
            b'.',
            b'0'..=b'9',
        ] => Ok(()),
        _ => Err(Malformed::BadRequestLine),
    }
}

fn bad_start_line(kind: Kind) -> Malformed {
    match kind {
        Kind::Response => Malformed::BadStatusLine,
        Kind::Request | Kind::Trailers => Malformed::BadRequestLine,
    }
}

#[cfg(test)]
pub(super) mod tests;
