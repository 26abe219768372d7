//! Where the token of a request is.

use crate::policy::identity::{self, Single};
use crate::request::Request;

/// A place in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// After `Bearer` in `Authorization` (RFC 6750 §2.1).
    Bearer,
    /// The value of this header.
    Header(Box<str>),
    /// The value of this cookie.
    Cookie(Box<str>),
    /// The value of this query parameter.
    Query(Box<str>),
}

impl Place {
    /// Reads `bearer`, `header.NAME`, `cookie.NAME` or `query.NAME`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "bearer" {
            return Some(Self::Bearer);
        }
        let (kind, name) = text.split_once('.')?;
        if !identity::is_token(name) {
            return None;
        }
        match kind {
            "header" => Some(Self::Header(name.into())),
            "cookie" => Some(Self::Cookie(name.into())),
            "query" => Some(Self::Query(name.into())),
            _ => None,
        }
    }

    /// The only token there. Names are compared as backends may read them: with another mark for `-` in a header, decoded in a query.
    /// Else a token beside the one that is verified, or the only one, would reach the backend unseen.
    pub(super) fn find<'a>(&'a self, request: &Request<'a>) -> Single<&'a [u8]> {
        match self {
            Self::Bearer => identity::authorization(request, "Bearer"),
            Self::Header(name) => Single::of(identity::header_or_alias(request, name.as_bytes())),
            Self::Cookie(name) => Single::of(request.cookie(name.as_bytes())),
            Self::Query(name) => Single::of(request.query(name.as_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{head, request};

    #[test]
    fn reads_every_place_and_nothing_else() {
        assert_eq!(Place::parse("bearer"), Some(Place::Bearer));
        assert_eq!(
            Place::parse("header.X-Token"),
            Some(Place::Header("X-Token".into()))
        );
        assert_eq!(Place::parse("cookie.a.b"), Some(Place::Cookie("a.b".into())));
        assert_eq!(Place::parse("query.token"), Some(Place::Query("token".into())));
        for text in [
            "",
            "Bearer",
            "bearer.x",
            "header",
            "header.",
            "header.a b",
            "body.x",
        ] {
            assert_eq!(Place::parse(text), None, "{text}");
        }
    }

    #[test]
    fn finds_the_only_token() {
        let head = head(
            "GET /?t=1&u=2&u=3 HTTP/1.1\r\nHost: a\r\nAuthorization: bearer 4\r\nX-T: 5\r\nX-U: 6\r\nX-U: 7\r\n\
             Cookie: t=8; u=9\r\nCookie: u=10\r\n\r\n",
        );
        let request = request(&head);
        for (place, expected) in [
            ("bearer", Single::One(&b"4"[..])),
            ("header.x-t", Single::One(b"5")),
            ("header.x-u", Single::Several),
            ("header.x-v", Single::None),
            ("cookie.t", Single::One(b"8")),
            ("cookie.u", Single::Several),
            ("cookie.T", Single::None),
            ("query.t", Single::One(b"1")),
            ("query.u", Single::Several),
            ("query.v", Single::None),
        ] {
            assert_eq!(Place::parse(place).unwrap().find(&request), expected, "{place}");
        }
    }

    /// Else a request could pass with one token, or with none, and show the backend another one that nobody has verified.
    #[test]
    fn a_token_is_found_however_its_name_is_written() {
        let head = head(
            "GET /?%74oken=1&to%6ben=2&a+b=3&u%73er=4 HTTP/1.1\r\nHost: a\r\nX_Token: 5\r\nX-Other: 6\r\n\
             x.other: 7\r\n\r\n",
        );
        let request = request(&head);
        for (place, expected) in [
            ("query.token", Single::Several),
            ("query.user", Single::One(&b"4"[..])),
            ("header.X-Token", Single::One(b"5")),
            ("header.X-Other", Single::Several),
        ] {
            assert_eq!(Place::parse(place).unwrap().find(&request), expected, "{place}");
        }
    }
}
