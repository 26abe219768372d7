//! Finds the end of a head while it arrives, and refuses bytes as soon as they are seen. It splits into lines and knows
//! nothing of what they say, but for the beginning of the first.
//!
//! However the input is split into reads, the result is the same: every decision depends on a prefix of the bytes only.

use super::syntax::{TOKEN, find_control};
use super::{Limits, Malformed};

/// Longest method that is looked at further. The longest registered one has 17 bytes (`UPDATEREDIRECTREF`).
pub(super) const METHOD_LIMIT: usize = 64;

/// What the lines belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request. One empty line may stand before it (RFC 9112 §2.2).
    Request,
    /// An answer.
    Response,
    /// The trailer section of a chunked body: field lines only, bounded by `limits.trailers`.
    Trailers,
}

/// The scan of one head, resumed with every read. Reused from head to head: `clear` keeps the capacity.
#[derive(Debug, Default)]
pub struct HeadScan {
    /// Where the first line begins: 2 when an empty line was skipped.
    start: usize,
    /// Where the current line begins.
    line: usize,
    /// Bytes before this have been looked at.
    position: usize,
    /// Whether the method was seen to its end.
    is_method_known: bool,
    /// Whether the current field line was seen to hold a colon; looked for only when a tab is met.
    has_colon: bool,
    /// Where the carriage return of each line stands, the empty one not counted.
    ends: Vec<u32>,
}

impl HeadScan {
    /// Prepares it for the next head.
    pub fn clear(&mut self) {
        let mut ends = std::mem::take(&mut self.ends);
        ends.clear();
        *self = Self {
            ends,
            ..Self::default()
        };
    }

    /// Looks at what is new in `bytes`, which hold everything received since the head began. Returns the length of the
    /// head, the empty line after it included, once that is known.
    pub fn advance(&mut self, bytes: &[u8], kind: Kind, limits: &Limits) -> Result<Option<usize>, Malformed> {
        loop {
            // Nothing beyond the bounds is looked at, else a split could decide which error comes first.
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
                if kind != Kind::Request || self.start > 0 {
                    return Err(bad_start_line(kind));
                }
                self.start = 2;
                self.begin(2);
            } else {
                return Ok(Some(end + 2));
            }
        }
    }

    /// Where the first line begins.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// Where the carriage return of each line stands.
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

    /// Where the carriage return that ends the current line stands, once its line feed has come too.
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

    /// Refuses what cannot become a request or an answer by its first bytes, so that no head's worth is waited for.
    fn check_start_line(&mut self, seen: &[u8], kind: Kind) -> Result<(), Malformed> {
        let line = seen.get(self.line..).unwrap_or_default();
        if kind == Kind::Response {
            const BEGINNING: &[u8; 7] = b"HTTP/1.";
            let is_status_line = match line.first_chunk() {
                Some(beginning) => beginning == BEGINNING,
                // Not `starts_with`: for what is empty it would compare nothing at no address, which some processors are
                // slow at.
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
            // The search for the end of the line tells these apart.
            (_, [byte, ..]) if byte.is_ascii_control() => Ok(()),
            _ => Err(Malformed::BadMethod),
        }
    }

    /// Refuses a line that continues another, and one line too many, by its first byte.
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

    /// Whether a tab may stand at `at`: in values and in a reason phrase.
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

    /// Which bound was hit, when the current line did not end before `bound`.
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

/// The bound of all lines together.
fn whole(kind: Kind, limits: &Limits) -> usize {
    match kind {
        Kind::Request | Kind::Response => limits.head,
        Kind::Trailers => limits.trailers,
    }
}

/// Refuses a request line that does not end in a version, as of HTTP/0.9: whoever sent it waits for an answer now and
/// sends no fields. Which version it is, and the rest of the line, is for the parser.
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
