//! Describes for people what is wrong with a refused message: the rule, the place, and for a limit its value and the size
//! received.
//!
//! It reads the bytes again after the parser has refused them, so that valid messages pay nothing for it. It decides nothing;
//! if it finds no place, it reports the rule alone.

mod locate;

use std::fmt;

use super::syntax::TOKEN;
use super::{Kind, Limits, Malformed, Rule};
use crate::head::Flaw;

/// Bytes of a header name that are shown.
const NAME_SHOWN: usize = 64;

/// Most header lines of an HTTP/2 request, counting each `cookie` line of a split cookie.
pub const COOKIE_LINES: usize = 1_000;

/// What is wrong with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The reason, whose code the log shows.
    pub reason: Malformed,
    /// The rule; `None` for a reason without a rule in the table.
    pub rule: Option<Rule>,
    /// The place in the message.
    pub place: FaultPlace,
    /// The header at fault, if it has a valid name.
    pub header: Option<Box<str>>,
    /// The byte that is not allowed there.
    pub byte: Option<u8>,
    /// The limit, if one was exceeded.
    pub limit: Option<Exceeded>,
    /// Offset of the fault in the bytes that were read.
    pub at: usize,
}

/// The place of a fault in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultPlace {
    /// The message as a whole: something is missing, or the place is unknown.
    Whole,
    /// This line of the head or trailers, counted from 1.
    Line(usize),
    /// This header of an HTTP/2 head, counted from 1, pseudo-headers included.
    Header(usize),
    /// The chunked framing, after this many bytes of the body.
    Chunks(u64),
}

/// A limit that a message has exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    /// The config key; `None` for a limit that is not configurable.
    pub key: Option<&'static str>,
    /// Its value.
    pub value: usize,
    /// What was received, or at least was received.
    pub came: usize,
    /// Whether `came` is exact; else reading stopped there.
    pub is_all: bool,
}

impl Fault {
    /// Finds the fault for which an HTTP/1 head or trailers were refused. `bytes` begin with them.
    pub fn find(bytes: &[u8], kind: Kind, reason: Malformed, limits: &Limits) -> Self {
        locate::Locator::new(bytes, kind, reason, limits).locate()
    }

    /// A fault in the chunked framing, at offset `at` of the input, after `payload` bytes of the body.
    pub fn in_chunks(reason: Malformed, (input, at): (&[u8], usize), payload: u64, limits: &Limits) -> Self {
        let limit = (reason == Malformed::ChunkExtensionsTooLarge).then_some(Exceeded {
            key: Some("limits.chunk_extensions"),
            value: limits.chunk_extensions,
            came: limits.chunk_extensions.saturating_add(1),
            is_all: false,
        });
        Self {
            place: FaultPlace::Chunks(payload),
            byte: input.get(at).copied(),
            limit,
            at,
            ..Self::of(reason)
        }
    }

    /// The fault for which an HTTP/2 head or trailers were refused.
    pub fn of_flaw(reason: Malformed, flaw: &Flaw, limits: &Limits) -> Self {
        let is_pseudo = flaw.name.first() == Some(&b':');
        let rule = match reason {
            Malformed::BadFieldName if is_pseudo => Rule::PseudoHeader,
            Malformed::BadFieldName => Rule::HeaderNameHttp2,
            Malformed::ControlByte if is_padded(&flaw.value) => Rule::PaddedValue,
            Malformed::BadRequestLine => Rule::RequestPseudoHeaders,
            Malformed::BadStatusLine => Rule::StatusPseudoHeader,
            Malformed::BadConnection => Rule::ConnectionHttp2,
            Malformed::BadTarget if *flaw.name == *b":scheme" => Rule::Scheme,
            Malformed::DuplicateHost => Rule::HostSame,
            Malformed::BadContentLength if flaw.number == 0 => Rule::BodyLength,
            Malformed::TooManyFields if flaw.number > COOKIE_LINES => Rule::CookieCount,
            _ => return Self::of(reason).at_flaw(flaw, limits),
        };
        Self {
            rule: Some(rule),
            ..Self::of(reason)
        }
        .at_flaw(flaw, limits)
    }

