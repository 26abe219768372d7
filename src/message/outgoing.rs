//! Outgoing heads. What a head says is described once, by [`OutgoingHead::write`]; the [`HeadWriter`] of a protocol decides how
//! it is said: HTTP/1 writes lines straight into the output buffer, HTTP/2 keeps the fields until it encodes them.

use crate::head::{BodyLength, Field, Version};
use crate::http1::reason_phrase;
use crate::http2::HeadFields;

/// A head that can be written for every protocol.
pub trait OutgoingHead {
    /// About how many fields it has, and how many bytes their names and values have.
    fn size(&self) -> (usize, usize);

    /// Writes it from its first line to its end.
    fn write<W: HeadWriter>(&self, out: &mut W);
}

/// What a request asks for.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The token of the method.
    pub method: &'a [u8],
    /// Whether the backend is reached over TLS.
    pub is_secure: bool,
    /// The host, with a port where one was named.
    pub authority: &'a [u8],
    /// The path.
    pub path: &'a [u8],
    /// The query without its `?`; `None` where there is no `?`.
    pub query: Option<&'a [u8]>,
}

/// The name of a field that Evenkeel sets, made by `name!`.
#[derive(Debug, Clone, Copy)]
pub struct OwnName {
    /// The name alone.
    pub name: &'static [u8],
    /// What begins its line in HTTP/1: the end of the line before, the name, and `: `. One piece, because it is copied once.
    pub line_start: &'static [u8],
}

/// The name of a field that Evenkeel sets.
macro_rules! name {
    ($name:literal) => {
        crate::message::OwnName {
            name: $name.as_bytes(),
            line_start: concat!("\r\n", $name, ": ").as_bytes(),
        }
    };
}
pub(crate) use name;

/// Writes one head in the form of one protocol: first the request or status line, then fields, then [`Self::finish`].
pub trait HeadWriter {
    /// Whether a connection can be upgraded (RFC 9110 §7.8). Without that, a WebSocket is a stream that was accepted with
    /// 200 (RFC 8441 §5).
    const HAS_UPGRADE: bool;
    /// Whether an empty host may be sent on as it came (RFC 9112 §3.2). HTTP/2 forbids an empty `:authority` for http and
    /// https (RFC 9113 §8.3.1).
    const ALLOWS_EMPTY_HOST: bool;

    /// Begins the head of a request.
    fn request(&mut self, target: &Target<'_>);

    /// Begins the head of a response. Where `reason` is empty, the usual phrase takes its place.
    fn status(&mut self, status: u16, reason: &[u8]);

    /// Writes a field. `is_never_indexed` says that no table may keep it, where the protocol has tables (RFC 7541 §6.2.3).
    fn field(&mut self, name: &[u8], value: &[u8], is_never_indexed: bool);

    /// Writes a field that was parsed from `bytes`, as it was received.
    #[inline]
    fn received_field(&mut self, field: &Field, bytes: &[u8]) {
        self.field(field.name.of(bytes), field.value.of(bytes), field.is_secret);
    }

    /// Writes fields that are always the same: one by one, or as HTTP/1 has them, each after a line break.
    #[inline]
    fn fixed<'f>(&mut self, lines: &[u8], fields: impl Iterator<Item = (&'f [u8], &'f [u8])>) {
        let _ = lines;
        fields.for_each(|(name, value)| self.field(name, value, false));
    }

    /// Begins a field that Evenkeel sets. Its value follows in parts, up to [`Self::end`].
    fn begin(&mut self, name: OwnName);

    /// Writes a part of the value that was begun.
    fn part(&mut self, part: &[u8]);

    /// Ends the field that was begun.
    fn end(&mut self);

    /// Writes a field that Evenkeel sets.
    #[inline(always)]
    fn set(&mut self, name: OwnName, value: &[u8]) {
        self.begin(name);
        self.part(value);
        self.end();
    }

    /// Writes a field whose value is a number.
    #[inline]
    fn set_number(&mut self, name: OwnName, number: u64) {
        self.set(name, itoa::Buffer::new().format(number).as_bytes());
    }

    /// Writes the field that says how the body ends, where the protocol needs or allows one.
    fn framing(&mut self, body: BodyLength);

    /// Writes a connection option (RFC 9110 §7.6.1), where the protocol has any.
    fn connection(&mut self, option: &'static [u8]);

    /// Writes the connection option that says whether the connection stays open, where the default of the client's
    /// `version` does not say so.
    fn keep_alive(&mut self, keep_alive: bool, version: Version) {
        match (keep_alive, version) {
            (false, _) => self.connection(b"close"),
            (true, Version::Http10) => self.connection(b"keep-alive"),
            (true, _) => {}
        }
    }

    /// Ends the head.
    fn finish(&mut self);
}

/// HTTP/1: lines in the output buffer. Each line begins with the CRLF that ends the line before, so that it is one piece with the
/// name.
impl HeadWriter for Vec<u8> {
    const HAS_UPGRADE: bool = true;
    const ALLOWS_EMPTY_HOST: bool = true;

