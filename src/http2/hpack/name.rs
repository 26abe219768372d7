//! What is known of a field by its name, and what is wrong with it.

use http::uri::PathAndQuery;

use crate::head::FieldName;
use crate::http1::{Malformed, check_authority, check_method};
use crate::http2::head::{check_value, decimal};

/// Entries of the static table (RFC 7541, appendix A).
pub(super) const STATIC: usize = 61;

/// Lengths of their names, and of their values where they have one.
#[rustfmt::skip]
static LENGTHS: [(u8, u8); STATIC] = [
    (10, 0), (7, 3), (7, 4), (5, 1), (5, 11), (7, 4), (7, 5), (7, 3), (7, 3), (7, 3),
    (7, 3), (7, 3), (7, 3), (7, 3), (14, 0), (15, 13), (15, 0), (13, 0), (6, 0), (27, 0),
    (3, 0), (5, 0), (13, 0), (13, 0), (19, 0), (16, 0), (16, 0), (14, 0), (16, 0), (13, 0),
    (12, 0), (6, 0), (4, 0), (4, 0), (6, 0), (7, 0), (4, 0), (4, 0), (8, 0), (17, 0),
    (13, 0), (8, 0), (19, 0), (13, 0), (4, 0), (8, 0), (12, 0), (18, 0), (19, 0), (5, 0),
    (7, 0), (7, 0), (11, 0), (6, 0), (10, 0), (25, 0), (17, 0), (10, 0), (4, 0), (3, 0),
    (16, 0),
];

/// A name that something depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Authority,
    Method,
    Path,
    Scheme,
    Protocol,
    Status,
    ContentLength,
    Host,
    Te,
    Other,
}

/// A name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    pub(super) kind: Kind,
    pub(super) length: usize,
    pub(super) flaw: Option<Malformed>,
}

/// A value.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Value {
    pub(super) flaw: Option<Malformed>,
    /// The number that a length is.
    pub(super) number: u64,
    /// Whether it is the method `CONNECT`.
    pub(super) is_connect: bool,
}

impl Kind {
    /// Whether it is one that says what a field cannot (RFC 9113 §8.3).
    pub(super) fn is_pseudo(self) -> bool {
        self.bit() != 0
    }

    /// Its bit in a set of pseudo fields; none for others.
    pub(super) fn bit(self) -> u8 {
        match self {
            Self::Authority => 1,
            Self::Method => 2,
            Self::Path => 4,
            Self::Scheme => 8,
            Self::Protocol => 16,
            Self::Status => 32,
            Self::ContentLength | Self::Host | Self::Te | Self::Other => 0,
        }
    }
}

/// Name and value of an entry of the static table, and the length of the value.
pub(super) fn of_static(index: usize) -> Option<(Name, Value, usize)> {
    let (length, value) = LENGTHS.get(index.checked_sub(1)?)?;
    let (kind, flaw) = match index {
        1 => (Kind::Authority, None),
        2 | 3 => (Kind::Method, None),
        4 | 5 => (Kind::Path, None),
        6 | 7 => (Kind::Scheme, None),
        8..=14 => (Kind::Status, None),
        28 => (Kind::ContentLength, None),
        38 => (Kind::Host, None),
        57 => (Kind::Other, Some(Malformed::BadConnection)),
        _ => (Kind::Other, None),
    };
    let name = Name {
        kind,
        length: usize::from(*length),
        flaw,
    };
    let is_empty = *value == 0;
    let judged = if is_empty {
        self::value(kind, b"")
    } else {
        Value::default()
    };
    Some((name, judged, usize::from(*value)))
}

/// What a name is.
pub(super) fn of(name: &[u8]) -> Name {
    let (kind, flaw) = match name {
        b":authority" => (Kind::Authority, None),
        b":method" => (Kind::Method, None),
        b":path" => (Kind::Path, None),
        b":scheme" => (Kind::Scheme, None),
        b":protocol" => (Kind::Protocol, None),
        b":status" => (Kind::Status, None),
        name if name.is_empty() || !name.iter().all(is_of_name) => {
            (Kind::Other, Some(Malformed::BadFieldName))
        }
        name => match FieldName::recognise(name) {
            FieldName::ContentLength => (Kind::ContentLength, None),
            FieldName::Host => (Kind::Host, None),
            FieldName::Te => (Kind::Te, None),
            // RFC 9113 §8.2.2.
            id if id.is_hop_by_hop() && id != FieldName::Trailer => {
                (Kind::Other, Some(Malformed::BadConnection))
            }
            _ => (Kind::Other, None),
        },
    };
    Name {
        kind,
        length: name.len(),
        flaw,
    }
}

/// RFC 9113 §8.2.1: a token without letters in upper case.
fn is_of_name(byte: &u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// What the value of a field of this kind is.
pub(super) fn value(kind: Kind, text: &[u8]) -> Value {
    let mut value = Value::default();
    let result = match kind {
        Kind::Authority | Kind::Host => check_authority(text),
        Kind::Method => {
            value.is_connect = text == b"CONNECT";
            check_method(text)
        }
        Kind::Protocol => check_method(text),
        Kind::Path => check_path(text),
        Kind::Scheme => check_scheme(text),
        Kind::Te if text != b"trailers" => Err(Malformed::BadConnection),
        Kind::ContentLength => decimal(text).map(|number| value.number = number),
        Kind::Status | Kind::Te | Kind::Other => check_value(text),
    };
    value.flaw = result.err();
    value
}

/// No fragment, which the `http` crate takes off without a word, and nothing that it refuses.
fn check_path(text: &[u8]) -> Result<(), Malformed> {
    let is_path = !text.contains(&b'#') && PathAndQuery::try_from(text).is_ok();
    is_path.then_some(()).ok_or(Malformed::BadTarget)
}

/// RFC 3986 §3.1.
fn check_scheme(text: &[u8]) -> Result<(), Malformed> {
    let is_scheme = text.first().is_some_and(u8::is_ascii_alphabetic)
        && text.len() <= 64
        && text
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
    is_scheme.then_some(()).ok_or(Malformed::BadTarget)
}
