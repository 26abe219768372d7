//! What becomes of paths, also of hostile ones.

use proptest::prelude::*;

use super::*;
use crate::schema::Value;

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn regex(pattern: &str, replacement: &str) -> Value {
    let mut params = Params::default();
    params.set("match", text(pattern));
    params.set("replace", text(replacement));
    Value::Section(params)
}

fn build(key: &'static str, value: Value, route_prefix: Option<&str>) -> Result<Rewrite, Vec<BuildError>> {
    let mut params = Params::default();
    params.set(key, value);
    Rewrite::build(&params, route_prefix)
}

fn message(key: &'static str, value: Value) -> String {
    let errors = build(key, value, None).unwrap_err();
    assert_eq!(errors.len(), 1);
    errors[0].to_string()
}

/// The new path; `None` if it stays.
fn rewritten(rewrite: &Rewrite, path: &str) -> Option<String> {
    let mut out = b"of the request before".to_vec();
    match rewrite.path(path.as_bytes(), &mut out).unwrap() {
        Rewritten::Same => {
            assert!(out.is_empty());
            None
        }
        Rewritten::Changed { .. } => Some(String::from_utf8(out).unwrap()),
    }
}

#[test]
fn without_a_change_the_path_stays() {
    assert_eq!(rewritten(&Rewrite::default(), "/a"), None);
    assert_eq!(Rewrite::default().host(), &Host::Keep);
}

#[test]
fn a_whole_path_is_replaced() {
    let rewrite = build("path", text("/x/../y"), None).unwrap();
    assert_eq!(rewritten(&rewrite, "/a/b").as_deref(), Some("/y"));
    assert_eq!(rewritten(&rewrite, "*"), None);
}

/// The table of `ReplacePrefixMatch` in the Gateway API, and more.
#[test]
fn a_prefix_is_replaced_at_the_end_of_a_segment() {
    for (path, from, to, expected) in [
        ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
        ("/foo", "/foo", "/xyz", "/xyz"),
        ("/foo/", "/foo", "/xyz", "/xyz/"),
        ("/foo/bar", "/foo", "/", "/bar"),
        ("/foo/", "/foo", "/", "/"),
        ("/foo", "/foo", "/", "/"),
        ("/bar", "/", "/xyz", "/xyz/bar"),
        ("/", "/", "/xyz", "/xyz/"),
        ("/bar", "/", "/", "/bar"),
        ("/foo//evil.test", "/foo", "/", "/evil.test"),
        ("/foo//bar//baz", "/foo", "/xyz", "/xyz/bar//baz"),
        ("/foo/%2e%2e/bar", "/foo", "/xyz", "/bar"),
    ] {
        let rewrite = build("path_prefix", text(to), Some(from)).unwrap();
        assert_eq!(
            rewritten(&rewrite, path).as_deref(),
            Some(expected),
            "{path} {from} {to}"
        );
    }
    let rewrite = build("path_prefix", text("/xyz"), Some("/foo")).unwrap();
    for other in ["/food", "/fo", "/bar/foo", "/Foo"] {
        assert_eq!(rewritten(&rewrite, other), None, "{other}");
    }
}

#[test]
fn a_removed_prefix_is_told() {
    let removed = |from, to| {
        let rewrite = build("path_prefix", text(to), Some(from)).unwrap();
        let path = format!("{from}/x");
        match rewrite.path(path.as_bytes(), &mut Vec::new()).unwrap() {
            Rewritten::Changed { removed_prefix } => removed_prefix.map(str::to_owned),
            Rewritten::Same => panic!("{from} {to}"),
        }
    };
    assert_eq!(removed("/v1/api", "/").as_deref(), Some("/v1/api"));
    assert_eq!(removed("/v1/", "/").as_deref(), Some("/v1"));
    assert_eq!(removed("/v1", "/v2"), None);
    assert_eq!(removed("/", "/"), None);
}

