//! Reads a refused HTTP/1 head or trailers again and finds the place where they break the rule.

use super::{Exceeded, Fault, FaultPlace, name_of, shown};
use crate::head::FieldName;
use crate::http1::syntax::{PATH, QUERY, TOKEN};
use crate::http1::{Kind, Limits, Malformed, Rule, check_authority};

/// Finds the fault in a refused head or trailers.
pub(super) struct Locator<'a> {
    bytes: &'a [u8],
    kind: Kind,
    reason: Malformed,
    limits: &'a Limits,
    /// Where the first line begins: an empty line before a request does not count.
    start: usize,
}

/// A line without its end.
#[derive(Clone, Copy)]
struct Line<'a> {
    start: usize,
    text: &'a [u8],
    /// Whether its line end was received.
    is_whole: bool,
}

impl Line<'_> {
    /// Its length including the line end.
    fn length(&self) -> usize {
        self.text.len() + b"\r\n".len()
    }

    /// Offset of the value after the colon.
    fn value_start(&self) -> usize {
        let colon = memchr::memchr(b':', self.text).map_or(0, |at| at + 1);
        let value = self.text.get(colon..).unwrap_or_default();
        self.start + colon + (value.len() - value.trim_ascii_start().len())
    }

    fn value(&self) -> &[u8] {
        let start = self.value_start() - self.start;
        self.text.get(start..).unwrap_or_default().trim_ascii()
    }
}

impl<'a> Locator<'a> {
    pub(super) fn new(bytes: &'a [u8], kind: Kind, reason: Malformed, limits: &'a Limits) -> Self {
        let has_empty_line = kind == Kind::Request && bytes.starts_with(b"\r\n");
        Self {
            bytes,
            kind,
            reason,
            limits,
            start: if has_empty_line { 2 } else { 0 },
        }
    }

    pub(super) fn locate(&self) -> Fault {
        let found = match self.reason {
            Malformed::BareLf | Malformed::BareCr | Malformed::ControlByte => self.byte(),
            Malformed::BadRequestLine
            | Malformed::BadMethod
            | Malformed::MethodTooLong
            | Malformed::ConnectRefused
            | Malformed::UnsupportedVersion
            | Malformed::BadTarget
            | Malformed::BadEscape
            | Malformed::TargetTooLong
            | Malformed::BadStatusLine => Some(self.start_line()),
            Malformed::HeadTooLarge | Malformed::TrailersTooLarge => Some(self.size()),
            Malformed::ObsFold => self
                .headers()
                .find(|line| is_folded(*line))
                .map(|line| self.at(line.start)),
            Malformed::BadFieldName => self.bad_name(),
            Malformed::FieldTooLong => self.long_header(),
            Malformed::TooManyFields => self.header_too_many(),
            _ => self.header().map(|line| self.at(line.value_start())),
        };
        found.unwrap_or_else(|| Fault::of(self.reason))
    }

    /// The fault at an offset, with its line and header.
    fn at(&self, at: usize) -> Fault {
        let at = at.min(self.bytes.len());
        let before = self.bytes.get(self.start..at).unwrap_or_default();
        let number = 1 + memchr::memchr_iter(b'\n', before).count();
        let line_start = self.start + memchr::memrchr(b'\n', before).map_or(0, |end| end + 1);
        let is_header = self.kind == Kind::Trailers || number > 1;
        let line = self.bytes.get(line_start..).unwrap_or_default();
        Fault {
            place: FaultPlace::Line(number),
            header: name_of(line).filter(|_| is_header).and_then(shown),
            at,
            ..Fault::of(self.reason)
        }
    }

    /// The same, when the byte at the offset is not allowed.
    fn at_byte(&self, at: usize) -> Fault {
        Fault {
            byte: self.bytes.get(at).copied(),
            ..self.at(at)
        }
    }

    fn exceeds(&self, key: &'static str, value: usize, (came, is_all): (usize, bool), at: usize) -> Fault {
        Fault {
            limit: Some(Exceeded {
                key: Some(key),
                value,
                came,
                is_all,
            }),
            ..self.at(at)
        }
    }

