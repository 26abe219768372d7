//! The body of a response to a probe over HTTP/1.1, as far as checks look at it.

use tokio::io::AsyncReadExt;

use super::ProbeError;
use crate::net::Stream;

/// Maximum number of bytes of a body that checks look at.
const MAX_BODY: usize = 64 << 10;

/// Maximum number of bytes read of a response: its heads, and its body with the lines of chunks.
const MAX_READ: usize = 4 * MAX_BODY;

/// Reads the body of the response with this final status, of which `bytes` have come. Reads to its end, or as much of it as checks look
/// at. The caller bounds the time.
pub(super) async fn read(
    stream: &mut Stream,
    mut bytes: Vec<u8>,
    status: u16,
) -> Result<Vec<u8>, ProbeError> {
    loop {
        if let Some(body) = body(&bytes, status, End::Open)? {
            return Ok(body);
        }
        if bytes.len() >= MAX_READ {
            return Err(ProbeError::Malformed);
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return body(&bytes, status, End::Closed)?.ok_or(ProbeError::Closed);
        }
    }
}

/// Whether more bytes can follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Closed,
}

/// The body in the bytes of a response, after its interim responses; `None` if more of it has to be read.
fn body(mut bytes: &[u8], status: u16, end: End) -> Result<Option<Vec<u8>>, ProbeError> {
    let head = loop {
        let Some(at) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
            return Ok(None);
        };
        let (head, rest) = bytes.split_at_checked(at + 4).ok_or(ProbeError::Malformed)?;
        bytes = rest;
        // RFC 9112 section 4: the status follows the version, which has 8 bytes.
        if head.get(9..10) != Some(b"1") {
            break head;
        }
    };
    // RFC 9110 section 6.4.1.
    if status == 204 || status == 304 {
        return Ok(Some(Vec::new()));
    }
    if field(head, "transfer-encoding").is_some() {
        return chunked(bytes);
    }
    let length = field(head, "content-length").map(|value| value.parse::<usize>());
    let wanted = length.transpose().map_err(|_| ProbeError::Malformed)?;
    let wanted = wanted.unwrap_or(usize::MAX).min(MAX_BODY);
    let is_whole = bytes.len() >= wanted || end == End::Closed;
    Ok(is_whole.then(|| bytes.get(..wanted).unwrap_or(bytes).to_vec()))
}

/// The value of a header in a head.
fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let mut lines = head.split(|byte| *byte == b'\n');
    lines.find_map(|line| {
        let (found, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The body in chunks (RFC 9112 section 7.1) as far as checks look at it; `None` if more has to be read.
fn chunked(mut bytes: &[u8]) -> Result<Option<Vec<u8>>, ProbeError> {
    let mut body = Vec::new();
    while body.len() < MAX_BODY {
        let Some(at) = memchr::memmem::find(bytes, b"\r\n") else {
            return Ok(None);
        };
        let (line, rest) = bytes.split_at_checked(at).ok_or(ProbeError::Malformed)?;
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let digits = std::str::from_utf8(digits).map_err(|_| ProbeError::Malformed)?;
        let size = usize::from_str_radix(digits.trim(), 16).map_err(|_| ProbeError::Malformed)?;
        if size == 0 {
            break;
        }
        let data = rest.get(2..).unwrap_or_default();
        let Some(chunk) = data.get(..size.min(MAX_BODY)) else {
            return Ok(None);
        };
        body.extend_from_slice(chunk);
        let Some(next) = size.checked_add(2).and_then(|size| data.get(size..)) else {
            return Ok((body.len() >= MAX_BODY).then_some(body));
        };
        bytes = next;
    }
    Ok(Some(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &str, end: End) -> Option<String> {
        let found = body(bytes.as_bytes(), 200, end).unwrap();
        found.map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn a_body_ends_by_its_length_its_last_chunk_or_the_connection() {
        for (bytes, wanted) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
            (
                "HTTP/1.1 103 x\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\nok",
                "ok",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nst\r\n3;a=b\r\natu\r\n0\r\n\r\n",
                "statu",
            ),
        ] {
            assert_eq!(whole(bytes, End::Open).as_deref(), Some(wanted));
            for cut in 0..bytes.len() - 2 {
                assert_eq!(whole(&bytes[..cut], End::Open), None, "{cut}");
            }
        }
        let unbounded = "HTTP/1.0 200 OK\r\n\r\nok";
        assert_eq!(whole(unbounded, End::Open), None);
        assert_eq!(whole(unbounded, End::Closed).as_deref(), Some("ok"));
    }

    #[test]
    fn no_more_of_a_body_is_kept_than_checks_look_at() {
        let long = "x".repeat(MAX_BODY + 9);
        for bytes in [
            format!("HTTP/1.1 200 OK\r\n\r\n{long}"),
            format!("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n{long}"),
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n{long}"),
        ] {
            assert_eq!(whole(&bytes, End::Open).map(|body| body.len()), Some(MAX_BODY));
        }
    }

    #[test]
    fn invalid_framing_is_an_error_and_bodiless_statuses_have_no_body() {
        for fields in ["Content-Length: x", "Transfer-Encoding: chunked\r\n\r\nzz\r\n"] {
            let bytes = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
            assert!(body(bytes.as_bytes(), 200, End::Open).is_err(), "{fields}");
        }
        let empty = body(b"HTTP/1.1 204 x\r\n\r\n", 204, End::Open).unwrap();
        assert_eq!(empty, Some(Vec::new()));
    }
}
