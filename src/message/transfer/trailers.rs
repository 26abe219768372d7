//! Which trailers of a body go on.

use evenkeel_balance::edits::{Direction, is_same_name};

use crate::coding::is_digest;
use crate::head::{Field, FieldName};
use crate::http1::{BodyError, Limits, chunked};

/// Names of headers that do not go on as trailers.
#[derive(Debug)]
pub(super) struct Withheld {
    /// What the body is part of: the rule by which names are compared depends on it.
    pub(super) direction: Direction,
    pub(super) names: Box<[Box<[u8]>]>,
}

impl Withheld {
    fn contains(&self, name: &[u8]) -> bool {
        let mut names = self.names.iter();
        names.any(|withheld| is_same_name(self.direction, withheld, name))
    }
}

/// The trailer lines that may be forwarded, checked and written anew: never what frames, routes or identifies a message
/// (RFC 9110 §6.5.1), and none that is `withheld`.
pub(super) fn forwarded(
    lines: &[u8],
    limits: &Limits,
    withheld: Option<&Withheld>,
) -> Result<Vec<u8>, BodyError> {
    let mut out = Vec::new();
    let mut fields: Vec<Field> = Vec::new();
    chunked::trailer_fields(lines, &mut fields, limits)?;
    for field in fields.iter().filter(|field| field.id == FieldName::Other) {
        let name = field.name.of(lines);
        if withheld.is_some_and(|withheld| withheld.contains(name)) {
            continue;
        }
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(field.value.of(lines));
        out.extend_from_slice(b"\r\n");
    }
    Ok(out)
}

/// Trailer lines without those that are wrong once the body is compressed.
pub(super) fn without_digests(lines: &[u8]) -> Vec<u8> {
    let name = |line: &[u8]| line.iter().position(|byte| *byte == b':').unwrap_or_default();
    let mut out = Vec::new();
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let name = line.get(..name(line)).unwrap_or_default();
        if !is_digest(name) && !name.eq_ignore_ascii_case(b"etag") {
            out.extend_from_slice(line);
        }
    }
    out
}
