//! What a gRPC call is beside an HTTP/2 request: how one is known, its status, its message, its deadline. By gRPC's own
//! description of its wire protocol ("gRPC over HTTP2"). gRPC-Web is no such call: it is plain HTTP to everybody between.

use std::time::Duration;

use crate::head::{RequestHead, ResponseHead};
use crate::pool::BackendConnection;

/// The media type of a call, which a `+` and the name of an encoding may follow.
pub(super) const MEDIA: &[u8] = b"application/grpc";
const STATUS: &[u8] = b"grpc-status";
const TIMEOUT: &[u8] = b"grpc-timeout";

/// Statuses of gRPC that our replies have.
pub(super) const UNKNOWN: u32 = 2;
pub(super) const DEADLINE_EXCEEDED: u32 = 4;
pub(super) const RESOURCE_EXHAUSTED: u32 = 8;
pub(super) const UNIMPLEMENTED: u32 = 12;
pub(super) const INTERNAL: u32 = 13;
pub(super) const UNAVAILABLE: u32 = 14;
const PERMISSION_DENIED: u32 = 7;
const UNAUTHENTICATED: u32 = 16;

/// Whether a request is a gRPC call, which needs a stream of its own: HTTP/1 cannot carry one.
pub(super) fn is_call(head: &RequestHead) -> bool {
    let media = || value_of(head, b"content-type").and_then(|value| value.split_at_checked(MEDIA.len()));
    head.version.is_multiplexed()
        && media().is_some_and(|(media, rest)| {
            media.eq_ignore_ascii_case(MEDIA) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
        })
}

/// How long the client waits for the whole call, as it says; `None` where it says nothing that can be understood.
pub(super) fn timeout(head: &RequestHead) -> Option<Duration> {
    parse_timeout(value_of(head, TIMEOUT)?)
}

/// The status that a response has in its head: it has no other then.
pub(super) fn status_in_head(head: &ResponseHead, bytes: &[u8]) -> Option<u32> {
    let mut fields = head.fields.iter();
    let field = fields.find(|field| field.name.of(bytes).eq_ignore_ascii_case(STATUS))?;
    number(field.value.of(bytes))
}

/// Whether the response of a backend consists of its trailers, which say that the service is unavailable.
pub(super) fn is_unavailable(backend: &BackendConnection) -> bool {
    let status = status_in_head(&backend.head, backend.connection.input.unread());
    backend.head.status == 200 && status == Some(UNAVAILABLE)
}

/// The status in trailers, which are whole lines.
pub(super) fn status_in_trailers(lines: &[u8]) -> Option<u32> {
    lines.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(STATUS.len())?;
        let value = value.strip_prefix(b":")?;
        name.eq_ignore_ascii_case(STATUS)
            .then(|| number(value.trim_ascii()))?
    })
}

/// The status for a call that a policy refused with this HTTP status, as gRPC maps them.
pub(super) fn status_of(status: u16) -> u32 {
    match status {
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        413 | 429 => RESOURCE_EXHAUSTED,
        502..=504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// The status for a malformed request with this status of HTTP: what gRPC's table has, and where that knows less than we
/// do, what nginx and Envoy say.
pub(super) fn status_of_malformed(status: u16) -> u32 {
    match status {
        400 => INTERNAL,
        414 | 431 => RESOURCE_EXHAUSTED,
        _ => UNKNOWN,
    }
}

/// Writes text as `grpc-message` carries it: bytes beyond printable ASCII, and `%`, become `%XX`.
pub(super) fn write_message(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(byte),
            _ => {
                let digit = |half: u8| b"0123456789ABCDEF".get(usize::from(half)).copied();
                out.push(b'%');
                out.extend(digit(byte >> 4));
                out.extend(digit(byte & 15));
            }
        }
    }
}

fn value_of<'a>(head: &'a RequestHead, name: &[u8]) -> Option<&'a [u8]> {
    let mut fields = head.fields.iter();
    let field = fields.find(|field| head.text(field.name).eq_ignore_ascii_case(name))?;
    Some(head.text(field.value))
}

