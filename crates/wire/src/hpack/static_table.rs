//! The static table (RFC 7541, appendix A).

use super::{Kind, Name};
use crate::head::FieldName;

/// Number of its entries: the dynamic table is counted on from here.
pub(super) const STATIC_ENTRIES: usize = 61;

/// A name and a value.
type Entry = (Name<'static>, &'static [u8]);

#[rustfmt::skip]
static ENTRIES: [Entry; STATIC_ENTRIES] = [
    entry(":authority", Kind::Authority, ""),
    entry(":method", Kind::Method, "GET"),
    entry(":method", Kind::Method, "POST"),
    entry(":path", Kind::Path, "/"),
    entry(":path", Kind::Path, "/index.html"),
    entry(":scheme", Kind::Scheme, "http"),
    entry(":scheme", Kind::Scheme, "https"),
    entry(":status", Kind::Status, "200"),
    entry(":status", Kind::Status, "204"),
    entry(":status", Kind::Status, "206"),
    entry(":status", Kind::Status, "304"),
    entry(":status", Kind::Status, "400"),
    entry(":status", Kind::Status, "404"),
    entry(":status", Kind::Status, "500"),
    of_field("accept-charset", FieldName::Other, ""),
    of_field("accept-encoding", FieldName::Other, "gzip, deflate"),
    of_field("accept-language", FieldName::Other, ""),
    of_field("accept-ranges", FieldName::Other, ""),
    of_field("accept", FieldName::Accept, ""),
    of_field("access-control-allow-origin", FieldName::Other, ""),
    of_field("age", FieldName::Other, ""),
    of_field("allow", FieldName::Other, ""),
    of_field("authorization", FieldName::Authorization, ""),
    of_field("cache-control", FieldName::Other, ""),
    of_field("content-disposition", FieldName::Other, ""),
    of_field("content-encoding", FieldName::Other, ""),
    of_field("content-language", FieldName::Other, ""),
    of_field("content-length", FieldName::ContentLength, ""),
    of_field("content-location", FieldName::Other, ""),
    of_field("content-range", FieldName::Other, ""),
    of_field("content-type", FieldName::Other, ""),
    of_field("cookie", FieldName::Other, ""),
    of_field("date", FieldName::Date, ""),
    of_field("etag", FieldName::Other, ""),
    of_field("expect", FieldName::Expect, ""),
    of_field("expires", FieldName::Other, ""),
    of_field("from", FieldName::Other, ""),
    of_field("host", FieldName::Host, ""),
    of_field("if-match", FieldName::Other, ""),
    of_field("if-modified-since", FieldName::Other, ""),
    of_field("if-none-match", FieldName::Other, ""),
    of_field("if-range", FieldName::Other, ""),
    of_field("if-unmodified-since", FieldName::Other, ""),
    of_field("last-modified", FieldName::Other, ""),
    of_field("link", FieldName::Other, ""),
    of_field("location", FieldName::Other, ""),
    of_field("max-forwards", FieldName::MaxForwards, ""),
    of_field("proxy-authenticate", FieldName::Other, ""),
    of_field("proxy-authorization", FieldName::Other, ""),
    of_field("range", FieldName::Other, ""),
    of_field("referer", FieldName::Other, ""),
    of_field("refresh", FieldName::Other, ""),
    of_field("retry-after", FieldName::RetryAfter, ""),
    of_field("server", FieldName::Other, ""),
    of_field("set-cookie", FieldName::Other, ""),
    of_field("strict-transport-security", FieldName::Other, ""),
    of_field("transfer-encoding", FieldName::TransferEncoding, ""),
    of_field("user-agent", FieldName::Other, ""),
    of_field("vary", FieldName::Other, ""),
    of_field("via", FieldName::Via, ""),
    of_field("www-authenticate", FieldName::WwwAuthenticate, ""),
];

/// The entry of an index, which begins with 1.
pub(super) fn entry_of(index: usize) -> Option<Entry> {
    ENTRIES.get(index.checked_sub(1)?).copied()
}

const fn entry(name: &'static str, kind: Kind, value: &'static str) -> Entry {
    let name = Name {
        text: name.as_bytes(),
        kind,
        is_secret: false,
    };
    (name, value.as_bytes())
}

const fn of_field(name: &'static str, id: FieldName, value: &'static str) -> Entry {
    entry(name, Kind::Field(id), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_they_are_elsewhere() {
        for (name, _) in ENTRIES {
            assert_eq!(name.kind, Kind::of(name.text), "{name:?}");
        }
    }
}
