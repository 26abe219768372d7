//! Finds the ends of lines, heads and bodies without the balancer's code. `httparse` splits the head; what it accepts
//! too much of (bare line feeds, more than one empty line) is checked before. Stricter than RFC 9112 requires: anything
//! that two readers could interpret differently is an error.

/// Most headers of a head; the balancer's own limit is lower.
const FIELDS: usize = 256;

/// The fields of a head or of a trailer section, in order, values trimmed.
pub(crate) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// The parse result at the front of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step<M> {
    /// A complete message and its length in bytes.
    Whole(M, usize),
    /// The beginning of a message, with its head if that is complete.
    Partial(Option<M>),
    /// Not a message, with the reason; with its head if that was well-formed.
    Broken(&'static str, Option<M>),
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// No body.
    None,
    /// After this many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection.
    UntilEnd,
}

/// A body, or the part that has arrived.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Body {
    /// Its decoded bytes.
    pub(crate) decoded: Vec<u8>,
    /// Its trailers.
    pub(crate) trailers: Fields,
}

/// Finds the end of a head, empty line included; `None` until it has arrived.
pub(super) fn head_end(bytes: &[u8]) -> Result<Option<usize>, &'static str> {
    let mut line = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'\r' if bytes.get(at + 1).is_some_and(|next| *next != b'\n') => return Err("bare CR"),
            b'\n' if at == 0 || bytes[at - 1] != b'\r' => return Err("bare LF"),
            b'\n' if at == line + 1 => return Ok(Some(at + 1)),
            b'\n' => line = at + 1,
            b' ' | b'\t' if at == line => return Err("a line that begins with white space"),
            b'\r' | b'\t' => {}
            _ if byte.is_ascii_control() => return Err("a control byte"),
            _ => {}
        }
    }
    Ok(None)
}

/// Splits the header lines of a complete section, empty line included.
pub(super) fn fields(section: &[u8]) -> Result<Fields, &'static str> {
    let mut slots = [httparse::EMPTY_HEADER; FIELDS];
    match httparse::parse_headers(section, &mut slots) {
        Ok(httparse::Status::Complete((end, found))) if end == section.len() => Ok(owned(found)),
        _ => Err("not field lines"),
    }
}

/// Copies what `httparse` found.
pub(super) fn owned(found: &[httparse::Header<'_>]) -> Fields {
    let trim = |value: &[u8]| trim(value).to_vec();
    found
        .iter()
        .map(|field| (field.name.as_bytes().to_vec(), trim(field.value)))
        .collect()
}

/// The values of all headers with this name.
pub(crate) fn values<'a>(fields: &'a Fields, name: &str) -> Vec<&'a [u8]> {
    let wanted = fields
        .iter()
        .filter(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()));
    wanted.map(|(_, value)| value.as_slice()).collect()
}

/// The list elements of all headers with this name, in lower case.
pub(crate) fn elements(fields: &Fields, name: &str) -> Vec<Vec<u8>> {
    let lines = values(fields, name);
    let elements = lines.iter().flat_map(|line| line.split(|byte| *byte == b','));
    elements
        .map(|element| trim(element).to_ascii_lowercase())
        .filter(|element| !element.is_empty())
        .collect()
}

/// Without spaces and tabs at both ends.
pub(crate) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The body's framing according to the headers; `None` if they specify none (RFC 9112 §6.3).
pub(super) fn framing(fields: &Fields, version: u8) -> Result<Option<Framing>, &'static str> {
    let lengths = values(fields, "content-length");
    let codings = values(fields, "transfer-encoding");
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(None),
        ([], [_]) if version == 0 => Err("Transfer-Encoding in HTTP/1.0"),
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Some(Framing::Chunked)),
        ([], _) => Err("Transfer-Encoding is not chunked alone"),
        ([length], []) => number(length, 10)
            .map(|length| Some(Framing::Length(length)))
            .ok_or("Content-Length is no number"),
        (_, []) => Err("two Content-Length"),
        _ => Err("Content-Length beside Transfer-Encoding"),
    }
}

