//! Tests of targets, authorities and paths. F and I numbers name classes of attack.

use super::{Target, check_authority, parse};
use crate::head::{Method, Span};
use crate::http1::Malformed;
use proptest::prelude::*;

/// Path, query and authority of a target that is surrounded by other bytes.
fn read(target: &str, method: Method) -> Result<(String, Option<String>, Option<String>), Malformed> {
    let mut bytes = format!("GET {target} HTTP/1.1").into_bytes();
    let Target {
        path,
        query,
        authority,
    } = parse(&mut bytes, 4, 4 + target.len(), method)?;
    assert!(
        bytes.starts_with(b"GET ") && bytes.ends_with(b" HTTP/1.1"),
        "wrote outside the target"
    );
    let text = |span: Span| String::from_utf8(span.of(&bytes).to_vec()).unwrap();
    Ok((text(path), query.map(text), authority.map(text)))
}

fn path(target: &str) -> Result<String, Malformed> {
    read(target, Method::Get).map(|(path, _, _)| path)
}

/// RFC 9112 §3.2.1.
#[test]
fn origin_form_has_path_and_query() {
    let some = |text: &str| Some(text.to_owned());
    for (target, path, query) in [
        ("/", "/", None),
        ("/a/b", "/a/b", None),
        ("/a?", "/a", some("")),
        ("/a?b=c&d", "/a", some("b=c&d")),
        ("/a?b?c/../d", "/a", some("b?c/../d")),
        ("//evil/", "//evil/", None),
        ("/%41%2f%2F;x=y,z", "/%41%2f%2F;x=y,z", None),
        ("/[a]{b}|\"^`", "/[a]{b}|\"^`", None),
        ("/?100%&%zz&<a>\\%00", "/", some("100%&%zz&<a>\\%00")),
    ] {
        assert_eq!(
            read(target, Method::Get),
            Ok((path.to_owned(), query, None)),
            "{target}"
        );
    }
}

/// RFC 9112 §3.2.2.
#[test]
fn absolute_form_gives_the_authority() {
    for (target, path, query, authority) in [
        ("http://a", "/", None, "a"),
        ("http://a/", "/", None, "a"),
        ("HTTP://a:80/b?c", "/b", Some("c"), "a:80"),
        ("https://a.example?c", "/", Some("c"), "a.example"),
        ("hTTps://[::1]:8443/x/../y", "/y", None, "[::1]:8443"),
        ("http://a?/b", "/", Some("/b"), "a"),
    ] {
        let expected = Ok((
            path.to_owned(),
            query.map(str::to_owned),
            Some(authority.to_owned()),
        ));
        assert_eq!(read(target, Method::Get), expected, "{target}");
    }
}

/// RFC 9112 §3.2.4.
#[test]
fn asterisk_form_is_for_options_only() {
    let all = |target| read(target, Method::Options).map(|(path, query, _)| (path, query));
    assert_eq!(all("*"), Ok(("*".to_owned(), None)));
    assert_eq!(all("http://a"), Ok(("*".to_owned(), None)));
    assert_eq!(all("http://a?b"), Ok(("/".to_owned(), Some("b".to_owned()))));
    assert_eq!(all("http://a/"), Ok(("/".to_owned(), None)));
    assert_eq!(all("**"), Err(Malformed::BadTarget));
    assert_eq!(path("*"), Err(Malformed::BadTarget));
}

/// F19; RFC 9112 §3.2.
#[test]
fn refuses_every_other_target() {
    for target in [
        "",
        "foo",
        "a:80",
        "?a",
        "./a",
        "ftp://a/",
        "http:/a",
        "http:a",
        "http//a",
        "/a#b",
        "/a?b#c",
        "#",
        "/a\\b",
        "/<a>",
        "/\u{e4}",
        "/?\u{e4}",
        "/a b",
        "/a\tb",
        "/a\u{7f}",
        "http://a/#b",
    ] {
        assert_eq!(path(target), Err(Malformed::BadTarget), "{target:?}");
    }
    for target in [
        "http://",
        "http:///a",
        "http://?a",
        "http://u@a/",
        "http://a:b@c/",
        "http://a,b/",
        "http://a#b",
        "http://a\\b/",
    ] {
        assert_eq!(path(target), Err(Malformed::BadHost), "{target:?}");
    }
    for target in ["/%", "/%2", "/%zz", "/%%41", "/%00", "/a%2/b", "/%u0041", "/%+1"] {
        assert_eq!(path(target), Err(Malformed::BadEscape), "{target:?}");
    }
}

/// I3; RFC 3986 §5.2.4, with `%2e` as a dot (§6.2.2.2).
#[test]
fn resolves_dot_segments_once_and_keeps_the_rest() {
    for (target, expected) in [
        ("/.", "/"),
        ("/..", "/"),
        ("/./", "/"),
        ("/../", "/"),
        ("/a/.", "/a/"),
        ("/a/./", "/a/"),
        ("/a/..", "/"),
        ("/a/../", "/"),
        ("/a/b/..", "/a/"),
        ("/a/b/../c", "/a/c"),
        ("/a/b/c/./../../g", "/a/g"),
        ("/a/../../../b", "/b"),
        ("/%2e", "/"),
        ("/a/%2E%2e/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/a/%2e./b", "/b"),
        ("/a/%2e/b", "/a/b"),
        ("/a//../b", "/a/b"),
        ("/a//b", "/a//b"),
        ("/a/..//b", "//b"),
        ("/..;x/b", "/..;x/b"),
        ("/.;x/b", "/.;x/b"),
        ("/a/..%2fb", "/a/..%2fb"),
        ("/a%2f../b", "/a%2f../b"),
        ("/...", "/..."),
        ("/.a", "/.a"),
        ("/..a/.b", "/..a/.b"),
        ("/a./b..", "/a./b.."),
        ("/%252e%252e/a", "/%252e%252e/a"),
        ("/.well-known/x", "/.well-known/x"),
        ("/A%2fb/../C", "/C"),
    ] {
        assert_eq!(path(target).as_deref(), Ok(expected), "{target}");
    }
}

