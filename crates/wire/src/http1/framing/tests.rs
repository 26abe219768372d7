//! Tests of accepted and refused framing. F and P numbers name classes of attack.

use super::Framing;
use crate::head::{BodyLength, Method, Version};
use crate::http1::Malformed;

fn framing<'a>(content_length: Option<&'a str>, transfer_encoding: Option<&'a str>) -> Framing<'a> {
    Framing {
        content_length: content_length.map(str::as_bytes),
        transfer_encoding: transfer_encoding.map(str::as_bytes),
    }
}

/// F3; RFC 9110 §8.6: `1*DIGIT`.
#[test]
fn content_length_is_decimal_digits_that_fit_63_bits() {
    let read = |text| framing(Some(text), None).of_request(Version::Http11);
    for (text, length) in [
        ("0", 0),
        ("5", 5),
        ("1234567890", 1_234_567_890),
        ("9223372036854775807", u64::MAX / 2),
        ("05", 5),
        ("005", 5),
        ("00", 0),
        ("00009223372036854775807", u64::MAX / 2),
    ] {
        assert_eq!(read(text), Ok(BodyLength::Exact(length)), "{text}");
    }
    for text in [
        "",
        "+5",
        "-1",
        "-0",
        "0x10",
        "1_0",
        "5, 6",
        "5,5",
        "5 5",
        "5;",
        "5.0",
        "1e3",
        "\u{665}",
        "9223372036854775808",
        "09223372036854775808",
        "0x5",
        "18446744073709551615",
        "18446744073709551616",
        "9999999999999999999999",
        "5\u{a0}",
        "a",
    ] {
        assert_eq!(read(text), Err(Malformed::BadContentLength), "{text:?}");
    }
}

/// F2; RFC 9112 §6.1, §7.1.
#[test]
fn transfer_encoding_is_exactly_one_chunked() {
    let read = |text| framing(None, Some(text)).of_request(Version::Http11);
    for text in ["chunked", "Chunked", "CHUNKED"] {
        assert_eq!(read(text), Ok(BodyLength::Chunked), "{text}");
    }
    for text in [
        "",
        ", chunked",
        "chunked,",
        "chunked, chunked",
        "chunked, identity",
        "gzip, chunked",
        "\"chunked\"",
        "chunked;a",
        "chunked ;a=b",
        "\u{b}chunked",
        "chunked\0",
        "\u{a0}chunked",
        "chun ked",
        "chunked\tx",
        "chunked=1",
    ] {
        assert_eq!(read(text), Err(Malformed::BadTransferEncoding), "{text:?}");
    }
    for text in ["xchunked", "identity", "gzip", "chunked1", "chunkedchunked"] {
        assert_eq!(read(text), Err(Malformed::UnknownTransferCoding), "{text:?}");
    }
}

/// F1, F10; RFC 9112 §6.1.
#[test]
fn refuses_both_fields_together_and_chunked_in_http_1_0() {
    let both = framing(Some("5"), Some("chunked"));
    assert_eq!(both.of_request(Version::Http11), Err(Malformed::LengthConflict));
    assert_eq!(
        both.of_response(Version::Http11, 200, Method::Get),
        Err(Malformed::LengthConflict)
    );
    assert_eq!(
        both.of_response(Version::Http11, 200, Method::Head),
        Err(Malformed::LengthConflict)
    );
    let chunked = framing(None, Some("chunked"));
    assert_eq!(
        chunked.of_request(Version::Http10),
        Err(Malformed::UnexpectedTransferEncoding)
    );
    assert_eq!(
        chunked.of_response(Version::Http10, 200, Method::Get),
        Err(Malformed::UnexpectedTransferEncoding)
    );
}

/// RFC 9112 §6.3 (7): a request without either field has no body, in HTTP/1.0 too.
#[test]
fn request_without_framing_has_no_body() {
    for version in [Version::Http10, Version::Http11] {
        assert_eq!(framing(None, None).of_request(version), Ok(BodyLength::None));
    }
}

/// P3; RFC 9112 §6.3 (1).
#[test]
fn responses_that_cannot_have_a_body_have_none() {
    let of = |length, encoding, status, asked| {
        framing(length, encoding).of_response(Version::Http11, status, asked)
    };
    let none = |announced| Ok((BodyLength::None, announced));
    assert_eq!(of(Some("5"), None, 200, Method::Head), none(Some(5)));
    assert_eq!(of(None, Some("chunked"), 200, Method::Head), none(None));
    assert_eq!(of(None, None, 200, Method::Head), none(None));
    assert_eq!(of(Some("5"), None, 304, Method::Get), none(Some(5)));
    assert_eq!(of(None, Some("chunked"), 304, Method::Get), none(None));
    assert_eq!(of(Some("5"), None, 204, Method::Get), none(None));
    assert_eq!(of(None, None, 100, Method::Post), none(None));
    assert_eq!(of(None, None, 101, Method::Get), none(None));
    for status in [100, 101, 103, 199, 204] {
        assert_eq!(
            of(None, Some("chunked"), status, Method::Get),
            none(None),
            "{status}"
        );
        assert_eq!(
            of(Some("5"), Some("chunked"), status, Method::Get),
            Err(Malformed::LengthConflict),
            "{status}"
        );
        assert_eq!(
            of(None, Some("chunked, chunked"), status, Method::Get),
            Err(Malformed::BadTransferEncoding),
            "{status}"
        );
    }
    // An invalid field makes the message invalid, even if the field would not be used.
    assert_eq!(
        of(Some("x"), None, 304, Method::Get),
        Err(Malformed::BadContentLength)
    );
    assert_eq!(
        of(None, Some("gzip"), 200, Method::Head),
        Err(Malformed::UnknownTransferCoding)
    );
}

/// RFC 9112 §6.3 (4 to 8).
#[test]
fn other_responses_are_chunked_or_have_a_length_or_end_with_the_connection() {
    let of = |length, encoding, version| framing(length, encoding).of_response(version, 200, Method::Get);
    assert_eq!(
        of(None, Some("chunked"), Version::Http11),
        Ok((BodyLength::Chunked, None))
    );
    assert_eq!(
        of(Some("7"), None, Version::Http11),
        Ok((BodyLength::Exact(7), None))
    );
    assert_eq!(
        of(Some("0"), None, Version::Http10),
        Ok((BodyLength::Exact(0), None))
    );
    assert_eq!(
        of(None, None, Version::Http10),
        Ok((BodyLength::UntilClose, None))
    );
    assert_eq!(
        of(None, None, Version::Http11),
        Ok((BodyLength::UntilClose, None))
    );
}
