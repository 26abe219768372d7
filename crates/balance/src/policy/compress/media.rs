//! Media types as the config lists them.

use evenkeel_wire::head::list;

/// A media type, or all types with a part in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MediaRange {
    /// `application/json`.
    One(Box<str>),
    /// `text/*`: what begins with `text/`.
    Prefix(Box<str>),
    /// `application/*+json`: what begins with `application/` and ends with `+json`.
    Suffix(Box<str>, Box<str>),
}

/// Streams that may never end, and of gRPC, which compresses each message itself: only their full names include them.
const STREAMS: [&str; 2] = ["text/event-stream", "application/grpc"];

impl MediaRange {
    /// Parses a media type without parameters; `*` may stand for the subtype, or for what comes before its suffix.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (kind, subtype) = text.split_once('/')?;
        if !is_token(kind) {
            return None;
        }
        match subtype.strip_prefix('*') {
            None => is_token(subtype).then(|| Self::One(text.into())),
            Some("") => Some(Self::Prefix(format!("{kind}/").into())),
            Some(suffix) => {
                let name = suffix.strip_prefix('+')?;
                is_token(name).then(|| Self::Suffix(format!("{kind}/").into(), suffix.into()))
            }
        }
    }

    /// Whether a `Content-Type` is of this range, whatever its parameters are.
    pub(super) fn includes(&self, content_type: &[u8]) -> bool {
        let end = memchr::memchr(b';', content_type).unwrap_or(content_type.len());
        let media_type = list::trim(content_type.get(..end).unwrap_or_default());
        let begins = |prefix: &str| {
            let start = media_type.get(..prefix.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
        };
        let ends = |suffix: &str| {
            let start = media_type.len().checked_sub(suffix.len());
            let end = start.and_then(|start| media_type.get(start..));
            end.is_some_and(|end| end.eq_ignore_ascii_case(suffix.as_bytes()))
        };
        match self {
            Self::One(text) => media_type.eq_ignore_ascii_case(text.as_bytes()),
            _ if STREAMS.into_iter().any(begins) => false,
            Self::Prefix(prefix) => begins(prefix),
            Self::Suffix(prefix, suffix) => begins(prefix) && ends(suffix),
        }
    }
}

/// Whether a text is the name of a type, without `*` (RFC 6838 §4.2).
fn is_token(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
    !text.is_empty() && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_include_what_they_say() {
        for (range, included, excluded) in [
            (
                "application/json",
                &[
                    "application/json",
                    "Application/JSON ; charset=utf-8",
                    " application/json",
                ][..],
                &[
                    "application/jsonp",
                    "application/jso",
                    "text/json",
                    "",
                    "application/json, text/html",
                ][..],
            ),
            (
                "text/*",
                &["text/html", "TEXT/plain;charset=x", "text/csv"],
                &[
                    "textual/html",
                    "text",
                    "text/event-stream",
                    "text/event-stream; charset=utf-8",
                ],
            ),
            (
                "application/*+json",
                &["application/problem+json", "application/vnd.api+JSON; ext=x"],
                &[
                    "application/grpc+json",
                    "application/grpc-web+json",
                    "application/json",
                    "text/a+json",
                    "application/a+jsonl",
                    "a+json",
                ],
            ),
            ("text/event-stream", &["Text/Event-Stream"], &["text/plain"]),
        ] {
            let range = MediaRange::parse(range).unwrap();
            for text in included {
                assert!(range.includes(text.as_bytes()), "{range:?} {text}");
            }
            for text in excluded {
                assert!(!range.includes(text.as_bytes()), "{range:?} {text}");
            }
        }
    }

    #[test]
    fn other_texts_are_no_ranges() {
        for text in [
            "",
            "text",
            "text/",
            "/html",
            "*/*",
            "*/html",
            "text/*html",
            "text/h*",
            "text/*+",
            "text/a/b",
            "text/html; q=1",
            "text/html, text/css",
            "text /html",
            "téxt/html",
        ] {
            assert_eq!(MediaRange::parse(text), None, "{text}");
        }
    }
}