#[test]
fn a_regex_replaces_every_match() {
    for (path, pattern, replacement, expected) in [
        ("/a/x/y", "^/a/(.*)$", "/b/$1", Some("/b/x/y")),
        (
            "/users/7/x",
            "^/users/(?<id>[0-9]+)",
            "/u/${id}.json",
            Some("/u/7.json/x"),
        ),
        ("/a_b_c", "_", "-", Some("/a-b-c")),
        ("/ab", "(a)(b)", "${2}1$1$$$0", Some("/b1a$ab")),
        ("/a", "^/(?:(x)|a)", "/[$1]", Some("/[]")),
        ("/b", "^/a", "/c", None),
        ("/a/b", "/a/b", "/x/../y/./z", Some("/y/z")),
        ("/a/.b", "b$", ".", Some("/")),
        ("/A", "(?i)^/a$", "/b", Some("/b")),
    ] {
        let rewrite = build("path_regex", regex(pattern, replacement), None).unwrap();
        assert_eq!(
            rewritten(&rewrite, path).as_deref(),
            expected,
            "{path} {pattern} {replacement}"
        );
    }
}

#[test]
fn what_is_not_a_path_afterwards_is_an_error() {
    for (path, pattern, replacement) in [
        ("/a", "^/", ""),
        ("/a", ".*", ""),
        ("/a", "a", "b?c=d"),
        ("/a", "a", "b#c"),
        ("/a", "a", "b c"),
        ("/a", "a", "\u{e4}"),
        ("/a%41", "4", ""),
        ("/a%41", "41", "00"),
        ("/a", "a", "\\\\"),
        ("/a", "^/", "http://b/"),
    ] {
        let rewrite = build("path_regex", regex(pattern, replacement), None).unwrap();
        let mut out = Vec::new();
        assert_eq!(
            rewrite.path(path.as_bytes(), &mut out),
            Err(InvalidPath),
            "{path} {pattern} {replacement}"
        );
    }
}

#[test]
fn a_path_that_grows_without_bound_is_an_error() {
    let rewrite = build("path_regex", regex("x", &"y".repeat(1_000)), None).unwrap();
    let path = format!("/{}", "x".repeat(10_000));
    let mut out = Vec::new();
    assert_eq!(rewrite.path(path.as_bytes(), &mut out), Err(InvalidPath));
    assert!(out.len() < 100_000, "{}", out.len());
}

#[test]
fn the_host_is_kept_or_named() {
    let host = |name| build("host", text(name), None).unwrap().host().clone();
    assert_eq!(host("keep"), Host::Keep);
    assert_eq!(host("backend"), Host::Backend);
    assert_eq!(host("a.test:8080"), Host::Name("a.test:8080".into()));
    assert_eq!(host("[::1]"), Host::Name("[::1]".into()));
    for wrong in ["", "a b", "http://a", "a/b", "a:b", "user@a", "a\r\nX: b"] {
        assert!(message("host", text(wrong)).contains("is not a host"), "{wrong}");
    }
}

#[test]
fn messages_say_what_to_write() {
    for wrong in ["", "x", "/a?b", "/a#b", "/a b", "/a%2", "*"] {
        assert!(message("path", text(wrong)).contains("is not a path"), "{wrong}");
    }
    assert!(message("path_prefix", text("/x")).contains("add it to the route"));
    assert!(message("path_regex", regex("(", "")).contains("`match` is not a valid regular expression"));
    assert!(
        message("path_regex", regex("(?<a>x){1000}{1000}", ""))
            .contains("`match` is not a valid regular expression")
    );
    assert!(message("path_regex", regex("(a)", "$2")).contains("no group 2: it has 1"));
    assert!(message("path_regex", regex("(?<name>a)", "${nam}")).contains("(did you mean `name`?)"));
    assert!(message("path_regex", regex("a", "$x")).contains("`$$`"));
    assert!(message("path_regex", regex("a", "${x")).contains("unclosed"));
    let mut params = Params::default();
    params.set("path", text("x"));
    params.set("path_prefix", text("/y"));
    params.set("host", text(""));
    assert_eq!(Rewrite::build(&params, None).unwrap_err().len(), 3);
}

