//! Shows what is safe to show of a refused head: method, path and host as far as they could be read, and an excerpt around the
//! fault in which everything that could be a credential is hidden.
//!
//! A list of secret headers would not do, because the head is malformed: a name may be misspelt, a line cut in two or joined to
//! the previous line. So only a few headers that never carry credentials are shown with their values. Other values, queries and
//! anything that is not a header line are replaced by their number of bytes. Control characters are always shown: they may be
//! the fault.

use std::io::Write as _;

use super::Kind;
use super::syntax::{HOST, TOKEN};
use crate::head::FieldName;

/// Bytes that are shown on either side of the fault.
const CONTEXT: usize = 256;

/// Most characters of an excerpt, not counting the last `[N bytes]` and `...`.
const MAX_LENGTH: usize = 1024;

/// The longest method that is recognised.
const METHOD_LENGTH: usize = 64;

/// Headers whose values are shown: they frame or route the message, or name the software that sent it.
const VISIBLE: [&[u8]; 24] = [
    b":method",
    b":protocol",
    b":scheme",
    b":status",
    b"accept",
    b"accept-encoding",
    b"accept-language",
    b"connection",
    b"content-encoding",
    b"content-length",
    b"content-type",
    b"content_length",
    b"date",
    b"expect",
    b"keep-alive",
    b"max-forwards",
    b"server",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"transfer_encoding",
    b"upgrade",
    b"user-agent",
    b"via",
];

/// Words from which on a value is hidden: another header may have been joined to it.
const SUSPICIOUS: [&[u8]; 13] = [
    b"api",
    b"auth",
    b"basic",
    b"bearer",
    b"cookie",
    b"credential",
    b"jwt",
    b"key",
    b"pass",
    b"secret",
    b"session",
    b"sid",
    b"token",
];

/// The parts of a refused request that could be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadSoFar<'a> {
    /// The method, if a target follows it.
    pub method: Option<&'a [u8]>,
    /// The path as received, without the query.
    pub path: Option<&'a [u8]>,
    /// Host and port, without user information.
    pub host: Option<&'a [u8]>,
    /// The version at the end of the request line.
    pub version: Option<&'static str>,
}

impl<'a> ReadSoFar<'a> {
    /// Reads the start of `bytes`. Returns nothing if it is not a request line.
    pub fn of(bytes: &'a [u8]) -> Self {
        let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        let end = bytes.iter().position(u8::is_ascii_control).unwrap_or(bytes.len());
        let (line, rest) = bytes.split_at_checked(end).unwrap_or_default();
        let Some((method, target)) = method_and_target(line) else {
            return Self::default();
        };
        let target = Self::of_target(target);
        Self {
            method: Some(method),
            path: target.path,
            host: target.host.or_else(|| host_of(rest)),
            version: [("HTTP/1.1", " HTTP/1.1"), ("HTTP/1.0", " HTTP/1.0")]
                .into_iter()
                .find(|(_, end)| line.ends_with(end.as_bytes()))
                .map(|(version, _)| version),
        }
    }

    /// Reads the path of a target, and its host if it has one.
    pub fn of_target(target: &'a [u8]) -> Self {
        let is_end = |byte: &u8| matches!(byte, b'?' | b'#' | b' ') || byte.is_ascii_control();
        let end = target.iter().position(is_end).unwrap_or(target.len());
        let target = target.get(..end).unwrap_or(target);
        let (host, path) = match memchr::memmem::find(target, b"://").filter(|_| !target.starts_with(b"/")) {
            Some(scheme) => {
                let rest = target.get(scheme + 3..).unwrap_or_default();
                let slash = memchr::memchr(b'/', rest).unwrap_or(rest.len());
                let (authority, path) = rest.split_at_checked(slash).unwrap_or_default();
                (host_in(authority), path)
            }
            None => (None, target),
        };
        Self {
            path: (!path.is_empty()).then_some(path),
            host,
            ..Self::default()
        }
    }
}

/// Splits method and target. Anything else may be the rest of a body that was read as a request.
fn method_and_target(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (method, rest) = line.split_at_checked(TOKEN.prefix(line))?;
    let target = rest.strip_prefix(b" ")?;
    let is_target = match target {
        [] => method.iter().all(u8::is_ascii_uppercase),
        [b'/' | b'*', ..] => true,
        _ => target
            .get(..4)
            .is_some_and(|front| front.eq_ignore_ascii_case(b"http")),
    };
    (is_target && (1..=METHOD_LENGTH).contains(&method.len())).then_some((method, target))
}

