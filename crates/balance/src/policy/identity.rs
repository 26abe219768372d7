//! What the policies that identify a client share: reading credentials without ambiguity, and headers with an identity that
//! only a policy may set.

use evenkeel_wire::head::FieldName;

use super::{BuildError, Edit, Notes};
use crate::request::Request;
use crate::schema::{Form, Key, Kind, Params, Value};

/// Identity headers of proxies for authentication that begin like the forwarding headers, which no policy may set.
const FORWARDED_IDENTITY: [&str; 5] = [
    "x-forwarded-access-token",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-forwarded-user",
];

/// The key for the CAs of a server that a policy asks.
pub(super) const CA: Key = Key::new(
    "ca",
    Kind::Text(Form::new("a file").file()),
    "PEM file with the CAs that the certificate of the server must be signed by, or with this certificate itself; `system` is the CAs that \
     this machine trusts. Only with an `https` URL. The file is read again at a reload.",
)
.words(&["system"])
.default("system");

/// The file with the CAs of the server with this URL; `None` for those that this machine trusts.
pub(super) fn ca<'p>(params: &'p Params, url: &str) -> Result<Option<&'p str>, BuildError> {
    match params.get(CA.name) {
        Some(Value::Text(_)) if !url.starts_with("https://") => {
            let message = "`ca` requires an `https` URL: no certificate is checked without TLS";
            Err(BuildError::of(CA.name, message))
        }
        Some(Value::Text(path)) => Ok(Some(path)),
        _ => Ok(None),
    }
}

/// The only item of an iterator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Single<T> {
    /// There is none.
    None,
    /// There is one.
    One(T),
    /// There are several, and another reader may take another one.
    Several,
}

impl<T> Single<T> {
    /// The only item of these.
    pub(super) fn of(mut items: impl Iterator<Item = T>) -> Self {
        match (items.next(), items.next()) {
            (None, _) => Self::None,
            (Some(item), None) => Self::One(item),
            (Some(_), Some(_)) => Self::Several,
        }
    }
}

/// The credentials after a scheme, compared without case, in the only `Authorization` header (RFC 9110 §11.4). A header with
/// another scheme counts as none.
pub(super) fn authorization<'a>(request: &Request<'a>, scheme: &str) -> Single<&'a [u8]> {
    let value = match Single::of(request.head.values(FieldName::Authorization)) {
        Single::One(value) => value,
        Single::None => return Single::None,
        Single::Several => return Single::Several,
    };
    let end = memchr::memchr(b' ', value).unwrap_or(value.len());
    match value.split_at_checked(end) {
        Some((name, rest)) if name.eq_ignore_ascii_case(scheme.as_bytes()) => {
            Single::One(rest.trim_ascii_start())
        }
        _ => Single::None,
    }
}

/// Replaces the client's copies of a header that only a policy may set by this value, if there is one. Copies are removed however the
/// name is written: a backend may read `_` and other marks as `-`.
pub(super) fn replace_client_copies(
    request: &Request<'_>,
    name: &str,
    value: Option<&[u8]>,
    notes: &mut Notes,
) {
    for field in &request.head.fields {
        let received = request.head.text(field.name);
        if is_alias(received, name.as_bytes())
            && let Ok(received) = std::str::from_utf8(received)
        {
            notes.request_headers.push(Edit::Remove(received.into()));
        }
    }
    notes.request_headers.push(match value {
        Some(value) => Edit::Set(name.into(), value.into()),
        None => Edit::Remove(name.into()),
    });
}

/// The values of every header with this name, or with one that a backend may read as this name.
pub(super) fn header_or_alias<'a>(request: &Request<'a>, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let head = request.head;
    let fields = head.fields.iter().filter(move |field| {
        let received = head.text(field.name);
        received.eq_ignore_ascii_case(name) || is_alias(received, name)
    });
    fields.map(move |field| head.text(field.value))
}

/// Whether two names differ, but not when case is ignored and every mark is read as `-`.
fn is_alias(received: &[u8], name: &[u8]) -> bool {
    let plain = |byte: &u8| match byte.is_ascii_alphanumeric() {
        true => byte.to_ascii_lowercase(),
        false => b'-',
    };
    received.len() == name.len()
        && received.iter().map(plain).eq(name.iter().map(plain))
        && !received.eq_ignore_ascii_case(name)
}

/// Checks that a policy may set a request header of this name.
///
/// # Errors
/// The name is not valid, or framing, forwarding or the connection depend on it.
pub(super) fn check_header_name(key: &'static str, name: &str) -> Result<(), BuildError> {
    if !is_token(name) {
        let message = format!("`{name}` is not a valid header name: use letters, digits and `-`");
        return Err(BuildError::of(key, message));
    }
    let id = FieldName::recognise(name.as_bytes());
    let is_free = FORWARDED_IDENTITY
        .iter()
        .any(|free| free.eq_ignore_ascii_case(name));
    let is_reserved = id.is_hop_by_hop() || id.is_protected() || matches!(id, FieldName::Expect);
    if is_reserved && !is_free {
        let message = format!("`{name}` cannot be set by a policy: framing or forwarding depends on it");
        return Err(BuildError::of(key, message));
    }
    Ok(())
}

