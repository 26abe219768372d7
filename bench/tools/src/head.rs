//! Reads the parts of a head that determine the end of its message.

use memchr::memmem;

/// The parsed head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head<'a> {
    /// The start line, without its line end.
    pub start: &'a [u8],
    /// Length of the head with the empty line, in bytes.
    pub length: usize,
    /// Content-Length, or 0.
    pub body: u64,
    /// Whether the body has another framing, which these tools do not support.
    pub encoded: bool,
    /// Whether the connection ends with this message.
    pub close: bool,
}

impl Head<'_> {
    /// The status of a response, or 0.
    pub fn status(&self) -> u16 {
        let digits = self.start.get(9..12).unwrap_or_default();
        digits.iter().fold(0, |sum, digit| {
            sum * 10 + u16::from(digit.wrapping_sub(b'0').min(9))
        })
    }

    /// The target of a request, or empty.
    pub fn target(&self) -> &[u8] {
        self.start.split(|byte| *byte == b' ').nth(1).unwrap_or_default()
    }
}

/// Reads the head at the front of `bytes`; `None` if it is incomplete.
pub fn read(bytes: &[u8]) -> Option<Head<'_>> {
    let end = memmem::find(bytes, b"\r\n\r\n")?;
    let mut lines = memchr::memchr_iter(b'\n', &bytes[..end + 2]);
    let mut from = lines.next()? + 1;
    let mut head = Head {
        start: bytes[..from].trim_ascii_end(),
        length: end + 4,
        ..Head::default()
    };
    for line_end in lines {
        field(&mut head, &bytes[from..line_end]);
        from = line_end + 1;
    }
    Some(head)
}

fn field(head: &mut Head<'_>, line: &[u8]) {
    let Some(colon) = memchr::memchr(b':', line) else {
        return;
    };
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if name.eq_ignore_ascii_case(b"content-length") {
        head.body = number(value).unwrap_or_default();
    } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
        head.encoded = true;
    } else if name.eq_ignore_ascii_case(b"connection") {
        head.close |= value.eq_ignore_ascii_case(b"close");
    }
}

/// A decimal number without other bytes.
pub fn number(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_ends_a_message() {
        let head =
            read(b"HTTP/1.1 404 No\r\nA: b\r\ncontent-length: 12\r\nConnection: Close\r\n\r\nrest").unwrap();
        assert_eq!(head.start, b"HTTP/1.1 404 No");
        assert_eq!((head.status(), head.body, head.length), (404, 12, 64));
        assert!(head.close && !head.encoded);
    }

    #[test]
    fn reads_a_target() {
        let head = read(b"GET /bytes/5 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        assert_eq!(head.target(), b"/bytes/5");
        assert!(head.encoded && !head.close);
    }

    #[test]
    fn waits_for_the_whole_head() {
        assert_eq!(read(b"GET / HTTP/1.1\r\nHost: x\r\n"), None);
    }

    #[test]
    fn a_head_may_have_no_fields() {
        assert_eq!(read(b"GET / HTTP/1.1\r\n\r\n").map(|head| head.length), Some(18));
    }
}
