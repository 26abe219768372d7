//! Parses field lines into names and values, and collects what they say about framing and the connection.

use crate::head::{Field, FieldName, Span, Version, list};
use crate::http1::Malformed;
use crate::http1::framing::Framing;
use crate::http1::syntax::TOKEN;

/// Most options in all `Connection` lines. Each is compared with the name of each field, so that an unbounded number would
/// cost quadratic time. Real requests have one to three.
const CONNECTION_OPTIONS: u32 = 32;

/// What the fields of one head say about framing and the connection.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub(super) host: Option<Span>,
    pub(super) expectation: Expectation,
    /// The value of `Upgrade`, if there is exactly one line.
    pub(super) upgrade: Option<Span>,
    pub(super) connection: Connection,
    pub(super) has_framing_alias: bool,
    content_length: Option<Span>,
    transfer_encoding: Option<Span>,
    upgrade_lines: u32,
}

/// The value of `Expect`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expectation {
    #[default]
    None,
    Continue,
    Unknown,
}

/// The options of all `Connection` lines (RFC 9110 §7.6.1).
#[derive(Debug, Default)]
pub(super) struct Connection {
    pub(super) upgrade: bool,
    /// Whether it names fields that it decides about: not those that are always dropped or always kept.
    pub(super) lists: bool,
    close: bool,
    keep_alive: bool,
    options: u32,
}

/// Parses the lines that begin at `start` and have their carriage returns at `ends` into `out`, and adds them to `summary`.
pub(super) fn collect(
    bytes: &[u8],
    (mut start, ends): (usize, &[u32]),
    out: &mut Vec<Field>,
    summary: &mut Summary,
) -> Result<(), Malformed> {
    for end in ends {
        let end = *end as usize;
        let field = field_line(bytes, start, end)?;
        if field.id != FieldName::Other {
            summary.add(&field, bytes)?;
        }
        out.push(field);
        start = end + 2;
    }
    Ok(())
}

/// Parses `field-name ":" OWS field-value OWS` at `start..end` (RFC 9112 §5). The name must be a token, which excludes
/// white space before the colon and continuation lines.
pub(in crate::http1) fn field_line(bytes: &[u8], start: usize, end: usize) -> Result<Field, Malformed> {
    let line = bytes.get(start..end).unwrap_or_default();
    let length = TOKEN.prefix(line);
    let Some((name, [b':', rest @ ..])) = line.split_at_checked(length) else {
        return Err(Malformed::BadFieldName);
    };
    if name.is_empty() {
        return Err(Malformed::BadFieldName);
    }
    let leading = rest
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count();
    let value_start = start + length + 1 + leading;
    let value = list::trim(rest.get(leading..).unwrap_or_default());
    Ok(Field {
        is_secret: false,
        id: FieldName::recognise(name),
        name: Span::new(start, start + length),
        value: Span::new(value_start, value_start + value.len()),
    })
}

impl Summary {
    /// The fields that determine where the body ends.
    pub(super) fn framing<'a>(&self, bytes: &'a [u8]) -> Framing<'a> {
        Framing {
            content_length: self.content_length.map(|value| value.of(bytes)),
            transfer_encoding: self.transfer_encoding.map(|value| value.of(bytes)),
        }
    }

    fn add(&mut self, field: &Field, bytes: &[u8]) -> Result<(), Malformed> {
        match field.id {
            FieldName::Host => once(&mut self.host, field.value, Malformed::DuplicateHost)?,
            FieldName::ContentLength => {
                once(
                    &mut self.content_length,
                    field.value,
                    Malformed::DuplicateContentLength,
                )?;
            }
            FieldName::TransferEncoding => {
                once(
                    &mut self.transfer_encoding,
                    field.value,
                    Malformed::BadTransferEncoding,
                )?;
            }
            FieldName::FramingAlias => self.has_framing_alias = true,
            // An empty list contains no expectation (RFC 9110 §10.1.1).
            FieldName::Expect if field.value.is_empty() => {}
            FieldName::Expect => {
                let is_first = self.expectation == Expectation::None;
                let is_known = field.value.of(bytes).eq_ignore_ascii_case(b"100-continue");
                self.expectation = if is_first && is_known {
                    Expectation::Continue
                } else {
                    Expectation::Unknown
                };
            }
            FieldName::Upgrade => {
                self.upgrade_lines += 1;
                self.upgrade = (self.upgrade_lines == 1).then_some(field.value);
            }
            FieldName::Connection => self.connection.add(field.value.of(bytes))?,
            _ => {}
        }
        Ok(())
    }
}

impl Connection {
    /// Whether the connection stays open after the message (RFC 9112 §9.3). `close` wins over `keep-alive`.
    pub(super) fn keep_alive(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }

    fn add(&mut self, value: &[u8]) -> Result<(), Malformed> {
        for option in list::elements(value) {
            self.options += 1;
            if self.options > CONNECTION_OPTIONS || !TOKEN.contains_all(option) {
                return Err(Malformed::BadConnection);
            }
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else {
                let name = FieldName::recognise(option);
                self.lists |= !name.is_hop_by_hop() && !name.is_protected();
            }
        }
        Ok(())
    }
}

/// Stores the value of a field that may occur only once.
fn once(slot: &mut Option<Span>, value: Span, repeated: Malformed) -> Result<(), Malformed> {
    if slot.replace(value).is_some() {
        Err(repeated)
    } else {
        Ok(())
    }
}
