//! Reads a chunked body (RFC 9112 §7.1) from one slice by recursive descent: short, slow, and independent of our
//! decoder.

use evenkeel_wire::http1::Limits;

use super::{is_token, is_value};

/// A body.
#[derive(Debug, Default)]
pub(crate) struct Body {
    /// The chunk data that has arrived.
    pub(crate) payload: Vec<u8>,
    /// How it ended.
    pub(crate) end: End,
}

/// How a body ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum End {
    /// More bytes must follow.
    #[default]
    Missing,
    /// More bytes must follow, and the trailer section so far was not parsed.
    InTrailers,
    /// It breaks the grammar or a limit.
    Broken,
    /// Complete after this many bytes.
    At {
        /// Of all bytes.
        end: usize,
        /// The lines of the trailer section.
        trailers: Vec<u8>,
    },
}

/// Why the reading stopped.
type Stop = End;

/// Reads a body from the front of `bytes`, of a response or of a request.
pub(crate) fn decode(bytes: &[u8], is_response: bool, limits: &Limits) -> Body {
    let mut payload = Vec::new();
    let end = match chunks(bytes, is_response, limits, &mut payload) {
        Ok(end) | Err(end) => end,
    };
    Body { payload, end }
}

fn chunks(bytes: &[u8], is_response: bool, limits: &Limits, payload: &mut Vec<u8>) -> Result<End, Stop> {
    let mut rest = bytes;
    let mut extensions = 0;
    loop {
        let (size, after) = size(rest)?;
        let padding = blanks(after);
        // A server may pad a size to a fixed width; otherwise white space is allowed only before an extension.
        if padding > 16 {
            return Err(End::Broken);
        }
        rest = match &after[padding..] {
            [] => return Err(End::Missing),
            [b';', ..] => extension(after, &mut extensions, limits)?,
            [b'\r', ..] if padding > 0 && is_response => &after[padding..],
            _ => after,
        };
        rest = line_end(rest)?;
        if size == 0 {
            break;
        }
        let length = usize::try_from(size).unwrap_or(usize::MAX).min(rest.len());
        payload.extend_from_slice(&rest[..length]);
        if (length as u64) < size {
            return Err(End::Missing);
        }
        rest = line_end(&rest[length..])?;
    }
    trailers(rest, bytes.len() - rest.len(), limits)
}

fn size(bytes: &[u8]) -> Result<(u64, &[u8]), Stop> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits > 16 {
        return Err(End::Broken);
    }
    if digits == bytes.len() {
        return Err(End::Missing);
    }
    let text = std::str::from_utf8(&bytes[..digits]).unwrap_or_default();
    let size = u64::from_str_radix(text, 16).map_err(|_| End::Broken)?;
    if i64::try_from(size).is_err() {
        return Err(End::Broken);
    }
    Ok((size, &bytes[digits..]))
}

/// `*( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )`
fn extension<'a>(bytes: &'a [u8], total: &mut usize, limits: &Limits) -> Result<&'a [u8], Stop> {
    let mut rest = bytes;
    let mut count = |rest: &'a [u8], length: usize| {
        *total += length;
        if *total > limits.chunk_extensions {
            Err(End::Broken)
        } else {
            Ok(&rest[length..])
        }
    };
    loop {
        let before = blanks(rest);
        match &rest[before..] {
            [] => {
                count(rest, before)?;
                return Err(End::Missing);
            }
            [b';', ..] => rest = count(rest, before + 1)?,
            // White space belongs to what follows it, and a line end is not part of an extension.
            _ => return Ok(rest),
        }
        rest = count(rest, blanks(rest))?;
        let length = token(rest);
        rest = count(rest, length)?;
        let before = blanks(rest);
        match &rest[before..] {
            [] => {
                count(rest, before)?;
                return Err(End::Missing);
            }
            _ if length == 0 => return Err(End::Broken),
            [b'=', ..] => rest = count(rest, before + 1)?,
            _ => continue,
        }
        rest = count(rest, blanks(rest))?;
        if rest.first() == Some(&b'"') {
            let (length, is_closed) = quoted(rest)?;
            rest = count(rest, length)?;
            if is_closed {
                continue;
            }
            return Err(End::Missing);
        }
        let length = token(rest);
        rest = count(rest, length)?;
        if rest.is_empty() {
            return Err(End::Missing);
        }
        if length == 0 {
            return Err(End::Broken);
        }
    }
}

fn blanks(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count()
}

fn token(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| is_token(&[**byte])).count()
}

/// Length of a quoted string, its quotes included, and whether it has ended.
fn quoted(bytes: &[u8]) -> Result<(usize, bool), Stop> {
    let mut is_escaped = false;
    for (at, byte) in bytes.iter().enumerate().skip(1) {
        match byte {
            _ if !is_value(&[b'x', *byte, b'x']) => return Err(End::Broken),
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Ok((at + 1, true)),
            _ => {}
        }
    }
    Ok((bytes.len(), false))
}

fn line_end(bytes: &[u8]) -> Result<&[u8], Stop> {
    match bytes {
        [b'\r', b'\n', rest @ ..] => Ok(rest),
        [] | [b'\r'] => Err(End::Missing),
        _ => Err(End::Broken),
    }
}

/// Header lines until an empty one; `start` is the offset where they begin.
fn trailers(bytes: &[u8], start: usize, limits: &Limits) -> Result<End, Stop> {
    let is_whole = bytes.starts_with(b"\r\n") || bytes.windows(4).any(|end| end == b"\r\n\r\n");
    if !is_whole {
        return Err(End::InTrailers);
    }
    let mut at = 0;
    let mut lines = 0;
    loop {
        let rest = &bytes[at..];
        let Some(length) = rest.windows(2).position(|pair| pair == b"\r\n") else {
            return Err(End::InTrailers);
        };
        let line = &rest[..length];
        at += length + 2;
        if at > limits.trailers || length + 2 > limits.line {
            return Err(End::Broken);
        }
        if line.is_empty() {
            let trailers = bytes[..at - 2].to_vec();
            let end = start + at;
            return Ok(End::At { end, trailers });
        }
        lines += 1;
        let colon = token(line);
        let is_field =
            colon > 0 && line.get(colon) == Some(&b':') && is_value(super::trim(&line[colon + 1..]));
        if !is_field || lines > limits.fields {
            return Err(End::Broken);
        }
    }
}