/// Digits only, at most the largest signed number.
fn number(digits: &[u8], base: u32) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    let is_plain = !text.is_empty() && text.chars().all(|digit| digit.is_digit(base));
    let value = is_plain.then(|| u64::from_str_radix(text, base).ok())??;
    i64::try_from(value).is_ok().then_some(value)
}

/// Whether chunk sizes may be padded, as some backends do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Padding {
    Refused,
    Allowed,
}

/// Reads the body at the front of `bytes`. `has_ended` is whether no more bytes will come.
pub(super) fn body(bytes: &[u8], framing: Framing, padding: Padding, has_ended: bool) -> Step<Body> {
    let plain = |bytes: &[u8]| Body {
        decoded: bytes.to_vec(),
        trailers: Vec::new(),
    };
    match framing {
        Framing::None => Step::Whole(Body::default(), 0),
        Framing::Length(length) => {
            let whole = usize::try_from(length)
                .ok()
                .and_then(|length| bytes.get(..length));
            whole.map_or_else(
                || Step::Partial(Some(plain(bytes))),
                |body| Step::Whole(plain(body), body.len()),
            )
        }
        Framing::UntilEnd if has_ended => Step::Whole(plain(bytes), bytes.len()),
        Framing::UntilEnd => Step::Partial(Some(plain(bytes))),
        Framing::Chunked => chunks(bytes, padding),
    }
}

fn chunks(bytes: &[u8], padding: Padding) -> Step<Body> {
    let mut body = Body::default();
    let mut at = 0;
    loop {
        let (size, data) = match chunk_line(&bytes[at..], padding) {
            Err(reason) => return Step::Broken(reason, Some(body)),
            Ok(None) => return Step::Partial(Some(body)),
            Ok(Some((size, length))) => (size, at + length),
        };
        if size == 0 {
            return trailers(&bytes[data..], body, data);
        }
        let left = &bytes[data..];
        let Some((payload, rest)) = left.split_at_checked(size) else {
            body.decoded.extend_from_slice(left);
            return Step::Partial(Some(body));
        };
        body.decoded.extend_from_slice(payload);
        match rest {
            [b'\r', b'\n', ..] => at = data + size + 2,
            [] | [b'\r'] => return Step::Partial(Some(body)),
            _ => return Step::Broken("no CRLF after a chunk", Some(body)),
        }
    }
}

fn trailers(section: &[u8], mut body: Body, used: usize) -> Step<Body> {
    match head_end(section) {
        Err(reason) => Step::Broken(reason, Some(body)),
        Ok(None) => Step::Partial(Some(body)),
        Ok(Some(end)) => match fields(&section[..end]) {
            Err(reason) => Step::Broken(reason, Some(body)),
            Ok(trailers) => {
                body.trailers = trailers;
                Step::Whole(body, used + end)
            }
        },
    }
}

/// The size in a chunk line, and the length of the line.
fn chunk_line(bytes: &[u8], padding: Padding) -> Result<Option<(usize, usize)>, &'static str> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        // Longer lines are never sent.
        return if digits > 16 {
            Err("a chunk size out of range")
        } else {
            Ok(None)
        };
    };
    let line = bytes[..end]
        .strip_suffix(b"\r")
        .ok_or("a chunk line without CR")?;
    let (size, extensions) = line.split_at(digits.min(line.len()));
    let size = number(size, 16).ok_or("a chunk size out of range")?;
    let is_text = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
    let is_known = match trim(extensions) {
        [] => extensions.is_empty() || padding == Padding::Allowed,
        [first, ..] => *first == b';' && extensions.iter().all(is_text),
    };
    if !is_known {
        return Err("junk behind a chunk size");
    }
    let size = usize::try_from(size).map_err(|_| "a chunk size out of range")?;
    Ok(Some((size, end + 1)))
}
