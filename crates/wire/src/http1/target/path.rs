//! Checks the path of a request and resolves its dot segments. The result is used for routing and for forwarding, so that
//! router and backend never see different paths.

use crate::http1::Malformed;
use crate::http1::syntax::PATH;

/// Checks `path`, which begins with `/`, and resolves its dot segments in place. Returns its new length.
pub(super) fn normalise(path: &mut [u8]) -> Result<usize, Malformed> {
    if may_have_dot_segments(path)? {
        return Ok(remove_dot_segments(path));
    }
    Ok(path.len())
}

/// Checks bytes and percent-encoding, and returns whether a segment begins with `.` or `%2e`.
fn may_have_dot_segments(path: &[u8]) -> Result<bool, Malformed> {
    let mut found = false;
    let mut previous = 0;
    let mut rest = path.iter();
    while let Some(byte) = rest.next() {
        if !PATH.contains(*byte) {
            return Err(Malformed::BadTarget);
        }
        let decoded = match byte {
            b'%' => escaped(rest.next(), rest.next()).ok_or(Malformed::BadEscape)?,
            _ => *byte,
        };
        found |= decoded == b'.' && previous == b'/';
        // As written, not as decoded: an encoded slash does not separate segments.
        previous = *byte;
    }
    Ok(found)
}

/// The byte encoded by two hexadecimal digits; `None` if they are not digits or encode NUL.
fn escaped(high: Option<&u8>, low: Option<&u8>) -> Option<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let value = digit(high?)? * 16 + digit(low?)?;
    u8::try_from(value).ok().filter(|byte| *byte != 0)
}

/// Resolves dot segments as in RFC 3986 §5.2.4; `..` at the root stays at the root. Returns the new length.
fn remove_dot_segments(path: &mut [u8]) -> usize {
    let mut read = 0;
    let mut written = 0;
    while read < path.len() {
        let rest = path.get(read + 1..).unwrap_or_default();
        let length = memchr::memchr(b'/', rest).unwrap_or(rest.len());
        let is_last = length == rest.len();
        let next = read + 1 + length;
        let dots = dots(rest.get(..length).unwrap_or_default());
        if dots == 2 {
            written = path
                .get(..written)
                .and_then(|kept| memchr::memrchr(b'/', kept))
                .unwrap_or(0);
        }
        if dots == 0 {
            path.copy_within(read..next, written);
            written += next - read;
        } else if is_last {
            // The result is the directory: `/a/.` is `/a/`. The `/` before this segment, or an earlier one, is kept.
            path.copy_within(read..=read, written);
            written += 1;
        }
        read = next;
    }
    written
}

/// 1 for the segment `.`, 2 for `..`, plain or percent-encoded, and 0 for any other.
fn dots(mut segment: &[u8]) -> usize {
    let mut count = 0;
    loop {
        segment = match segment {
            [] => return count,
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] if count < 2 => rest,
            _ => return 0,
        };
        count += 1;
    }
}