/// The value of the first `Host` in `lines`.
fn host_of(lines: &[u8]) -> Option<&[u8]> {
    let mut lines = lines.split(|byte| matches!(byte, b'\r' | b'\n'));
    let value = lines.find_map(|line| {
        let (name, value) = line.split_at_checked(TOKEN.prefix(line))?;
        let value = value.trim_ascii_start().strip_prefix(b":")?;
        (FieldName::recognise(name) == FieldName::Host).then_some(value)
    });
    host_in(value?.trim_ascii())
}

/// Host and port at the start of an authority, without user information, which may contain a password.
fn host_in(authority: &[u8]) -> Option<&[u8]> {
    let start = memchr::memrchr(b'@', authority).map_or(0, |at| at + 1);
    let host = authority.get(start..)?;
    let is_of_address = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.' | b'[' | b']');
    let name = match host.first() {
        Some(b'[') => host.iter().take_while(|byte| is_of_address(byte)).count(),
        _ => HOST.prefix(host),
    };
    let is_of_port = |(at, byte): &(usize, &u8)| {
        if *at == 0 {
            **byte == b':'
        } else {
            byte.is_ascii_digit()
        }
    };
    let port = host.iter().skip(name).enumerate().take_while(is_of_port).count();
    host.get(..name + port).filter(|host| !host.is_empty())
}

/// Appends the bytes of a head around `at`, escaped to printable ASCII. A hidden part is shown as `[N bytes]`.
pub fn excerpt(bytes: &[u8], at: usize, kind: Kind, out: &mut String) {
    let from = at.saturating_sub(CONTEXT).min(bytes.len());
    let to = at.saturating_add(CONTEXT).min(bytes.len());
    let before = bytes.get(..from).unwrap_or_default();
    let mut start = before.iter().rposition(is_line_end).map_or(0, |end| end + 1);
    let mut writer = ExcerptWriter {
        out: Vec::with_capacity(MAX_LENGTH / 2),
        hidden: 0,
        window: from..to,
        at: start,
    };
    let is_request = kind == Kind::Request;
    let first = if is_request && bytes.starts_with(b"\r\n") {
        2
    } else {
        0
    };
    if from > 0 {
        writer.out.extend_from_slice(b"...");
    }
    while let Some(rest) = bytes.get(start..to).filter(|rest| !rest.is_empty()) {
        // Any control character ends a line: what follows it does not belong to the header before it.
        let end = rest
            .iter()
            .position(|byte| byte.is_ascii_control() && *byte != b'\t');
        let line = rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest);
        match start == first && kind != Kind::Trailers {
            true => writer.start_line(line, is_request),
            false => writer.line(line),
        }
        if let Some(end) = end {
            writer.show(rest.get(end..=end).unwrap_or_default());
            start += end + 1;
        } else {
            start = to;
        }
    }
    writer.flush();
    if to < bytes.len() {
        writer.out.extend_from_slice(b"...");
    }
    out.push_str(&String::from_utf8_lossy(&writer.out));
}

/// Appends the invalid byte of chunked framing. What follows is hidden, because it may be payload.
pub fn framing_excerpt(input: &[u8], at: usize, out: &mut String) {
    let to = at.saturating_add(CONTEXT).min(input.len());
    let Some((byte, rest)) = input.get(at..to).and_then(<[u8]>::split_first) else {
        return;
    };
    let mut writer = ExcerptWriter {
        out: Vec::new(),
        hidden: 0,
        window: 0..CONTEXT,
        at: 0,
    };
    writer.show(std::slice::from_ref(byte));
    writer.hide(rest);
    writer.flush();
    out.push_str(&String::from_utf8_lossy(&writer.out));
}

fn is_line_end(byte: &u8) -> bool {
    byte.is_ascii_control() && *byte != b'\t'
}

/// Writes an excerpt: the bytes within the window, hidden or shown.
struct ExcerptWriter {
    out: Vec<u8>,
    hidden: usize,
    window: std::ops::Range<usize>,
    /// Offset of the next byte.
    at: usize,
}

impl ExcerptWriter {
    fn start_line(&mut self, line: &[u8], is_request: bool) {
        const STATUS: usize = b"HTTP/1.1 200".len();
        if !is_request && line.starts_with(b"HTTP/") {
            let (status, reason) = line.split_at_checked(STATUS).unwrap_or((line, &[]));
            self.show(status);
            return self.hide(reason);
        }
        let Some((method, target)) = method_and_target(line).filter(|_| is_request) else {
            return self.line(line);
        };
        self.show(method);
        self.show(b" ");
        self.target(target);
    }