    #[inline]
    fn request(&mut self, target: &Target<'_>) {
        self.extend_from_slice(target.method);
        self.push(b' ');
        self.extend_from_slice(target.path);
        if let Some(query) = target.query {
            self.push(b'?');
            self.extend_from_slice(query);
        }
        self.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        self.extend_from_slice(target.authority);
    }

    #[inline]
    fn status(&mut self, status: u16, reason: &[u8]) {
        if status == 200 && reason == b"OK" {
            self.extend_from_slice(b"HTTP/1.1 200 OK");
            return;
        }
        self.extend_from_slice(b"HTTP/1.1 ");
        self.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
        self.push(b' ');
        self.extend_from_slice(if reason.is_empty() {
            reason_phrase(status).as_bytes()
        } else {
            reason
        });
    }

    #[inline]
    fn field(&mut self, name: &[u8], value: &[u8], _is_never_indexed: bool) {
        self.reserve(name.len() + value.len() + b": \r\n".len());
        self.extend_from_slice(b"\r\n");
        self.extend_from_slice(name);
        self.extend_from_slice(b": ");
        self.extend_from_slice(value);
    }

    #[inline]
    fn received_field(&mut self, field: &Field, bytes: &[u8]) {
        match line(field, bytes) {
            Some(line) => self.extend_from_slice(line),
            None => self.field(field.name.of(bytes), field.value.of(bytes), field.is_secret),
        }
    }

    #[inline]
    fn fixed<'f>(&mut self, lines: &[u8], _: impl Iterator<Item = (&'f [u8], &'f [u8])>) {
        self.extend_from_slice(lines);
    }

    #[inline(always)]
    fn begin(&mut self, name: OwnName) {
        self.extend_from_slice(name.line_start);
    }

    #[inline(always)]
    fn part(&mut self, part: &[u8]) {
        self.extend_from_slice(part);
    }

    #[inline(always)]
    fn end(&mut self) {}

    #[inline]
    fn framing(&mut self, body: BodyLength) {
        match body {
            BodyLength::None | BodyLength::UntilClose => {}
            BodyLength::Chunked => self.extend_from_slice(b"\r\nTransfer-Encoding: chunked"),
            BodyLength::Exact(length) => self.set_number(name!("Content-Length"), length),
        }
    }

    #[inline]
    fn connection(&mut self, option: &'static [u8]) {
        self.set(name!("Connection"), option);
    }

    #[inline]
    fn finish(&mut self) {
        self.extend_from_slice(b"\r\n\r\n");
    }
}

/// HTTP/2: a list of fields.
impl HeadWriter for HeadFields {
    const HAS_UPGRADE: bool = false;
    const ALLOWS_EMPTY_HOST: bool = false;

    fn request(&mut self, target: &Target<'_>) {
        self.add(b":method", target.method);
        self.add(b":scheme", if target.is_secure { b"https" } else { b"http" });
        self.add(b":authority", target.authority);
        Self::begin(self, b":path");
        add_escaped(target.path, b"`", self);
        if let Some(query) = target.query {
            Self::part(self, b"?");
            add_escaped(query, b"\"<>", self);
        }
        Self::end(self);
    }

    fn status(&mut self, status: u16, _reason: &[u8]) {
        self.add(b":status", itoa::Buffer::new().format(status).as_bytes());
    }

    fn field(&mut self, name: &[u8], value: &[u8], is_never_indexed: bool) {
        match is_never_indexed {
            false => self.add(name, value),
            true => self.add_never_indexed(name, value),
        }
    }

    fn begin(&mut self, name: OwnName) {
        Self::begin(self, name.name);
    }

    fn part(&mut self, part: &[u8]) {
        Self::part(self, part);
    }

    fn end(&mut self) {
        Self::end(self);
    }

    fn set(&mut self, name: OwnName, value: &[u8]) {
        self.add(name.name, value);
    }

    fn framing(&mut self, body: BodyLength) {
        // The end of a body is a flag of its last frame.
        if let BodyLength::Exact(length) = body {
            self.set_number(name!("Content-Length"), length);
        }
    }

    fn connection(&mut self, _option: &'static [u8]) {
        // RFC 9113 §8.2.2: HTTP/2 has none.
    }

    fn finish(&mut self) {}
}

/// The line of a field with the end of the line before it, in one piece, if exactly what we would write stands there: nothing but
/// `: ` between the name and the value.
#[inline]
fn line<'a>(field: &Field, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let ((start, name_end), (value_start, end)) = (field.name.range(), field.value.range());
    let line = bytes.get(start.checked_sub(2)?..end)?;
    let is_ours = line.starts_with(b"\r\n") && bytes.get(name_end..value_start)? == b": ";
    is_ours.then_some(line)
}

