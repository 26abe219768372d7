//! Preflight requests, and headers of responses.

use std::time::Duration;

use super::*;
use crate::kept::Kept;
use crate::request::tests::{head, request};

const APP: &str = "https://app.test";

fn built(lists: &[(&'static str, &[&str])], credentials: bool) -> Result<Box<dyn Policy>, BuildError> {
    let mut params = Params::default();
    for (key, texts) in lists {
        let texts = texts.iter().map(|text| Value::Text((*text).to_owned()));
        params.set(key, Value::List(texts.collect()));
    }
    params.set("credentials", Value::Flag(credentials));
    params.set("max_age", Value::Duration(Duration::from_secs(600)));
    build(Context {
        name: "web",
        params: &params,
        kept: &mut Kept::default().next(),
    })
}

fn policy(lists: &[(&'static str, &[&str])], credentials: bool) -> Box<dyn Policy> {
    built(lists, credentials).unwrap()
}

/// The status of the local response, if there is one, and the headers of the response, `-` before those that are removed.
fn check(policy: &dyn Policy, method: &str, lines: &str) -> (Option<u16>, Vec<String>) {
    let head = head(&format!("{method} / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
    let mut notes = Notes::default();
    let shown = |name: &str, value: &[u8]| format!("{name}: {}", String::from_utf8_lossy(value));
    match policy.check(&request(&head), &mut notes) {
        Decision::Refuse(response) => {
            assert_eq!(response.code, "", "nothing went wrong");
            let headers = response.headers.iter().map(|(name, value)| shown(name, value));
            (Some(response.status), headers.collect())
        }
        Decision::Continue => {
            let edits = notes.response_headers.iter().map(|edit| match edit {
                Edit::Remove(name) => format!("-{name}"),
                Edit::Set(name, value) | Edit::Add(name, value) => shown(name, value),
            });
            (None, edits.collect())
        }
        Decision::Wait(job) => panic!("{job:?}"),
    }
}

fn preflight(policy: &dyn Policy, origin: &str) -> (Option<u16>, Vec<String>) {
    let lines = format!("Origin: {origin}\r\nAccess-Control-Request-Method: PUT\r\n");
    check(policy, "OPTIONS", &lines)
}

const VARY_OF_PREFLIGHT: &str = "Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers";

#[test]
fn answers_a_preflight_request() {
    let lists: &[(&str, &[&str])] = &[
        ("origins", &[APP]),
        ("methods", &["GET", "PUT"]),
        ("headers", &["Content-Type", "X-Tag"]),
        ("expose", &["ETag"]),
    ];
    let (status, headers) = preflight(&*policy(lists, true), APP);
    assert_eq!(status, Some(204));
    assert_eq!(
        headers,
        [
            VARY_OF_PREFLIGHT,
            "Access-Control-Allow-Origin: https://app.test",
            "Access-Control-Allow-Credentials: true",
            "Access-Control-Allow-Methods: GET, PUT",
            "Access-Control-Allow-Headers: Content-Type, X-Tag",
            "Access-Control-Max-Age: 600",
        ]
    );
}

#[test]
fn a_preflight_request_of_another_origin_gets_no_cors_headers() {
    let policy = policy(&[("origins", &[APP])], false);
    for origin in ["https://evil.test", "null"] {
        assert_eq!(
            preflight(&*policy, origin),
            (Some(204), vec![VARY_OF_PREFLIGHT.to_owned()])
        );
    }
}

#[test]
fn an_options_request_that_is_no_preflight_is_forwarded() {
    let policy = policy(&[("origins", &[APP])], false);
    assert_eq!(check(&*policy, "OPTIONS", "").0, None);
    assert_eq!(check(&*policy, "OPTIONS", "Origin: https://app.test\r\n").0, None);
    assert_eq!(
        check(&*policy, "OPTIONS", "Access-Control-Request-Method: PUT\r\n").0,
        None
    );
    let lines = "Origin: https://app.test\r\nAccess-Control-Request-Method: PUT\r\n";
    assert_eq!(check(&*policy, "GET", lines).0, None);
}

#[test]
fn responses_to_an_allowed_origin_can_be_read() {
    let policy = policy(
        &[("origins", &[APP, "https://*.b.test"]), ("expose", &["ETag"])],
        true,
    );
    for origin in [APP, "https://a.b.test"] {
        let (_, headers) = check(&*policy, "GET", &format!("Origin: {origin}\r\n"));
        assert_eq!(
            headers,
            [
                "Vary: Origin".to_owned(),
                format!("Access-Control-Allow-Origin: {origin}"),
                "Access-Control-Allow-Credentials: true".to_owned(),
                "Access-Control-Expose-Headers: ETag".to_owned(),
            ]
        );
    }
}

#[test]
fn responses_to_another_origin_cannot_be_read_whatever_the_backend_says() {
    let policy = policy(&[("origins", &[APP]), ("expose", &["ETag"])], true);
    let expected = [
        "Vary: Origin",
        "-Access-Control-Allow-Origin",
        "-Access-Control-Allow-Credentials",
        "-Access-Control-Expose-Headers",
    ];
    let two = "https://app.test\r\nOrigin: https://app.test";
    for origin in ["https://evil.test", "null"] {
        assert_eq!(
            check(&*policy, "GET", &format!("Origin: {origin}\r\n")).1,
            expected
        );
    }
    let (_, headers) = check(&*policy, "GET", &format!("Origin: {two}\r\n"));
    assert!(
        !headers.iter().any(|header| header.contains("Origin: https")),
        "{headers:?}"
    );
    assert_eq!(check(&*policy, "GET", "").1, ["Vary: Origin"]);
}

#[test]
fn every_origin_needs_no_vary() {
    let policy = policy(&[("origins", &["*"])], false);
    let expected = [
        "Access-Control-Allow-Origin: *",
        "-Access-Control-Allow-Credentials",
        "-Access-Control-Expose-Headers",
    ];
    for lines in ["Origin: https://any.test\r\n", ""] {
        assert_eq!(check(&*policy, "GET", lines).1, expected);
    }
    let (_, headers) = preflight(&*policy, "https://any.test");
    assert!(headers.contains(&"Access-Control-Allow-Origin: *".to_owned()));
    assert!(headers.contains(&"Access-Control-Allow-Methods: GET, HEAD, POST".to_owned()));
}

#[test]
fn credentials_do_not_go_with_a_wildcard_for_everything() {
    for key in ["origins", "methods", "headers", "expose"] {
        let with = |text: &'static str| {
            let mut lists: Vec<(&'static str, &[&str])> = vec![("origins", &[APP])];
            let star: &[&str] = if text == "*" { &["*"] } else { &[APP] };
            lists.push((key, star));
            built(&lists, true)
        };
        let error = with("*").unwrap_err();
        assert_eq!(error.key, Some(key));
        assert!(error.message.contains("`credentials: true` requires"));
    }
    assert!(built(&[("origins", &[APP]), ("headers", &["*"])], false).is_ok());
    assert_eq!(
        built(&[("origins", &[])], false).unwrap_err().key,
        Some("origins")
    );
}