/// Whether a text is a token (RFC 9110 §5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Whether a text is a URL with `http` or `https` and a host, without credentials, fragment, white space or control characters.
pub(super) fn is_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let authority = rest.get(..end).unwrap_or_default();
        let is_host = !authority.is_empty() && !authority.starts_with(':') && !authority.contains('@');
        is_host
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"#\\\"<>".contains(&byte))
    })
}

/// Whether a value can be sent in a header and is received as it was sent: it has no control character, and no white space
/// around it, which would be removed (RFC 9110 §5.5).
pub(super) fn is_header_value(value: &[u8]) -> bool {
    let is_control = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7F;
    !value.iter().any(is_control) && value.trim_ascii() == value
}

/// A text as a quoted string (RFC 9110 §5.6.4).
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars().filter(|character| !character.is_control()) {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{head, request};

    #[test]
    fn the_scheme_is_compared_without_case_and_two_headers_are_ambiguous() {
        for (headers, expected) in [
            ("Authorization: Basic abc\r\n", Single::One(&b"abc"[..])),
            ("authorization: bAsIc   abc\r\n", Single::One(b"abc")),
            ("Authorization: Basic\r\n", Single::One(b"")),
            ("Authorization: Basically abc\r\n", Single::None),
            ("Authorization: Bearer abc\r\n", Single::None),
            ("Authorization:\r\n", Single::None),
            ("", Single::None),
            (
                "Authorization: Basic abc\r\nAuthorization: Basic abc\r\n",
                Single::Several,
            ),
            (
                "Authorization: Bearer x\r\nAUTHORIZATION: Basic abc\r\n",
                Single::Several,
            ),
        ] {
            let head = head(&format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
            assert_eq!(authorization(&request(&head), "basic"), expected, "{headers}");
        }
    }

    #[test]
    fn client_copies_are_removed_however_they_are_written() {
        let head = head(
            "GET / HTTP/1.1\r\nHost: a\r\nX_User: 1\r\nx-user: 2\r\nX.USER: 3\r\nX-Users: 4\r\nXXUser: 5\r\n\r\n",
        );
        let mut notes = Notes::default();
        replace_client_copies(&request(&head), "X-User", None, &mut notes);
        let removed: Vec<_> = notes.request_headers.iter().map(Edit::name).collect();
        assert_eq!(removed, ["X_User", "X.USER", "X-User"]);
        assert!(notes.request_headers.iter().all(Edit::removes));
        replace_client_copies(&request(&head), "X-Users", Some(b"a"), &mut notes);
        let last = notes.request_headers.last();
        assert_eq!(last, Some(&Edit::Set("X-Users".into(), b"a"[..].into())));
    }

    #[test]
    fn headers_of_framing_and_forwarding_cannot_be_set() {
        for name in [
            "X-User",
            "X-Auth-Request-User",
            "Remote-User",
            "x-forwarded-USER",
            "Authorization",
        ] {
            assert_eq!(check_header_name("forward", name), Ok(()), "{name}");
        }
        for name in [
            "",
            "X User",
            "X-User:",
            "Ü",
            "Host",
            "content-length",
            "Content_Length",
            "Connection",
            "TE",
            "X-Forwarded-For",
            "X_Forwarded_User",
            "X-Forwarded-Port",
            "Via",
            "X-Real-IP",
            "X-Request-Id",
        ] {
            let error = check_header_name("forward", name).unwrap_err();
            assert_eq!(error.key, Some("forward"), "{name}");
        }
    }

    #[test]
    fn urls_have_a_host_and_nothing_secret() {
        for url in [
            "http://a",
            "https://a.test/x?y=z",
            "http://127.0.0.1:9000/check",
            "http://[::1]:80/",
        ] {
            assert!(is_url(url), "{url}");
        }
        for url in [
            "",
            "a.test",
            "ftp://a",
            "HTTP://a",
            "http://",
            "http:///x",
            "http://:80",
            "http://u:p@a/",
            "http://a/#x",
            "http://a/ b",
            "http://a/\r\nX: 1",
            "http://ä/",
            "https:a",
        ] {
            assert!(!is_url(url), "{url}");
        }
    }

    #[test]
    fn values_with_control_characters_or_outer_space_cannot_be_sent() {
        for value in ["", "alice", "a b", "a\tb", "jürgen", "a,b"] {
            assert!(is_header_value(value.as_bytes()), "{value}");
        }
        for value in ["a\r\nb", "a\n", "\0", "a\x7f", " a", "a ", "\t"] {
            assert!(!is_header_value(value.as_bytes()), "{value:?}");
        }
    }

    #[test]
    fn quotes_are_escaped_and_control_characters_left_out() {
        assert_eq!(quoted("a \"b\" \\ c\r\n"), r#""a \"b\" \\ c""#);
    }
}
