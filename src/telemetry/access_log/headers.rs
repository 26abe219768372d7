//! Finds the headers that a line names, in the head of the request and in that of the response. Pure; allocates nothing.

use super::entry::Entry;
use crate::telemetry::json;

/// Maximum number of bytes of a header, all its lines together: enough for every `User-Agent` and `Referer` that people meet.
pub const HEADER_BOUND: usize = 1024;

/// The values of a request header, in order; names are compared without case.
pub(super) fn of_request<'a>(entry: &Entry<'a>, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    entry.extra.request.into_iter().flat_map(move |head| {
        let fields = head.fields.iter();
        fields
            .filter(move |field| head.text(field.name).eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| head.text(field.value))
    })
}

/// The values of a response header, in order.
pub(super) fn of_response<'a>(entry: &Entry<'a>, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let lines = entry
        .extra
        .response
        .unwrap_or_default()
        .split(|byte| *byte == b'\n');
    lines.skip(1).filter_map(move |line| {
        let colon = memchr::memchr(b':', line)?;
        let (found, value) = line.split_at_checked(colon)?;
        let value = value.get(1..)?.trim_ascii();
        found.eq_ignore_ascii_case(name.as_bytes()).then_some(value)
    })
}

/// Appends values as one JSON string, joined as RFC 9110 §5.3 allows; `null` without any.
pub(super) fn write_json<'a>(values: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    let mut is_first = true;
    write_joined(values, out, |part, bound, out| {
        if std::mem::take(&mut is_first) {
            out.push(b'"');
        }
        json::text(out, part, bound);
    });
    out.extend_from_slice(if is_first { b"null" } else { b"\"" });
}

/// Passes the parts of a header to `write`, with the number of bytes that are left of its bound.
pub(super) fn write_joined<'a>(
    values: impl Iterator<Item = &'a [u8]>,
    out: &mut Vec<u8>,
    mut write: impl FnMut(&[u8], usize, &mut Vec<u8>),
) {
    let mut left = HEADER_BOUND;
    let mut is_first = true;
    for value in values {
        if !std::mem::take(&mut is_first) {
            write(b", ", left, out);
            if left <= 2 {
                return;
            }
            left -= 2;
        }
        write(value, left, out);
        if value.len() > left {
            return;
        }
        left -= value.len();
    }
}