    /// Writes a target and what follows it: scheme, host, path and version are shown.
    fn target(&mut self, target: &[u8]) {
        let is_secret = |byte: &u8| matches!(byte, b'?' | b'#');
        let end = target.iter().position(is_secret).unwrap_or(target.len());
        // User information is hidden.
        let start = target
            .get(..end)
            .and_then(|front| memchr::memrchr(b'@', front))
            .unwrap_or(0);
        let version = version_at_end(target).max(end);
        self.hide(target.get(..start).unwrap_or_default());
        self.value(target.get(start..end).unwrap_or_default());
        self.hide(target.get(end..version).unwrap_or_default());
        self.show(target.get(version..).unwrap_or_default());
    }

    /// Writes a header line: shows the name, and the value if the header is in the list. The rest is hidden, except leading
    /// blanks.
    fn line(&mut self, line: &[u8]) {
        let pseudo = usize::from(line.first() == Some(&b':'));
        let name = pseudo + TOKEN.prefix(line.get(pseudo..).unwrap_or_default());
        let rest = line.get(name..).unwrap_or_default();
        let blanks = rest.len() - rest.trim_ascii_start().len();
        let has_colon = name > pseudo && rest.get(blanks) == Some(&b':');
        let shown = if has_colon {
            name + blanks + 1
        } else {
            line.len() - line.trim_ascii_start().len()
        };
        self.show(line.get(..shown).unwrap_or_default());
        let value = line.get(shown..).unwrap_or_default();
        let name = line.get(..name).unwrap_or_default();
        let is = |open: &&[u8]| open.eq_ignore_ascii_case(name);
        if has_colon && name == b":path" {
            let blanks = value.len() - value.trim_ascii_start().len();
            self.show(value.get(..blanks).unwrap_or_default());
            self.target(value.trim_ascii_start());
        } else if has_colon && matches!(FieldName::recognise(name), FieldName::Host) || name == b":authority"
        {
            self.host(value);
        } else if has_colon && VISIBLE.iter().any(is) {
            let end = value.iter().position(|byte| matches!(byte, b':' | b'='));
            let (open, hidden) = value
                .split_at_checked(end.unwrap_or(value.len()))
                .unwrap_or_default();
            self.value(open);
            self.hide(hidden);
        } else {
            self.hide(value);
        }
    }

    /// Shows the host at the start of a value.
    fn host(&mut self, value: &[u8]) {
        let blanks = value.len() - value.trim_ascii_start().len();
        let host = value.get(blanks..).unwrap_or_default();
        let is_secret = memchr::memchr(b'@', host).is_some();
        let length = host_in(host).filter(|_| !is_secret).map_or(0, <[u8]>::len);
        let (open, hidden) = value.split_at_checked(blanks + length).unwrap_or_default();
        self.show(open);
        self.hide(hidden);
    }

    /// Shows a value up to a suspicious word.
    fn value(&mut self, value: &[u8]) {
        let lower = value.to_ascii_lowercase();
        let found = SUSPICIOUS
            .iter()
            .filter_map(|word| memchr::memmem::find(&lower, word))
            .min();
        let (open, hidden) = value
            .split_at_checked(found.unwrap_or(value.len()))
            .unwrap_or_default();
        self.show(open);
        self.hide(hidden);
    }

    fn show(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.advance() {
                self.flush();
                match byte {
                    b'\r' => self.out.extend_from_slice(br"\r"),
                    b'\n' => self.out.extend_from_slice(br"\n"),
                    b'\t' => self.out.extend_from_slice(br"\t"),
                    b'\\' => self.out.extend_from_slice(br"\\"),
                    b' '..=b'~' => self.out.push(*byte),
                    // Writing to a `Vec` cannot fail.
                    _ => drop(write!(self.out, "\\x{byte:02x}")),
                }
            }
        }
    }

    fn hide(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if byte.is_ascii_control() || *byte == b' ' && self.hidden == 0 {
                self.show(std::slice::from_ref(byte));
            } else if self.advance() {
                self.hidden += 1;
            }
        }
    }

    /// Moves on by one byte; returns whether that byte is within the window.
    fn advance(&mut self) -> bool {
        let is_shown = self.window.contains(&self.at) && self.out.len() < MAX_LENGTH;
        self.at += 1;
        is_shown
    }

    /// Writes how many bytes were hidden.
    fn flush(&mut self) {
        let hidden = std::mem::take(&mut self.hidden);
        if hidden > 0 {
            // Writing to a `Vec` cannot fail.
            drop(write!(self.out, "[{hidden} bytes]"));
        }
    }
}

/// Offset of the version at the end of a request line, including the space before it.
fn version_at_end(line: &[u8]) -> usize {
    let start = line.len().saturating_sub(b" HTTP/1.1".len());
    match line.get(start..) {
        Some([b' ', b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9']) => start,
        _ => line.len(),
    }
}

#[cfg(test)]
mod tests;
