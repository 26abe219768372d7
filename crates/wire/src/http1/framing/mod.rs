//! Determines the length of a body (RFC 9112 §6.3). Nothing else reads `Content-Length` and `Transfer-Encoding`.

use super::Malformed;
use super::syntax::TOKEN;
use crate::head::{BodyLength, Method, Version};

/// The fields that determine framing. Each occurred at most once.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Framing<'a> {
    /// The value of `Content-Length`.
    pub(super) content_length: Option<&'a [u8]>,
    /// The value of `Transfer-Encoding`.
    pub(super) transfer_encoding: Option<&'a [u8]>,
}

impl Framing<'_> {
    /// How the body of a request ends. Without either field there is no body; it is never ended by closing the connection.
    pub(super) fn of_request(&self, version: Version) -> Result<BodyLength, Malformed> {
        if self.is_chunked(version)? {
            return Ok(BodyLength::Chunked);
        }
        Ok(self.length()?.map_or(BodyLength::None, BodyLength::Exact))
    }

    /// How the body of a response to the method `asked` ends, and the `Content-Length` if no body of that length follows.
    pub(super) fn of_response(
        &self,
        version: Version,
        status: u16,
        asked: Method,
    ) -> Result<(BodyLength, Option<u64>), Malformed> {
        let is_chunked = self.is_chunked(version)?;
        let length = self.length()?;
        match status {
            // A server must not send `Transfer-Encoding` (RFC 9112 §6.1) or `Content-Length` (RFC 9110 §8.6) here.
            // Both occur in practice, and neither changes the end, which is the empty line (RFC 9112 §6.3 (1)).
            100..=199 | 204 => Ok((BodyLength::None, None)),
            304 => Ok((BodyLength::None, length)),
            _ if asked == Method::Head => Ok((BodyLength::None, length)),
            _ if is_chunked => Ok((BodyLength::Chunked, None)),
            _ => Ok((length.map_or(BodyLength::UntilClose, BodyLength::Exact), None)),
        }
    }

    /// Whether the body is chunked. Anything ambiguous is an error, because the other side may read it differently: a list of
    /// codings, an unknown coding, `Content-Length` in addition, HTTP/1.0.
    fn is_chunked(&self, version: Version) -> Result<bool, Malformed> {
        let Some(coding) = self.transfer_encoding else {
            return Ok(false);
        };
        if version == Version::Http10 {
            return Err(Malformed::UnexpectedTransferEncoding);
        }
        if self.content_length.is_some() {
            return Err(Malformed::LengthConflict);
        }
        if coding.eq_ignore_ascii_case(b"chunked") {
            return Ok(true);
        }
        if !coding.is_empty() && TOKEN.contains_all(coding) {
            return Err(Malformed::UnknownTransferCoding);
        }
        Err(Malformed::BadTransferEncoding)
    }

    fn length(&self) -> Result<Option<u64>, Malformed> {
        self.content_length.map(content_length).transpose()
    }
}

/// Largest length. Recipients that use signed lengths would misread a larger one.
const LENGTH_LIMIT: u64 = i64::MAX as u64;

/// Parses `1*DIGIT` (RFC 9110 §8.6), by the same rule for all protocols. No sign and no list. Leading zeros are allowed, but
/// not forwarded: some recipients read such a number as octal.
///
/// # Errors
/// [`Malformed::BadContentLength`].
pub fn content_length(value: &[u8]) -> Result<u64, Malformed> {
    if value.is_empty() {
        return Err(Malformed::BadContentLength);
    }
    value
        .iter()
        .try_fold(0_u64, |length, byte| {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            length.checked_mul(10)?.checked_add(digit)
        })
        .filter(|length| *length <= LENGTH_LIMIT)
        .ok_or(Malformed::BadContentLength)
}

#[cfg(test)]
mod tests;