    fn lines(&self) -> impl Iterator<Item = Line<'a>> {
        let (bytes, mut start) = (self.bytes, self.start);
        std::iter::from_fn(move || {
            let rest = bytes.get(start..).filter(|rest| !rest.is_empty())?;
            let end = memchr::memchr(b'\n', rest);
            let text = rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest);
            let line = Line {
                start,
                text: text.strip_suffix(b"\r").unwrap_or(text),
                is_whole: end.is_some(),
            };
            start += end.map_or(rest.len(), |end| end + 1);
            Some(line)
        })
    }

    /// The lines after the start line, up to the empty line.
    fn headers(&self) -> impl Iterator<Item = Line<'a>> {
        let lines = self.lines().skip(usize::from(self.kind != Kind::Trailers));
        lines.take_while(|line| !line.text.is_empty())
    }

    /// The header lines with one name.
    fn named(&self, id: FieldName) -> impl Iterator<Item = Line<'a>> {
        let is_meant =
            move |line: &Line<'_>| name_of(line.text).is_some_and(|name| FieldName::recognise(name) == id);
        self.headers().filter(is_meant)
    }

    /// The first byte that is not allowed.
    fn byte(&self) -> Option<Fault> {
        let of = |at: usize| self.bytes.get(at).copied();
        let mut controls =
            (0..self.bytes.len()).filter(|at| of(*at).is_some_and(|byte| byte.is_ascii_control()));
        let is_lone_cr = |at: usize| of(at) == Some(b'\r') && !matches!(of(at + 1), None | Some(b'\n'));
        let is_lone_lf = |at: usize| of(at) == Some(b'\n') && at.checked_sub(1).and_then(of) != Some(b'\r');
        let at = controls.find(|at| match self.reason {
            Malformed::BareCr => is_lone_cr(*at),
            Malformed::BareLf => is_lone_lf(*at),
            _ => !matches!(of(*at), Some(b'\r' | b'\n')) && !self.is_allowed_tab(*at),
        })?;
        Some(self.at_byte(at))
    }

    fn is_allowed_tab(&self, at: usize) -> bool {
        let before = self.bytes.get(..at).unwrap_or_default();
        let line = memchr::memrchr(b'\n', before).map_or(0, |end| end + 1);
        let is_first = line <= self.start && self.kind != Kind::Trailers;
        let has_colon = before.get(line..).is_some_and(|line| line.contains(&b':'));
        let is_value = if is_first {
            self.kind == Kind::Response
        } else {
            has_colon
        };
        is_value && self.bytes.get(at) == Some(&b'\t')
    }

    fn start_line(&self) -> Fault {
        let Some(line) = self.lines().next() else {
            return Fault::of(self.reason);
        };
        let method = TOKEN.prefix(line.text);
        match self.reason {
            Malformed::BadMethod => self.at_byte(line.start + method),
            Malformed::MethodTooLong => Fault {
                limit: Some(Exceeded {
                    key: None,
                    value: 64,
                    came: method,
                    is_all: line.text.len() > method,
                }),
                ..self.at(line.start)
            },
            Malformed::TargetTooLong => {
                let came = (line.length(), line.is_whole);
                self.exceeds("limits.line", self.limits.line, came, line.start)
            }
            Malformed::BadTarget => self.bad_target(line),
            Malformed::BadEscape => {
                let target = target_of(line);
                let at = bad_escape(line.text.get(target.0..target.1).unwrap_or_default());
                self.at(line.start + target.0 + at.unwrap_or(0))
            }
            Malformed::UnsupportedVersion => self.at(line.start + target_of(line).1 + 1),
            _ => self.at(line.start),
        }
    }

    fn bad_target(&self, line: Line<'_>) -> Fault {
        let (start, end) = target_of(line);
        let target = line.text.get(start..end).unwrap_or_default();
        let query = memchr::memchr(b'?', target).unwrap_or(target.len());
        let is_allowed = |(at, byte): (usize, &u8)| match at.cmp(&query) {
            std::cmp::Ordering::Less => PATH.contains(*byte),
            std::cmp::Ordering::Equal => true,
            std::cmp::Ordering::Greater => QUERY.contains(*byte),
        };
        match target.iter().enumerate().find(|item| !is_allowed(*item)) {
            Some((at, _)) => Fault {
                rule: Some(Rule::TargetCharacter),
                ..self.at_byte(line.start + start + at)
            },
            None => self.at(line.start + start),
        }
    }

    fn size(&self) -> Fault {
        let (key, value) = match self.kind {
            Kind::Trailers => ("limits.trailers", self.limits.trailers),
            Kind::Request | Kind::Response => ("limits.head", self.limits.head),
        };
        let end = self.lines().find(|line| line.text.is_empty() && line.is_whole);
        let came = end.map_or(self.bytes.len(), |line| line.start + line.length());
        let came = (came.max(value.saturating_add(1)), end.is_some());
        self.exceeds(key, value, came, value.min(self.bytes.len()))
    }

    fn bad_name(&self) -> Option<Fault> {
        let line = self.headers().find(|line| {
            let name = TOKEN.prefix(line.text);
            name == 0 || line.text.get(name) != Some(&b':')
        })?;
        let name = TOKEN.prefix(line.text);
        let at = line.start + name;
        let (rule, fault) = match line.text.get(name..).unwrap_or_default() {
            [b':', ..] => (Rule::HeaderNameEmpty, self.at(at)),
            _ if name_of(line.text).is_some() => (Rule::HeaderNameSpace, self.at_byte(at)),
            rest if !rest.contains(&b':') => (Rule::HeaderColon, self.at(line.start)),
            _ => (Rule::HeaderName, self.at_byte(at)),
        };
        Some(Fault {
            rule: Some(rule),
            ..fault
        })
    }

    fn long_header(&self) -> Option<Fault> {
        let limit = self.limits.line;
        let line = self
            .headers()
            .find(|line| line.length() > limit || !line.is_whole)?;
        let came = (line.length().max(limit.saturating_add(1)), line.is_whole);
        Some(self.exceeds("limits.line", limit, came, line.start))
    }

    fn header_too_many(&self) -> Option<Fault> {
        let limit = self.limits.fields;
        let line = self.headers().nth(limit)?;
        Some(self.exceeds(
            "limits.fields",
            limit,
            (limit.saturating_add(1), false),
            line.start,
        ))
    }

    /// The header line at fault, if the reason is about a known header.
    fn header(&self) -> Option<Line<'a>> {
        let length = || self.named(FieldName::ContentLength);
        let coding = || self.named(FieldName::TransferEncoding);
        match self.reason {
            Malformed::DuplicateHost => self.named(FieldName::Host).nth(1),
            Malformed::BadHost if !self.has_bad_authority() => self.named(FieldName::Host).next(),
            Malformed::BadHost => self.lines().next(),
            Malformed::BadContentLength => length().next(),
            Malformed::DuplicateContentLength => length().nth(1),
            Malformed::LengthConflict => [length().next(), coding().next()]
                .into_iter()
                .flatten()
                .max_by_key(|line| line.start),
            Malformed::BadTransferEncoding => coding().nth(1).or_else(|| coding().next()),
            Malformed::UnknownTransferCoding | Malformed::UnexpectedTransferEncoding => coding().next(),
            Malformed::FramingAlias => self.named(FieldName::FramingAlias).next(),
            Malformed::UpgradeWithBody => length().next().or_else(|| coding().next()),
            Malformed::UnknownExpectation => {
                let is_unknown = |line: &Line<'_>| !line.value().eq_ignore_ascii_case(b"100-continue");
                let expectations = || self.named(FieldName::Expect);
                expectations().find(is_unknown).or_else(|| expectations().nth(1))
            }
            Malformed::BadConnection => {
                let is_option = |option: &[u8]| TOKEN.contains_all(option.trim_ascii());
                let is_bad = |line: &Line<'_>| !line.value().split(|byte| *byte == b',').all(is_option);
                let connections = || self.named(FieldName::Connection);
                connections().find(is_bad).or_else(|| connections().last())
            }
            _ => None,
        }
    }

    /// Whether the target is in absolute form with an invalid authority.
    fn has_bad_authority(&self) -> bool {
        let Some(line) = self.lines().next() else {
            return false;
        };
        let (start, end) = target_of(line);
        let target = line.text.get(start..end).unwrap_or_default();
        let Some(scheme) = memchr::memmem::find(target, b"://").filter(|_| self.kind == Kind::Request) else {
            return false;
        };
        let rest = target.get(scheme + 3..).unwrap_or_default();
        let length = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
        !target.starts_with(b"/") && check_authority(rest.get(..length).unwrap_or_default()).is_err()
    }
}

fn is_folded(line: Line<'_>) -> bool {
    matches!(line.text.first(), Some(b' ' | b'\t'))
}

/// Offsets of the start and end of the target in a request line.
fn target_of(line: Line<'_>) -> (usize, usize) {
    let start = memchr::memchr(b' ', line.text).map_or(line.text.len(), |at| at + 1);
    let end = memchr::memrchr(b' ', line.text).filter(|end| *end >= start);
    (start, end.unwrap_or(line.text.len()))
}

/// Offset of the first invalid percent-encoding in a target.
fn bad_escape(target: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'%', target).find(|at| {
        let digits = target.get(at + 1..at + 3).unwrap_or_default();
        digits.len() < 2 || digits == b"00" || !digits.iter().all(u8::is_ascii_hexdigit)
    })
}