/// Writes the names of the fields of this head, which is that of a request, with a capital letter at the start of each word. Other
/// letters stay as they are.
pub(super) fn write_in_title_case(head: &mut [u8]) {
    for line in head.split_mut(|byte| *byte == b'\n').skip(1) {
        let mut is_start = true;
        for byte in line.iter_mut().take_while(|byte| **byte != b':') {
            if is_start {
                byte.make_ascii_uppercase();
            }
            is_start = *byte == b'-';
        }
    }
}

/// The fields of a head for HTTP/2.
pub(super) fn fields_of(head: &impl OutgoingHead) -> HeadFields {
    let (fields, text) = head.size();
    let mut out = HeadFields::with_capacity(fields, text);
    head.write(&mut out);
    out
}

/// Adds a part of a target, with those bytes escaped that some clients send as they are and that backends which speak HTTP/2
/// refuse.
fn add_escaped(text: &[u8], escaped: &[u8], out: &mut HeadFields) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| escaped.contains(byte)) {
        let (before, after) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        let Some((byte, after)) = after.split_first() else {
            break;
        };
        HeadFields::part(out, before);
        HeadFields::part(out, &[b'%', hex(byte >> 4), hex(byte & 15)]);
        rest = after;
    }
    HeadFields::part(out, rest);
}

fn hex(digit: u8) -> u8 {
    match digit {
        0..10 => b'0' + digit,
        _ => b'A' + digit - 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::{FieldName, Span};

    struct Both;

    impl OutgoingHead for Both {
        fn size(&self) -> (usize, usize) {
            (4, 64)
        }

        fn write<W: HeadWriter>(&self, out: &mut W) {
            out.request(&Target {
                method: b"GET",
                is_secure: true,
                authority: b"a",
                path: b"/`x",
                query: Some(b"<y>"),
            });
            out.field(b"X-Key", b"v", true);
            out.begin(name!("Via"));
            out.part(b"1.1 ");
            out.part(b"b");
            out.end();
            out.connection(b"close");
            out.framing(BodyLength::Chunked);
            out.finish();
        }
    }

    #[test]
    fn title_case_changes_names_alone() {
        let mut head = b"GET /a-b HTTP/1.1\r\nHost: a-b\r\ncontent-type: a-b\r\nx-real-ip: a:b-c\r\nETag: x\r\nTE: y\r\n\r\n".to_vec();
        write_in_title_case(&mut head);
        let expected = "GET /a-b HTTP/1.1\r\nHost: a-b\r\nContent-Type: a-b\r\nX-Real-Ip: a:b-c\r\nETag: x\r\nTE: y\r\n\r\n";
        assert_eq!(String::from_utf8(head).unwrap(), expected);
    }

    #[test]
    fn a_received_field_is_written_in_one_form() {
        let bytes = b"a\r\nName: value\r\nName:value\r\nName:\t value\r\nName: \r\nXYName: value";
        let places = [(3, 9, 14), (16, 21, 26), (28, 35, 40), (42, 48, 48), (52, 58, 63)];
        for (start, value_start, end) in places {
            let field = Field {
                id: FieldName::Other,
                name: Span::new(start, start + 4),
                value: Span::new(value_start, end),
                is_secret: false,
            };
            let mut out = Vec::new();
            out.received_field(&field, bytes);
            let value = bytes.get(value_start..end).unwrap_or_default();
            let expected = [&b"\r\nName: "[..], value].concat();
            assert_eq!(out, expected, "{start}");
            assert_eq!(line(&field, bytes).is_some(), [3, 42].contains(&start), "{start}");
        }
    }

    #[test]
    fn one_description_makes_the_head_of_both_protocols() {
        let mut lines = Vec::new();
        Both.write(&mut lines);
        let expected = "GET /`x?<y> HTTP/1.1\r\nHost: a\r\nX-Key: v\r\nVia: 1.1 b\r\nConnection: close\r\n\
                        Transfer-Encoding: chunked\r\n\r\n";
        assert_eq!(String::from_utf8(lines).unwrap(), expected);
        let fields = fields_of(&Both);
        let read: Vec<_> = fields
            .iter()
            .map(|field| (field.name, field.value, field.is_never_indexed))
            .collect();
        let expected: [(&[u8], &[u8], bool); 6] = [
            (b":method", b"GET", false),
            (b":scheme", b"https", false),
            (b":authority", b"a", false),
            (b":path", b"/%60x?%3Cy%3E", false),
            (b"X-Key", b"v", true),
            (b"Via", b"1.1 b", false),
        ];
        assert_eq!(read, expected);
    }
}