    /// A fault with nothing known but its reason.
    pub fn of(reason: Malformed) -> Self {
        Self {
            reason,
            rule: Rule::of(reason),
            place: FaultPlace::Whole,
            header: None,
            byte: None,
            limit: None,
            at: 0,
        }
    }

    /// The sentence of the rule.
    pub fn sentence(&self) -> &'static str {
        self.rule.map_or(self.reason.rule(), Rule::sentence)
    }

    fn at_flaw(mut self, flaw: &Flaw, limits: &Limits) -> Self {
        if flaw.number > 0 {
            self.place = FaultPlace::Header(flaw.number);
        }
        self.header = shown(&flaw.name);
        if self.rule == Some(Rule::ControlByte) {
            self.byte = flaw.value.iter().copied().find(u8::is_ascii_control);
        }
        let exceeded = |key, value, came| {
            Some(Exceeded {
                key: Some(key),
                value,
                came,
                is_all: true,
            })
        };
        self.limit = match self.reason {
            Malformed::HeadTooLarge => exceeded("limits.head", limits.head, flaw.size),
            Malformed::FieldTooLong => exceeded("limits.line", limits.line, flaw.length + b": \r\n".len()),
            Malformed::TargetTooLong => exceeded("limits.line", limits.line, flaw.length - flaw.name.len()),
            Malformed::TooManyFields if self.rule == Some(Rule::HeaderCount) => {
                exceeded("limits.fields", limits.fields, flaw.fields)
            }
            _ => None,
        };
        self
    }
}

/// The sentence, the place and the exceeded limit: the `detail` of the log.
impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.sentence())?;
        let mut separator = ": ";
        let mut next = || std::mem::replace(&mut separator, ", ");
        match self.place {
            FaultPlace::Whole => {}
            FaultPlace::Line(line) => write!(out, "{}line {line}", next())?,
            FaultPlace::Header(number) => write!(out, "{}header {number}", next())?,
            FaultPlace::Chunks(bytes) => {
                write!(
                    out,
                    "{}in the chunked framing after {bytes} bytes of the body",
                    next()
                )?;
            }
        }
        if let Some(header) = &self.header {
            write!(out, "{}{header}", next())?;
        }
        match self.byte {
            Some(byte) if byte.is_ascii_graphic() => write!(out, "{}byte {}", next(), char::from(byte))?,
            Some(byte) => write!(out, "{}byte 0x{byte:02x}", next())?,
            None => {}
        }
        if let Some(limit) = &self.limit {
            let least = if limit.is_all { "" } else { "at least " };
            if let Some(key) = limit.key {
                write!(out, "{}{key} is {}", next(), limit.value)?;
            }
            write!(out, "{}received {least}{}", next(), limit.came)?;
        }
        Ok(())
    }
}

/// A name as it is shown: escaped and bounded.
fn shown(name: &[u8]) -> Option<Box<str>> {
    let front = name.get(..NAME_SHOWN).unwrap_or(name);
    let mark = if front.len() < name.len() { "..." } else { "" };
    (!name.is_empty()).then(|| format!("{}{mark}", front.escape_ascii()).into())
}

fn is_padded(value: &[u8]) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_blank(value.first()) || is_blank(value.last())
}

/// The name at the start of a line, if a colon follows it, possibly after blanks.
fn name_of(line: &[u8]) -> Option<&[u8]> {
    let (name, rest) = line.split_at_checked(TOKEN.prefix(line))?;
    let is_name = !name.is_empty() && rest.trim_ascii_start().first() == Some(&b':');
    is_name.then_some(name)
}

#[cfg(test)]
mod tests;
