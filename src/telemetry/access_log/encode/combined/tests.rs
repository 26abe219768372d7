//! Tests lines of the combined format against those that nginx writes, and that no bytes break a line.

use std::time::Duration;

use proptest::prelude::*;

use super::super::super::entry::Extra;
use super::super::super::headers::HEADER_BOUND;
use super::*;
use crate::head::{BodyLength, Field, FieldName, RequestHead, Span};
use crate::telemetry::Label;

/// Every byte of a bounded value is written as at most four.
const GROWTH: usize = 4;

/// Upper bound of a line with its newline.
const LINE_BOUND: usize = 256
    + GROWTH * (2 * VALUE_BOUND + 2 * PATH_BOUND + 2 * HEADER_BOUND)
    + 8 * CUT_MARK.len()
    + Label::BOUND * 6;

/// A head with these header fields.
pub(in crate::telemetry::access_log) fn head(fields: &[(&str, &[u8])]) -> RequestHead {
    let mut head = RequestHead {
        body: BodyLength::None,
        ..RequestHead::default()
    };
    for (name, value) in fields {
        let start = head.bytes.len();
        head.bytes.extend_from_slice(name.as_bytes());
        let middle = head.bytes.len();
        head.bytes.extend_from_slice(value);
        head.fields.push(Field {
            id: FieldName::Other,
            name: Span::new(start, middle),
            value: Span::new(middle, head.bytes.len()),
            is_secret: false,
        });
    }
    head
}

fn entry<'a>(client: Client<'a>, extra: Extra<'a>) -> Entry<'a> {
    Entry {
        time: UNIX_EPOCH + Duration::from_millis(1_795_515_330_120),
        method: Some(b"GET"),
        path: Some(b"/v1/users"),
        query: Some(b"page=2"),
        protocol: Some("HTTP/1.1"),
        bytes_sent: 600,
        extra,
        ..Entry::new(200, client)
    }
}

fn line(entry: &Entry<'_>, query: bool) -> String {
    let mut out = Vec::new();
    encode(entry, &mut LocalTime::default(), Options { query }, &mut out);
    String::from_utf8(out).expect("a line is ASCII")
}

#[test]
fn a_line_is_that_of_nginx() {
    let head = head(&[
        ("Host", b"a.test"),
        ("Referer", b"https://a.test/?q=\"x\""),
        ("user-agent", "curl/8 \\ caf\u{e9}\t\x7f".as_bytes()),
    ]);
    let client = Label::new("192.0.2.1:50123");
    let extra = Extra {
        request: Some(&head),
        response: Some(b"HTTP/1.1 200 OK\r\nContent-Length: 512\r\n\r\n"),
        tls: None,
    };
    let entry = entry(Client::Direct(&client), extra);
    assert_eq!(
        line(&entry, true),
        concat!(
            r#"192.0.2.1 - - [24/Nov/2026:10:15:30 +0000] "GET /v1/users?page=2 HTTP/1.1" 200 560 "#,
            r#""https://a.test/?q=\x22x\x22" "curl/8 \x5C caf\xC3\xA9\x09\x7F""#,
            "\n"
        )
    );
    let other = Entry {
        user: Some(b"alice"),
        protocol: Some("HTTP/2.0"),
        ..entry
    };
    assert!(
        line(&other, false).starts_with(
            r#"192.0.2.1 - alice [24/Nov/2026:10:15:30 +0000] "GET /v1/users HTTP/2.0" 200 600 "#
        ),
        "{}",
        line(&other, false)
    );
}

#[test]
fn what_is_missing_is_a_dash() {
    let client = Label::new("[2001:db8::7]:443");
    let refused = Entry {
        method: None,
        path: None,
        protocol: None,
        bytes_sent: 0,
        status: 400,
        ..entry(Client::Direct(&client), Extra::default())
    };
    assert_eq!(
        line(&refused, true),
        "2001:db8::7 - - [24/Nov/2026:10:15:30 +0000] \"-\" 400 0 \"-\" \"-\"\n"
    );
    let unix = Label::new("unix:");
    assert!(line(&entry(Client::Direct(&unix), Extra::default()), true).starts_with("unix: - - ["));
    let forwarded = Client::Forwarded("192.0.2.9".parse().expect("an address"));
    assert!(line(&entry(forwarded, Extra::default()), true).starts_with("192.0.2.9 - - ["));
}

#[test]
fn the_name_of_a_user_cannot_imitate_other_parts() {
    let forged = Entry {
        user: Some(b"a [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.1\" 200"),
        ..entry(
            Client::Forwarded("192.0.2.9".parse().expect("an address")),
            Extra::default(),
        )
    };
    let line = line(&forged, true);
    assert_eq!(line.matches('[').count(), 1, "{line}");
    assert_eq!(line.split(' ').nth(3), Some("[24/Nov/2026:10:15:30"), "{line}");
}

#[test]
fn a_long_value_is_cut_and_marked() {
    let head = head(&[
        ("User-Agent", &[b'x'; HEADER_BOUND - 1]),
        ("User-Agent", b"second"),
        ("User-Agent", b"third"),
    ]);
    let extra = Extra {
        request: Some(&head),
        ..Extra::default()
    };
    let client = Client::Forwarded("192.0.2.9".parse().expect("an address"));
    let line = line(&entry(client, extra), true);
    let agent = line.rsplit('"').nth(1).expect("it is quoted");
    assert_eq!(agent, format!("{},...[truncated]", "x".repeat(HEADER_BOUND - 1)));
}

#[test]
fn the_time_is_formatted_for_each_second() {
    let mut time = LocalTime::default();
    for (second, shown) in [
        (0, "01/Jan/1970:00:00:00 +0000"),
        (951_782_400, "29/Feb/2000:00:00:00 +0000"),
        (951_782_400, "29/Feb/2000:00:00:00 +0000"),
        (1_798_761_599, "31/Dec/2026:23:59:59 +0000"),
    ] {
        let mut out = Vec::new();
        time.write(UNIX_EPOCH + Duration::from_secs(second), &mut out);
        assert_eq!(String::from_utf8(out).expect("ASCII"), shown);
    }
}

proptest! {
    #[test]
    fn no_bytes_of_a_client_break_a_line(
        values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 6),
        label in "\\PC{0,80}|.{0,80}",
    ) {
        let head = head(&[("Referer", &values[0]), ("User-Agent", &values[1]), ("User-Agent", &values[2])]);
        let client = Label::new(&label);
        let extra = Extra { request: Some(&head), ..Extra::default() };
        let entry = Entry {
            method: Some(&values[3]),
            path: Some(&values[4]),
            query: Some(&values[5]),
            user: Some(&values[3]),
            ..entry(Client::Direct(&client), extra)
        };
        let line = line(&entry, true);
        prop_assert!(line.ends_with('\n'));
        prop_assert_eq!(line.lines().count(), 1);
        prop_assert_eq!(line.matches('"').count(), 6);
        prop_assert!(line.trim_end().bytes().all(|byte| (0x20..0x7f).contains(&byte)));
        prop_assert!(line.len() <= LINE_BOUND);
    }
}
