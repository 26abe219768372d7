//! `sticky` of a pool: what it means, and the messages about what does not fit together.

use std::time::Duration;

use super::{bad, good, read};
use crate::pool::{SameSite, Secure, StickySettings};

/// A config whose pool has this `sticky`.
fn with_sticky(sticky: &str) -> String {
    format!(
        "listen: :1\npools:\n  web:\n    backends: [http://a:1]\n    sticky: {sticky}\nroutes: [{{ pool: web }}]\n"
    )
}

fn sticky(text: &str) -> Option<StickySettings> {
    good(&with_sticky(text)).pools.remove(0).sticky
}

#[test]
fn a_cookie_has_safe_defaults() {
    let Some(StickySettings::Cookie(cookie)) = sticky("{ cookie: lb, secret: correct-horse-battery }") else {
        panic!("a cookie");
    };
    assert_eq!(
        (&*cookie.name, cookie.max_age, cookie.is_http_only),
        ("lb", None, true)
    );
    assert_eq!((cookie.same_site, cookie.secure), (SameSite::Lax, Secure::Auto));
    assert_eq!(cookie.secret.as_deref(), Some("correct-horse-battery"));
    let Some(StickySettings::Cookie(cookie)) = sticky("{ cookie: lb, max_age: 30m, secret: random }") else {
        panic!("a cookie");
    };
    assert_eq!(
        (cookie.max_age, cookie.secret),
        (Some(Duration::from_mins(30)), None)
    );
    assert_eq!(sticky("off"), None);
    assert_eq!(
        sticky("{ header: X-Id }"),
        Some(StickySettings::Header("X-Id".into()))
    );
}

#[test]
fn a_missing_secret_causes_a_warning() {
    let warnings = |text: &str| read(&with_sticky(text)).unwrap().warnings;
    let shown = warnings("{ cookie: lb }");
    assert_eq!(shown.len(), 1);
    assert!(shown[0].to_string().contains("has no `secret`"), "{}", shown[0]);
    for text in ["{ cookie: lb, secret: random }", "{ header: X-Id }", "off"] {
        assert!(warnings(text).is_empty(), "{text}");
    }
}

#[test]
fn rejects_what_does_not_fit_together() {
    for (text, words) in [
        ("{}", "requires `cookie` or `header`"),
        (
            "{ cookie: lb, header: X-Id, secret: random }",
            "exclude each other",
        ),
        (
            "{ cookie: 'a b', secret: random }",
            "invalid value `'a b'` for `cookie`",
        ),
        ("{ header: 'a:b' }", "for `header`"),
        ("{ header: Host }", "for `header`"),
        (
            "{ header: X-Id, same_site: none }",
            "`same_site` is a key of a sticky cookie",
        ),
        (
            "{ cookie: lb, secret: random, same_site: none, secure: never }",
            "browsers refuse",
        ),
        (
            "{ cookie: __Host-lb, secret: random, secure: never }",
            "browsers refuse",
        ),
        (
            "{ cookie: lb, secret: random, max_age: forever }",
            "for `max_age`",
        ),
    ] {
        let report = bad(&with_sticky(text)).to_string();
        assert!(report.contains(words), "{text}\n{report}");
    }
}

#[test]
fn a_short_secret_is_an_error_that_does_not_show_it() {
    let report = bad(&with_sticky("{ cookie: lb, secret: hunter2 }")).to_string();
    assert!(report.contains("shorter than 16 bytes"), "{report}");
    assert!(!report.contains("hunter2"), "{report}");
}
