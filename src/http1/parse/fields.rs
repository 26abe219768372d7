//! Field lines: each becomes a name and a value, and what the whole list says about framing and the connection is
//! gathered on the way.

use crate::head::{Field, FieldName, Span, Version, list};
use crate::http1::Malformed;
use crate::http1::framing::Framing;
use crate::http1::syntax::TOKEN;

/// Most options that `Connection` may have in all. Each is compared with the name of each field, so that an unbounded
/// number of them would cost the square of the head's size. Real requests have one to three.
const CONNECTION_OPTIONS: u32 = 32;

/// What the fields of one head say, taken together.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub(super) host: Option<Span>,
    pub(super) expectation: Expectation,
    /// The value of `Upgrade` when there is one line of it.
    pub(super) upgrade: Option<Span>,
    pub(super) connection: Connection,
    pub(super) has_framing_alias: bool,
    content_length: Option<Span>,
    transfer_encoding: Option<Span>,
    upgrade_lines: u32,
}

/// What `Expect` says.
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
    /// Whether fields are named that are not dropped or kept whatever it says.
    pub(super) lists: bool,
    close: bool,
    keep_alive: bool,
    options: u32,
}

/// Splits the lines that begin at `start` and have their carriage returns at `ends` into `out`, and takes down in `summary` what
/// they say.
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

/// Reads `field-name ":" OWS field-value OWS` at `start..end` (RFC 9112 §5). The name is a token, which rules out white
/// space before the colon, and a line that continues another.
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
    /// The fields that decide where the body ends.
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
            // Without an element it expects nothing (RFC 9110 §10.1.1).
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

/// Keeps the value of a field that may stand once only.
fn once(slot: &mut Option<Span>, value: Span, repeated: Malformed) -> Result<(), Malformed> {
    if slot.replace(value).is_some() {
        Err(repeated)
    } else {
        Ok(())
    }
}
