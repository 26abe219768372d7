//! The response side: what compression depends on in a response, and what it changes in its headers.

use evenkeel_wire::coding::{ContentCoding, is_digest};
use evenkeel_wire::head::{BodyLength, ResponseHead, list};

use crate::policy::Edit;

/// What compression depends on in the head of a response, as it is about to be sent.
#[derive(Debug, Default)]
pub struct ResponseFacts<'a> {
    pub(super) status: u16,
    /// Length of the body, or of the one that a response without a body announces; `None` if unknown.
    pub(super) length: Option<u64>,
    pub(super) content_type: Option<&'a [u8]>,
    /// Whether the bytes of the body must stay as they are.
    pub(super) is_fixed: bool,
    etag: Option<&'a [u8]>,
    /// The lines of `Vary`.
    vary: Vec<&'a [u8]>,
    /// Names of headers that are wrong once the body is compressed.
    wrong: Vec<&'a [u8]>,
}

/// What becomes of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It cannot be compressed for anybody.
    Untouched,
    /// It is sent as it is, but other clients get it compressed, which caches have to know.
    Varies,
    /// It has no body, but a response with one would be compressed for this client: nothing may be said about that body that does not
    /// hold then.
    HeadOnly,
    /// Its body is compressed.
    Encoded(ContentCoding),
}

impl<'a> ResponseFacts<'a> {
    /// The facts of a received response, whose head was parsed from `bytes`, with these changes of its headers.
    pub fn of(head: &'a ResponseHead, bytes: &'a [u8], edits: &'a [Edit]) -> Self {
        let length = match head.body {
            BodyLength::Exact(length) => Some(length),
            BodyLength::None => head.announced_length,
            BodyLength::Chunked | BodyLength::UntilClose => None,
        };
        let mut facts = Self {
            status: head.status,
            length,
            ..Self::default()
        };
        let is_removed = |name: &[u8]| {
            let mut edits = edits.iter();
            edits.any(|edit| edit.removes() && name.eq_ignore_ascii_case(edit.name().as_bytes()))
        };
        for field in &head.fields {
            let name = field.name.of(bytes);
            if !is_removed(name) && !head.connection_names(bytes, name) {
                facts.see(name, field.value.of(bytes));
            }
        }
        for (index, edit) in edits.iter().enumerate() {
            let later = edits.get(index + 1..).unwrap_or_default();
            let is_last = !later
                .iter()
                .any(|other| other.removes() && other.name().eq_ignore_ascii_case(edit.name()));
            if let Some(value) = edit.value().filter(|_| is_last) {
                facts.see(edit.name().as_bytes(), value);
            }
        }
        facts
    }

    /// The facts of a response of our own, with these headers and a body of this length.
    pub fn local(status: u16, length: usize, headers: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut facts = Self {
            status,
            length: Some(length as u64),
            ..Self::default()
        };
        headers.for_each(|(name, value)| facts.see(name, value));
        facts
    }

    fn see(&mut self, name: &'a [u8], value: &'a [u8]) {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        if is(b"content-type") {
            // Of two types nobody knows which one holds.
            self.is_fixed |= self.content_type.replace(value).is_some();
        } else if is(b"content-encoding") {
            let mut codings = list::elements(value);
            self.is_fixed |= codings.any(|coding| !coding.eq_ignore_ascii_case(b"identity"));
        } else if is(b"content-range") {
            self.is_fixed = true;
        } else if is(b"cache-control") {
            self.is_fixed |= forbids_transform(value);
        } else if is(b"etag") {
            self.etag = Some(value);
        } else if is(b"vary") {
            self.vary.push(value);
        } else if is(b"accept-ranges") || is_digest(name) {
            self.wrong.push(name);
        }
    }
}

impl Outcome {
    /// The coding, if the body is compressed.
    pub fn coding(self) -> Option<ContentCoding> {
        match self {
            Self::Encoded(coding) => Some(coding),
            Self::Untouched | Self::Varies | Self::HeadOnly => None,
        }
    }

    /// Whether the length that the backend has announced is not that of the response to the client: neither is sent nor announced.
    pub fn hides_length(self) -> bool {
        matches!(self, Self::HeadOnly | Self::Encoded(_))
    }

    /// The changes of the response's headers, beside those that the facts are about, and to be made after them.
    pub fn edits(self, response: &ResponseFacts<'_>) -> Vec<Edit> {
        let mut edits = Vec::new();
        if self == Self::Untouched {
            return edits;
        }
        edits.extend(vary(&response.vary));
        if !self.hides_length() {
            return edits;
        }
        edits.extend(response.etag.and_then(weakened));
        for name in &response.wrong {
            edits.push(Edit::Remove(String::from_utf8_lossy(name).into()));
        }
        if let Self::Encoded(coding) = self {
            edits.push(Edit::Set(
                "Content-Encoding".into(),
                coding.name().as_bytes().into(),
            ));
        }
        edits
    }
}

/// Whether a line of `Cache-Control` has `no-transform` (RFC 9111 §5.2.2.6). One within a quoted string counts as well, because
/// leaving a body as it is breaks nothing.
pub(super) fn forbids_transform(line: &[u8]) -> bool {
    list::elements(line).any(|directive| {
        let end = memchr::memchr(b'=', directive).unwrap_or(directive.len());
        let name = directive.get(..end).unwrap_or_default();
        list::trim(name).eq_ignore_ascii_case(b"no-transform")
    })
}

/// `Vary` in one line, with `Accept-Encoding`; `None` if it says so already.
fn vary(lines: &[&[u8]]) -> Option<Edit> {
    let mut names = lines.iter().flat_map(|line| list::elements(line));
    if names.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding")) {
        return None;
    }
    let mut value = Vec::new();
    for name in lines.iter().flat_map(|line| list::elements(line)) {
        value.extend_from_slice(name);
        value.extend_from_slice(b", ");
    }
    value.extend_from_slice(b"Accept-Encoding");
    Some(Edit::Set("Vary".into(), value.into()))
}

/// What becomes of an `ETag`: it stands for the same content, but not for the same bytes (RFC 9110 §8.8.1). One that is not quoted
/// is none.
fn weakened(etag: &[u8]) -> Option<Edit> {
    match etag {
        [b'W', b'/', b'"', ..] => None,
        [b'"', ..] => Some(Edit::Set("ETag".into(), [b"W/", etag].concat().into())),
        _ => Some(Edit::Remove("ETag".into())),
    }
}