/// At most 8 digits and a unit.
fn parse_timeout(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    let number = number(digits).filter(|_| digits.len() <= 8)?;
    let seconds = |unit: u64| Duration::from_secs(u64::from(number) * unit);
    Some(match unit {
        b'H' => seconds(3600),
        b'M' => seconds(60),
        b'S' => seconds(1),
        b'm' => Duration::from_millis(number.into()),
        b'u' => Duration::from_micros(number.into()),
        b'n' => Duration::from_nanos(number.into()),
        _ => return None,
    })
}

fn number(digits: &[u8]) -> Option<u32> {
    let is_number = digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_number)?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::{Field, FieldName, Span, Version};
    use crate::http1::Malformed;
    use crate::proxy::Failure;

    fn with_type(media: &str, version: Version) -> RequestHead {
        let mut head = RequestHead {
            version,
            ..RequestHead::default()
        };
        head.bytes.extend_from_slice(b"Content-Type");
        head.bytes.extend_from_slice(media.as_bytes());
        head.fields.push(Field {
            is_secret: false,
            id: FieldName::Other,
            name: Span::new(0, 12),
            value: Span::new(12, 12 + media.len()),
        });
        head
    }

    #[test]
    fn a_call_is_known_by_its_media_type() {
        for media in [
            "application/grpc",
            "application/grpc+proto",
            "Application/GRPC",
            "application/grpc; x=1",
        ] {
            assert!(is_call(&with_type(media, Version::Http2)), "{media}");
        }
        for media in [
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grpcx",
            "application/grp",
            "",
        ] {
            assert!(!is_call(&with_type(media, Version::Http2)), "{media}");
        }
        assert!(!is_call(&with_type("application/grpc", Version::Http11)));
        assert!(!is_call(&RequestHead::default()));
    }

    #[test]
    fn failures_become_the_statuses_that_clients_know() {
        for (failure, status) in [
            (Failure::NoBackend, 14),
            (Failure::BackendsFull, 14),
            (Failure::NoLocalPort, 14),
            (Failure::ConnectFailed, 14),
            (Failure::BackendReset, 14),
            (Failure::BackendTimeout, 14),
            (Failure::DeadlineExceeded, 4),
            (Failure::BodyTimeout, 4),
            (Failure::NoRoute, 12),
            (Failure::BodyTooLarge, 8),
            (Failure::Malformed(Malformed::BadTarget), 13),
        ] {
            assert_eq!(failure.grpc_status(), status, "{failure:?}");
        }
    }

    #[test]
    fn a_message_is_escaped() {
        let escaped = |text| {
            let mut out = Vec::new();
            write_message(text, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(escaped("no route: a~b"), "no route: a~b");
        assert_eq!(escaped("100%\r\n\u{e9}\u{7f}"), "100%25%0D%0A%C3%A9%7F");
    }

    #[test]
    fn a_timeout_has_digits_and_a_unit() {
        for (text, timeout) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("250m", Some(Duration::from_millis(250))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("5n", Some(Duration::from_nanos(5))),
            ("0m", Some(Duration::ZERO)),
            ("123456789S", None),
            ("S", None),
            ("", None),
            ("1", None),
            ("+1S", None),
            ("1s", None),
            ("1 S", None),
        ] {
            assert_eq!(parse_timeout(text.as_bytes()), timeout, "{text:?}");
        }
    }

    #[test]
    fn the_status_is_found_in_trailers() {
        for (lines, status) in [
            ("grpc-status: 0\r\n", Some(0)),
            ("x: 1\r\nGrpc-Status:14\r\ngrpc-message: a\r\n", Some(14)),
            ("grpc-status-details-bin: 7\r\n", None),
            ("grpc-status: x\r\n", None),
            ("grpc-status: -1\r\n", None),
            ("grpc-status: 99999999999\r\n", None),
            ("", None),
        ] {
            assert_eq!(status_in_trailers(lines.as_bytes()), status, "{lines:?}");
        }
    }
}
