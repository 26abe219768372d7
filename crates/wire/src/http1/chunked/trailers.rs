//! The trailer section of a chunked body (RFC 9112 §7.1.2, RFC 9110 §6.5).

use crate::head::{Field, FieldName};
use crate::http1::parse::fields::field_line;
use crate::http1::syntax::find_control;
use crate::http1::{Limits, Malformed};

/// Splits a trailer section into `fields`, whose spans point into `bytes`. `bytes` are the lines that
/// [`Piece::End`](super::Piece::End) returned, without the empty line. They are checked again, so that the function is safe
/// for any bytes. Fields that are forbidden in trailers are dropped.
pub fn trailer_fields(bytes: &[u8], fields: &mut Vec<Field>, limits: &Limits) -> Result<(), Malformed> {
    fields.clear();
    if bytes.len() > limits.trailers {
        return Err(Malformed::TrailersTooLarge);
    }
    let mut start = 0;
    let mut lines = 0;
    while let Some(rest) = bytes.get(start..).filter(|rest| !rest.is_empty()) {
        let length = memchr::memchr(b'\n', rest).ok_or(Malformed::BareCr)?;
        let line = rest
            .get(..length)
            .and_then(|line| line.strip_suffix(b"\r"))
            .ok_or(Malformed::BareLf)?;
        check_controls(line)?;
        lines += 1;
        if lines > limits.fields {
            return Err(Malformed::TooManyFields);
        }
        let field = field_line(bytes, start, start + line.len())?;
        if !is_forbidden_in_trailers(field.id, field.name.of(bytes)) {
            fields.push(field);
        }
        start += length + 1;
    }
    Ok(())
}

/// Whether a field is dropped from trailers: fields for framing, routing, identity, authorization and content description
/// must be known before the body (RFC 9110 §6.5.1), and some backends merge trailers into the head.
pub fn is_forbidden_in_trailers(id: FieldName, name: &[u8]) -> bool {
    const FORBIDDEN: [&[u8]; 13] = [
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-range",
        b"content-type",
        b"cookie",
        b"max-forwards",
        b"pragma",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"range",
        b"set-cookie",
        b"www-authenticate",
    ];
    id.is_hop_by_hop()
        || id.is_protected()
        || id == FieldName::Expect
        || FORBIDDEN
            .iter()
            .any(|forbidden| name.eq_ignore_ascii_case(forbidden))
}

/// Checks the lines of a scanned section; `ends` are the offsets of their carriage returns.
pub(super) fn check(section: &[u8], ends: &[u32]) -> Result<(), Malformed> {
    let mut start = 0;
    for end in ends {
        let end = *end as usize;
        field_line(section, start, end)?;
        start = end + 2;
    }
    Ok(())
}

/// Refuses every control byte except the tab.
fn check_controls(mut line: &[u8]) -> Result<(), Malformed> {
    while let Some(at) = find_control(line) {
        match line.get(at..) {
            Some([b'\t', rest @ ..]) => line = rest,
            Some([b'\r', ..]) => return Err(Malformed::BareCr),
            _ => return Err(Malformed::ControlByte),
        }
    }
    Ok(())
}
