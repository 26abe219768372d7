//! Where clients are redirected to, and which redirects are errors.

use proptest::prelude::*;

use super::*;
use crate::request::tests::{head, request};
use crate::schema::Value;
use crate::template::tests::is_field_value;

fn params(values: &[(&'static str, &'static str)]) -> Params {
    let mut params = Params::default();
    for (key, text) in values {
        let value = match *key {
            "port" => Value::Count(text.parse().unwrap()),
            "scheme" | "query" => Value::Word(text),
            _ => Value::Text((*text).to_owned()),
        };
        params.set(key, value);
    }
    params
}

fn redirect(values: &[(&'static str, &'static str)]) -> Redirect {
    let matched = Matched {
        path_prefix: Some("/old"),
        ..Matched::default()
    };
    Redirect::build(&params(values), &matched).unwrap()
}

fn location(values: &[(&'static str, &'static str)], line: &str, host: &str, is_secure: bool) -> String {
    let head = head(&format!("{line}\r\nHost: {host}\r\n\r\n"));
    let request = Request {
        is_secure,
        ..request(&head)
    };
    let mut out = Vec::new();
    redirect(values).location(&request, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

type Values<'a> = &'a [(&'static str, &'static str)];

/// Each row: what is written, where the request came to, and where it is redirected to.
fn check(rows: &[(Values<'_>, &str, &str)], line: &str) {
    for (values, origin, expected) in rows {
        let (scheme, host) = origin.split_once("://").unwrap();
        let location = location(values, line, host, scheme == "https");
        assert_eq!(location, *expected, "{values:?} {origin}");
    }
}

#[test]
fn scheme_host_and_port_stay_unless_written() {
    let rows: &[(Values<'_>, _, _)] = &[
        (&[("scheme", "https")], "http://a", "https://a/x?q=1"),
        (&[("scheme", "https")], "http://a:8080", "https://a/x?q=1"),
        (&[("scheme", "https")], "https://a:8443", "https://a:8443/x?q=1"),
        (&[("scheme", "http")], "https://a", "http://a/x?q=1"),
        (&[("host", "b")], "http://a:8080", "http://b:8080/x?q=1"),
        (&[("host", "b")], "https://a", "https://b/x?q=1"),
        (&[("host", "[::1]")], "https://a:81", "https://[::1]:81/x?q=1"),
        (&[("port", "81")], "http://a", "http://a:81/x?q=1"),
        (&[("port", "81")], "http://[::1]:82", "http://[::1]:81/x?q=1"),
        (&[("port", "80")], "http://a:81", "http://a/x?q=1"),
        (&[("port", "80")], "https://a:81", "https://a:80/x?q=1"),
    ];
    check(rows, "GET /x?q=1 HTTP/1.1");
    let with_port = [("scheme", "https"), ("port", "8443")];
    check(
        &[(&with_port, "http://a:8080", "https://a:8443/x")],
        "GET /x HTTP/1.1",
    );
    let default_port = [("scheme", "https"), ("port", "443")];
    check(
        &[(&default_port, "http://a:8080", "https://a/x")],
        "GET /x HTTP/1.1",
    );
}

#[test]
fn path_and_query_stay_unless_written() {
    let rows: &[(Values<'_>, _, _)] = &[
        (&[("path", "/new")], "http://a", "http://a/new?q=1"),
        (&[("path_prefix", "/new")], "http://a:81", "http://a:81/new/x?q=1"),
        (
            &[("path_prefix", "/")],
            "http://[::1]:81",
            "http://[::1]:81/x?q=1",
        ),
        (&[("path", "/new"), ("query", "drop")], "http://a", "http://a/new"),
        (&[("host", "b"), ("query", "drop")], "http://a", "http://b/old/x"),
    ];
    check(rows, "GET /old/x?q=1 HTTP/1.1");
}

#[test]
fn an_empty_query_and_none_are_kept_as_they_are() {
    let values = [("host", "b.test")];
    assert_eq!(
        location(&values, "GET /? HTTP/1.1", "a", false),
        "http://b.test/?"
    );
    assert_eq!(location(&values, "GET / HTTP/1.1", "a:", false), "http://b.test/");
    assert_eq!(
        location(&values, "OPTIONS * HTTP/1.1", "a", false),
        "http://b.test/"
    );
}

#[test]
fn the_status_is_302_unless_written() {
    assert_eq!(redirect(&[("host", "b")]).status(), 302);
    for status in STATUSES {
        assert_eq!(
            redirect(&[("host", "b"), ("status", status)])
                .status()
                .to_string(),
            status
        );
    }
    for status in ["300", "304", "200", "", "+301"] {
        let errors = Redirect::build(&params(&[("host", "b"), ("status", status)]), &Matched::default());
        assert_eq!(errors.unwrap_err()[0].key, Some("status"), "{status}");
    }
}

#[test]
fn a_request_without_host_needs_one_in_the_redirect() {
    let head = head("GET //evil.test HTTP/1.0\r\n\r\n");
    let mut out = Vec::new();
    assert_eq!(
        redirect(&[("scheme", "https")]).location(&request(&head), &mut out),
        Err(MissingHost)
    );
    assert!(out.is_empty());
    assert_eq!(
        redirect(&[("host", "b")]).location(&request(&head), &mut out),
        Ok(())
    );
    assert_eq!(out, b"http://b//evil.test");
}

#[test]
fn a_redirect_that_is_certain_to_loop_is_an_error() {
    let matched = Matched {
        hosts: &["A.test"],
        path: Some("/x"),
        path_prefix: None,
        is_secure: Some(true),
        port: Some(8443),
    };
    let loops = |values: &[(&'static str, &'static str)], matched: &Matched<'_>| match Redirect::build(
        &params(values),
        matched,
    ) {
        Ok(_) => false,
        Err(errors) => {
            assert!(
                errors.len() == 1 && errors[0].message.contains("for ever"),
                "{errors:?}"
            );
            true
        }
    };
    for values in [
        &[][..],
        &[("query", "drop")],
        &[("status", "308")],
        &[("scheme", "https")],
        &[("host", "a.test")],
        &[("port", "8443")],
        &[("path", "/x")],
        &[("path", "/y/../x")],
        &[
            ("scheme", "https"),
            ("host", "a.test"),
            ("port", "8443"),
            ("path", "/x"),
        ],
    ] {
        assert!(loops(values, &matched), "{values:?}");
    }
    for values in [
        &[("scheme", "http")][..],
        &[("host", "b.test")],
        &[("port", "443")],
        &[("path", "/y")],
        &[("scheme", "https"), ("path", "/y")],
    ] {
        assert!(!loops(values, &matched), "{values:?}");
    }
    let unknown = Matched {
        hosts: &["a.test", "b.test"],
        path_prefix: Some("/x/"),
        ..Matched::default()
    };
    for values in [
        &[("scheme", "https")][..],
        &[("host", "a.test")],
        &[("port", "8443")],
        &[("path", "/x")],
        &[("path_prefix", "/y")],
    ] {
        assert!(!loops(values, &unknown), "{values:?}");
    }
    assert!(loops(&[("path_prefix", "/x")], &unknown));
}

#[test]
fn messages_say_what_to_write() {
    let errors = Redirect::build(
        &params(&[
            ("host", "a.test:80"),
            ("path", "new"),
            ("path_prefix", "/a"),
            ("status", "1"),
        ]),
        &Matched::default(),
    );
    let keys: Vec<_> = errors.unwrap_err().iter().map(|error| error.key).collect();
    assert_eq!(keys, [None, Some("path"), Some("host"), Some("status")]);
    for host in [
        "",
        "a b",
        "http://a",
        "a/b",
        "::1",
        "[::1]:80",
        "[::1",
        "a@b",
        "a\r\nX: b",
    ] {
        let mut params = Params::default();
        params.set("host", Value::Text(host.to_owned()));
        assert_eq!(
            Redirect::build(&params, &Matched::default()).unwrap_err()[0].key,
            Some("host"),
            "{host}"
        );
    }
    let without_prefix = Redirect::build(&params(&[("path_prefix", "/a")]), &Matched::default());
    assert_eq!(without_prefix.unwrap_err()[0].key, Some("path_prefix"));
}

proptest! {
    /// Whatever a client sends that can be parsed, the value is one header, and leads to the host that the config names.
    #[test]
    fn a_location_is_one_value_and_leads_to_the_named_host(
        path in "(/|//|\\.|%2[ef]|@|:|\\[|[a-z]){0,12}",
        query in "(\\?[!-\"$-~]{0,12})?",
        host in "[a-z]{1,5}(:[0-9]{0,4})?",
        is_secure in any::<bool>(),
    ) {
        let line = format!("GET /{path}{query} HTTP/1.1");
        for values in [&[("host", "b.test")][..], &[("host", "b.test"), ("path_prefix", "/")]] {
            let location = location(values, &line, &host, is_secure);
            prop_assert!(is_field_value(location.as_bytes()));
            let rest = location.split_once("://b.test").unwrap();
            prop_assert_eq!(rest.0, if is_secure { "https" } else { "http" });
            prop_assert!(rest.1.starts_with('/') || rest.1.starts_with(':'), "{}", location);
            let port = rest.1.split_once('/').unwrap().0;
            prop_assert!(port.chars().all(|c| c == ':' || c.is_ascii_digit()), "{}", location);
        }
    }
}