/// What is true of every path that goes to a backend.
fn is_path(path: &[u8]) -> bool {
    let is_dots = |segment: &[u8]| {
        let text = String::from_utf8_lossy(segment)
            .to_lowercase()
            .replace("%2e", ".");
        text == "." || text == ".."
    };
    path.starts_with(b"/")
        && path
            .iter()
            .all(|byte| byte.is_ascii_graphic() && !b"?#\\<>".contains(byte))
        && !path.split(|byte| *byte == b'/').any(is_dots)
}

/// Paths as the parser of requests leaves them.
fn received() -> impl Strategy<Value = String> {
    "(/(a|b|\\.|%2[eEfF]|%41|[ab]{1,3}|;x=1){0,3}){1,5}".prop_filter_map("not a path", |path| {
        let mut path = path.into_bytes();
        normalise_path(&mut path).ok()?;
        String::from_utf8(path).ok()
    })
}

proptest! {
    #[test]
    fn a_rewritten_path_is_a_path(
        path in received(),
        pattern in prop::sample::select(vec!["^/a", "/", "b", "(.)a", "%2", "\\.", "^(.*)$", "[^/]+", "(?:)"]),
        replacement in "(\\PC|/|\\.|%2e|%|\\$0|[?# \r\n\t]){0,6}",
        to in "/[ab.]{0,3}(/[ab.]{0,2}){0,2}",
    ) {
        let rewrites = [
            build("path_regex", regex(pattern, &replacement), None),
            build("path_prefix", text(&to), Some("/a")),
            build("path_prefix", text(&to), Some("/")),
            build("path", text(&to), None),
        ];
        for rewrite in rewrites.into_iter().flatten() {
            let mut out = Vec::new();
            if let Ok(Rewritten::Changed { .. }) = rewrite.path(path.as_bytes(), &mut out) {
                prop_assert!(is_path(&out), "{path} -> {:?}", String::from_utf8_lossy(&out));
                let mut again = out.clone();
                prop_assert!(normalise_path(&mut again).is_ok());
                prop_assert_eq!(&again, &out, "normalising is idempotent");
            }
        }
    }

    /// With and without slashes at the ends, exactly one slash stands where the prefix ends.
    #[test]
    fn a_prefix_leaves_no_double_and_no_missing_slash(
        from in "(/[a-c]{1,2}){0,2}/?",
        to in "(/[x-z]{1,2}){1,2}/{0,2}",
        rest in "(/{1,3}[a-c]{1,2})?",
    ) {
        prop_assume!(!from.is_empty() || !rest.is_empty());
        let route_prefix = if from.is_empty() { "/" } else { &*from };
        let path = format!("{}{rest}", from.trim_end_matches('/'));
        prop_assume!(!path.is_empty());
        let rewrite = build("path_prefix", text(&to), Some(route_prefix)).unwrap();
        let expected = match rest.trim_start_matches('/') {
            "" => to.trim_end_matches('/').to_owned(),
            rest => format!("{}/{rest}", to.trim_end_matches('/')),
        };
        prop_assert_eq!(rewritten(&rewrite, &path), Some(expected));
    }

    #[test]
    fn any_bytes_are_rewritten_without_panic(path in prop::collection::vec(any::<u8>(), 0..60)) {
        for rewrite in [
            build("path_regex", regex("(.)", "$1$1"), None).unwrap(),
            build("path_prefix", text("/x"), Some("/")).unwrap(),
        ] {
            let mut out = Vec::new();
            if let Ok(Rewritten::Changed { .. }) = rewrite.path(&path, &mut out) {
                prop_assert!(is_path(&out));
            }
        }
    }
}
