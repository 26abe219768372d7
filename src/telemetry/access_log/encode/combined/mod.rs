//! Encodes an entry in the combined format, byte for byte as nginx does:
//! `ADDRESS - USER [TIME] "REQUEST" STATUS BODY_BYTES "REFERER" "USER_AGENT"`. Pure; allocates nothing once the buffer has grown.
//!
//! A value that is missing is `-`. In every value `"`, `\`, control bytes and all bytes above 126 are written as `\xXX`, so that no
//! value can end a line or a quoted part. In the name of the user, which is in no quotes, so are blanks and brackets.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp as JiffTimestamp;
use jiff::tz::Offset;

use super::super::entry::{Client, Entry};
use super::super::headers;
use super::{Options, PATH_BOUND, VALUE_BOUND};
use crate::telemetry::json;

/// Marks a value that was cut.
const CUT_MARK: &[u8] = b"...[truncated]";

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Length of `24/Nov/2026:10:15:30 +0000`.
const TIME: usize = 26;

/// The time of the last line: only the first line of a second formats it.
#[derive(Debug, Clone)]
pub struct LocalTime {
    second: u64,
    text: [u8; TIME],
}

impl Default for LocalTime {
    fn default() -> Self {
        Self {
            second: 0,
            text: *b"01/Jan/1970:00:00:00 +0000",
        }
    }
}

impl LocalTime {
    /// Appends the time in UTC. One that cannot be formatted is written as the last that could.
    fn write(&mut self, time: SystemTime, out: &mut Vec<u8>) {
        let second = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if second != self.second
            && let Some(text) = text_of(second)
        {
            *self = Self { second, text };
        }
        out.extend_from_slice(&self.text);
    }
}

fn text_of(second: u64) -> Option<[u8; TIME]> {
    let time = JiffTimestamp::from_second(i64::try_from(second).ok()?).ok()?;
    let time = Offset::UTC.to_datetime(time);
    let month = usize::try_from(time.month()).ok()?.checked_sub(1)?;
    let month = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]
    .get(month)?;
    let (day, year) = (time.day(), time.year());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    let text = format!("{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000");
    text.as_bytes().try_into().ok()
}

/// Appends the line of `entry` with its newline. Whatever bytes the entry has, the result is exactly one line of printable ASCII,
/// whose length is bounded.
pub fn encode(entry: &Entry<'_>, time: &mut LocalTime, options: Options, out: &mut Vec<u8>) {
    match entry.client {
        Client::Direct(label) => escaped(without_port(label.text().as_bytes()), VALUE_BOUND, b" ", out),
        Client::Forwarded(address) => json::ip_address(out, address),
    }
    out.extend_from_slice(b" - ");
    match entry.user {
        Some(user) if !user.is_empty() => escaped(user, VALUE_BOUND, b" []", out),
        _ => out.push(b'-'),
    }
    out.extend_from_slice(b" [");
    time.write(entry.time, out);
    out.extend_from_slice(b"] \"");
    request(entry, options, out);
    out.extend_from_slice(b"\" ");
    json::number(out, entry.status.into());
    out.push(b' ');
    json::number(out, body_bytes(entry));
    for name in ["referer", "user-agent"] {
        out.extend_from_slice(b" \"");
        header(entry, name, out);
        out.push(b'"');
    }
    out.push(b'\n');
}

/// The address of a client without its port and its brackets.
fn without_port(address: &[u8]) -> &[u8] {
    if let Some(address) = address.strip_prefix(b"[") {
        let end = memchr::memchr(b']', address);
        return end.and_then(|end| address.get(..end)).unwrap_or(address);
    }
    if address == b"unix:" {
        return address;
    }
    let end = memchr::memchr(b':', address);
    end.and_then(|end| address.get(..end)).unwrap_or(address)
}

/// Appends the request line, as far as it was read.
fn request(entry: &Entry<'_>, options: Options, out: &mut Vec<u8>) {
    let Some(method) = entry.method else {
        out.push(b'-');
        return;
    };
    escaped(method, VALUE_BOUND, b"", out);
    if let Some(path) = entry.path {
        out.push(b' ');
        escaped(path, PATH_BOUND, b"", out);
        if let Some(query) = entry.query.filter(|_| options.query) {
            out.push(b'?');
            escaped(query, PATH_BOUND, b"", out);
        }
    }
    if let Some(protocol) = entry.protocol {
        out.push(b' ');
        out.extend_from_slice(protocol.as_bytes());
    }
}

/// The bytes of the body that were sent. In HTTP/2 headers are not counted in the first place.
fn body_bytes(entry: &Entry<'_>) -> u64 {
    let head = match entry.protocol {
        Some("HTTP/2.0") => 0,
        _ => entry.extra.response.map_or(0, <[u8]>::len),
    };
    entry.bytes_sent.saturating_sub(head as u64)
}

fn header(entry: &Entry<'_>, name: &str, out: &mut Vec<u8>) {
    let start = out.len();
    let mut has_any = false;
    headers::write_joined(headers::of_request(entry, name), out, |part, bound, out| {
        has_any = true;
        escaped(part, bound, b"", out);
    });
    if !has_any {
        out.truncate(start);
        out.push(b'-');
    }
}

/// Appends at most `bound` bytes of a value, with everything escaped that nginx escapes, and the bytes of `more`.
fn escaped(value: &[u8], bound: usize, more: &[u8], out: &mut Vec<u8>) {
    let shown = value.get(..bound).unwrap_or(value);
    for byte in shown {
        if (0x20..0x7F).contains(byte) && *byte != b'"' && *byte != b'\\' && !more.contains(byte) {
            out.push(*byte);
        } else {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'\\', b'x', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    if shown.len() < value.len() {
        out.extend_from_slice(CUT_MARK);
    }
}

#[cfg(test)]
pub(in crate::telemetry::access_log) mod tests;
