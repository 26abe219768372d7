//! Reads whole messages, as strictly as RFC 9112 allows, tokenised by `httparse`. Ambiguous messages are not read.

use evenkeel_wire::http1::Limits;

use super::chunked::{End, decode};
use super::{Target, is_token, is_value, slots, trim};

/// Headers, names in lower case.
pub(crate) type Fields = Vec<(String, Vec<u8>)>;

/// A body, or the part that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Body {
    /// The decoded bytes.
    pub(crate) payload: Vec<u8>,
    /// Whether it is complete.
    pub(crate) is_whole: bool,
    /// Bytes on the wire.
    pub(crate) length: usize,
}

/// A request.
#[derive(Debug)]
pub(crate) struct Request {
    /// As received.
    pub(crate) method: String,
    /// The target, dot segments resolved.
    pub(crate) target: Target,
    /// Whether it is HTTP/1.1.
    pub(crate) is_11: bool,
    /// In order.
    pub(crate) fields: Fields,
    /// The body.
    pub(crate) body: Body,
    /// Bytes on the wire, the body included.
    pub(crate) length: usize,
    /// Whether another request may follow it.
    pub(crate) may_be_followed: bool,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Response {
    /// 100 to 599.
    pub(crate) status: u16,
    /// In order.
    pub(crate) fields: Fields,
    /// The body.
    pub(crate) body: Body,
    /// Bytes on the wire, the body included.
    pub(crate) length: usize,
}

/// How the end of a body is found.
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

impl Request {
    /// The request at the front of `bytes`; `None` if its head is incomplete or ambiguous.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let skipped = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
        let bytes = &bytes[skipped..];
        if !bytes.first()?.is_ascii_graphic() {
            return None;
        }
        let mut slots = slots();
        let mut head = httparse::Request::new(&mut slots);
        let httparse::Status::Complete(end) = head.parse(bytes).ok()? else {
            return None;
        };
        has_clean_lines(&bytes[..end]).then_some(())?;
        let fields = fields(head.headers)?;
        let is_11 = head.version? == 1;
        let framing = framing(&fields, is_11)?.unwrap_or(Framing::Length(0));
        let body = body(&bytes[end..], &framing, false, false);
        let method = head.method?.to_owned();
        let target = Target::read(head.path?, &method);
        let is_upgrade = options(&fields).any(|option| option == b"upgrade");
        let is_websocket = values(&fields, "upgrade").any(|value| value.eq_ignore_ascii_case(b"websocket"));
        Some(Self {
            target,
            is_11,
            length: skipped + end + body.length,
            may_be_followed: body.is_whole
                && stays_open(&fields, is_11)
                && !(is_upgrade && is_websocket && method == "GET" && is_11),
            method,
            fields,
            body,
        })
    }

    /// All requests on a connection; the last one may lack part of its body.
    pub(crate) fn read_all(bytes: &[u8]) -> Vec<Self> {
        let mut rest = bytes;
        let mut found: Vec<Self> = Vec::new();
        while let Some(request) = Self::read(rest) {
            rest = &rest[request.length..];
            let is_last = !request.may_be_followed;
            found.push(request);
            if is_last {
                break;
            }
        }
        found
    }
}

impl Response {
    /// The response at the front of `bytes`, including interim ones; `has_ended` is whether the stream ended cleanly
    /// after them.
    pub(crate) fn read(bytes: &[u8], is_to_head: bool, has_ended: bool) -> Option<Self> {
        let mut slots = slots();
        let mut head = httparse::Response::new(&mut slots);
        let httparse::Status::Complete(end) = head.parse(bytes).ok()? else {
            return None;
        };
        has_clean_lines(&bytes[..end]).then_some(())?;
        let fields = fields(head.headers)?;
        let status = head.code?;
        let has_none = status < 200 || matches!(status, 204 | 304) || is_to_head;
        let framing = match framing(&fields, head.version? == 1)? {
            _ if has_none => Framing::Length(0),
            framing => framing.unwrap_or(Framing::UntilClose),
        };
        let body = body(&bytes[end..], &framing, true, has_ended);
        Some(Self {
            status,
            fields,
            length: end + body.length,
            body,
        })
    }

    /// The final response at the front of `bytes`, with everything before it.
    pub(crate) fn read_final(bytes: &[u8], is_to_head: bool, has_ended: bool) -> Option<Self> {
        let mut before = 0;
        loop {
            let mut response = Self::read(&bytes[before..], is_to_head, has_ended)?;
            before += response.length;
            if response.status >= 200 || response.status == 101 {
                response.length = before;
                return Some(response);
            }
        }
    }
}

/// The values of all lines with this name.
pub(crate) fn values<'a>(fields: &'a Fields, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let is_meant = move |field: &&(String, Vec<u8>)| field.0 == name;
    fields.iter().filter(is_meant).map(|(_, value)| value.as_slice())
}

/// The options of `Connection`, in lower case.
pub(crate) fn options(fields: &Fields) -> impl Iterator<Item = Vec<u8>> {
    values(fields, "connection")
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(|option| trim(option).to_ascii_lowercase())
}

/// Every line feed has its carriage return, and the reverse.
fn has_clean_lines(bytes: &[u8]) -> bool {
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let is_line =
        |line: &&[u8]| line.ends_with(b"\r") && line.iter().filter(|byte| **byte == b'\r').count() == 1;
    lines.pop() == Some(b"") && lines.iter().all(is_line)
}

fn fields(headers: &[httparse::Header<'_>]) -> Option<Fields> {
    let field = |header: &httparse::Header<'_>| {
        let is_clean = is_token(header.name.as_bytes()) && is_value(header.value);
        is_clean.then(|| (header.name.to_ascii_lowercase(), header.value.to_vec()))
    };
    headers.iter().map(field).collect()
}

/// The framing, `Some(None)` if no header specifies it; `None` if it is ambiguous.
fn framing(fields: &Fields, is_11: bool) -> Option<Option<Framing>> {
    let lengths: Vec<_> = values(fields, "content-length").collect();
    let codings: Vec<_> = values(fields, "transfer-encoding").collect();
    match (&lengths[..], &codings[..]) {
        ([], []) => Some(None),
        ([], [coding]) if is_11 && coding.eq_ignore_ascii_case(b"chunked") => Some(Some(Framing::Chunked)),
        ([length], []) if length.iter().all(u8::is_ascii_digit) => {
            let length: u64 = std::str::from_utf8(length).ok()?.parse().ok()?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            Some(Some(Framing::Length(length)))
        }
        _ => None,
    }
}

fn body(bytes: &[u8], framing: &Framing, is_response: bool, has_ended: bool) -> Body {
    match framing {
        Framing::Length(length) => {
            let there = (*length).min(bytes.len());
            Body {
                payload: bytes[..there].to_vec(),
                is_whole: there == *length,
                length: there,
            }
        }
        Framing::UntilClose => Body {
            payload: bytes.to_vec(),
            is_whole: has_ended,
            length: bytes.len(),
        },
        Framing::Chunked => {
            let decoded = decode(bytes, is_response, &Limits::default());
            let length = match decoded.end {
                End::At { end, .. } => Some(end),
                _ => None,
            };
            Body {
                payload: decoded.payload,
                is_whole: length.is_some(),
                length: length.unwrap_or(bytes.len()),
            }
        }
    }
}

/// Whether another message may follow one with these headers.
pub(crate) fn stays_open(fields: &Fields, is_11: bool) -> bool {
    let has = |wanted: &[u8]| options(fields).any(|option| option == wanted);
    !has(b"close") && (is_11 || has(b"keep-alive"))
}