/// F20; RFC 9112 §3.2, RFC 3986 §3.2.2 and §3.2.3.
#[test]
fn authority_is_a_host_with_an_optional_port() {
    for valid in [
        "a",
        "a.example",
        "A-b_c.example",
        "a.",
        "127.0.0.1",
        "a:80",
        "a:",
        "a:0",
        "a:65535",
        "a:00080",
        "[::1]",
        "[::1]:80",
        "[::ffff:1.2.3.4]:",
        "xn--bcher-kva.example",
        "!$&'()*+;=~",
    ] {
        assert_eq!(check_authority(valid.as_bytes()), Ok(()), "{valid}");
    }
    for invalid in [
        "",
        ":80",
        "a:65536",
        "a:99999",
        "a:123456",
        "a:-1",
        "a:+1",
        "a:b",
        "a:8 0",
        "a:80:80",
        "a,b",
        "u@a",
        "a/b",
        "a?b",
        "a#b",
        "a\\b",
        "a b",
        "a%41",
        "[]",
        "[",
        "[::1",
        "::1",
        "[::1]a",
        "[::1]80",
        "[::1%25eth0]",
        "[v1.a]",
        "[1.2.3.4]",
        "[[::1]]",
        "]",
        "a\u{e4}",
        "a\0.b",
        "a<",
        "a\"",
        "{a}",
        "a|b",
        "a^",
    ] {
        assert_eq!(
            check_authority(invalid.as_bytes()),
            Err(Malformed::BadHost),
            "{invalid:?}"
        );
    }
}

/// RFC 3986 §5.2.4 implemented literally, for comparison.
fn resolve_by_the_book(path: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    for (at, segment) in segments.iter().enumerate() {
        let is_last = at + 1 == segments.len();
        match segment.to_ascii_lowercase().replace("%2e", ".").as_str() {
            "." => {}
            ".." => {
                out.pop();
            }
            _ => {
                out.push(segment);
                continue;
            }
        }
        if is_last {
            out.push("");
        }
    }
    format!("/{}", out.join("/"))
}

fn segments() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        Just("."),
        Just(".."),
        Just("%2e"),
        Just("%2E."),
        Just(".%2e"),
        Just(""),
        Just("a"),
        Just("bc"),
        Just("..."),
        Just("..;"),
        Just("%2f"),
        Just("%2e%2e%2e"),
    ];
    proptest::collection::vec(segment, 1..10).prop_map(|segments| format!("/{}", segments.join("/")))
}

proptest! {
    #[test]
    fn resolves_as_the_rfc_does(target in segments()) {
        prop_assert_eq!(path(&target), Ok(resolve_by_the_book(&target)));
    }

    #[test]
    fn resolving_again_changes_nothing(target in segments()) {
        let once = path(&target).unwrap();
        prop_assert_eq!(path(&once), Ok(once.clone()));
    }

    #[test]
    fn never_panics_and_accepts_only_visible_ascii(bytes in proptest::collection::vec(any::<u8>(), 0..40), prefix in prop_oneof![Just("/"), Just("http://a"), Just("")]) {
        let mut bytes = [prefix.as_bytes(), &bytes].concat();
        let length = bytes.len();
        if let Ok(target) = parse(&mut bytes, 0, length, Method::Get) {
            prop_assert_eq!(target.path.of(&bytes).first(), Some(&b'/'));
            for span in [Some(target.path), target.query, target.authority].into_iter().flatten() {
                prop_assert!(span.of(&bytes).iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#'));
            }
        }
    }
}

#[test]
fn a_path_that_was_not_received_is_checked_like_one_that_was() {
    let normalised = |path: &[u8]| {
        let mut path = path.to_vec();
        super::normalise_path(&mut path).map(|()| path)
    };
    assert_eq!(normalised(b"/a/./b/../c"), Ok(b"/a/c".to_vec()));
    assert_eq!(normalised(b"/%2e%2E/a//"), Ok(b"/a//".to_vec()));
    for wrong in [
        &b""[..],
        b"a",
        b"*",
        b"/a?b",
        b"/a#b",
        b"/a b",
        b"/a\r\n",
        b"/\xc3\xa4",
        b"\\",
    ] {
        assert_eq!(normalised(wrong), Err(Malformed::BadTarget), "{wrong:?}");
    }
    for wrong in [&b"/%"[..], b"/%4", b"/%4x", b"/%00"] {
        assert_eq!(normalised(wrong), Err(Malformed::BadEscape), "{wrong:?}");
    }
}

proptest! {
    #[test]
    fn normalising_a_normalised_path_changes_nothing(path in "(/(\\.|%2[eE]|a|;|%41){0,4}){1,8}") {
        let mut once = path.into_bytes();
        prop_assert!(super::normalise_path(&mut once).is_ok());
        prop_assert!(once.starts_with(b"/"));
        let mut twice = once.clone();
        prop_assert!(super::normalise_path(&mut twice).is_ok());
        prop_assert_eq!(once, twice);
    }
}
