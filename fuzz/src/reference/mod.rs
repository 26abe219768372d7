//! HTTP/1 parsers that are as simple as possible and share no code with ours: the reference for comparison.

pub(crate) mod chunked;

mod message;
mod target;

pub(crate) use message::{Fields, Request, Response, options, stays_open, values};
pub(crate) use target::Target;

/// More headers than any limit allows.
const FIELDS: usize = 128;

/// Room for the headers of one head.
pub(crate) fn slots<'a>() -> [httparse::Header<'a>; FIELDS] {
    [httparse::EMPTY_HEADER; FIELDS]
}

/// RFC 9110 §5.6.2.
pub(crate) fn is_token(text: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_tchar)
}

/// RFC 9110 §5.5: no control byte but the tab, no white space at either end.
pub(crate) fn is_value(text: &[u8]) -> bool {
    text == trim(text) && text.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control())
}

/// The text without spaces and tabs at its ends.
pub(crate) fn trim(text: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = text.iter().position(|byte| !is_space(byte)).unwrap_or(text.len());
    let end = text
        .iter()
        .rposition(|byte| !is_space(byte))
        .map_or(start, |at| at + 1);
    &text[start..end]
}
