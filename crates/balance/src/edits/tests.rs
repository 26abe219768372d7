//! Which headers can be changed, and what becomes of those of a message.

use proptest::prelude::*;

use super::*;
use crate::request::tests::head;
use crate::schema::ANY;
use crate::template::tests::{Source, is_field_value};

fn named(headers: &[(&str, &str)]) -> Value {
    let headers = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Value::Text((*value).to_owned())));
    let mut params = Params::default();
    params.set(ANY, Value::Named(headers.collect()));
    Value::Section(params)
}

fn params(set: &[(&str, &str)], add: &[(&str, &str)], remove: &[&str]) -> Params {
    let mut params = Params::default();
    params.set("set", named(set));
    params.set("add", named(add));
    let names = remove.iter().map(|name| Value::Text((*name).to_owned()));
    params.set("remove", Value::List(names.collect()));
    params
}

fn requests(set: &[(&str, &str)], add: &[(&str, &str)], remove: &[&str]) -> HeaderEdits {
    HeaderEdits::build(&params(set, add, remove), Direction::Request, &[]).unwrap()
}

fn errors(direction: Direction, params: &Params) -> Vec<String> {
    let errors = HeaderEdits::build(params, direction, &[]).unwrap_err();
    errors.iter().map(ToString::to_string).collect()
}

fn written(edits: &HeaderEdits) -> Vec<String> {
    let head = head("GET / HTTP/1.1\r\nHost: a.test\r\nX-In: in\r\n\r\n");
    let mut lines = Vec::new();
    edits.write(
        || Source::of(&head),
        &mut Vec::new(),
        |name, value, is_secret| {
            let value = String::from_utf8_lossy(value.bytes());
            lines.push(format!(
                "{name}: {value}{}",
                if is_secret { " (secret)" } else { "" }
            ));
        },
    );
    lines
}

#[test]
fn without_changes_nothing_is_removed_or_written() {
    for edits in [
        HeaderEdits::default(),
        HeaderEdits::build(&Params::default(), Direction::Response, &[]).unwrap(),
    ] {
        assert!(edits.is_empty() && !edits.removes(b"X-A") && !edits.removes(b""));
        assert!(written(&edits).is_empty());
    }
}

#[test]
fn set_replaces_add_keeps_and_remove_removes() {
    let edits = requests(
        &[("X-Env", "prod"), ("X-Ip", "${client_ip}")],
        &[("X-Tag", "a"), ("X-Tag", "${header.x-in}")],
        &["X-Debug"],
    );
    for (name, expected) in [
        ("x-env", true),
        ("X-IP", true),
        ("x-tag", false),
        ("X-DEBUG", true),
        ("X-Debugs", false),
        ("X-Debu", false),
        ("", false),
    ] {
        assert_eq!(edits.removes(name.as_bytes()), expected, "{name}");
    }
    assert_eq!(
        written(&edits),
        ["X-Env: prod", "X-Ip: 192.0.2.7", "X-Tag: a", "X-Tag: in (secret)"]
    );
}

#[test]
fn in_requests_names_with_other_marks_are_the_same() {
    let edits = requests(&[("X-User-Name", "a")], &[], &["X_Debug"]);
    for name in ["x_user_name", "X-User_Name", "x.user-name", "X-Debug", "x!debug"] {
        assert!(edits.removes(name.as_bytes()), "{name}");
    }
    assert!(!edits.removes(b"xadebug"));
    let responses = HeaderEdits::build(&params(&[], &[], &["X_Debug"]), Direction::Response, &[]).unwrap();
    assert!(responses.removes(b"x_debug") && !responses.removes(b"x-debug"));
}

#[test]
fn a_header_whose_value_comes_out_empty_is_only_removed() {
    let edits = requests(
        &[("X-Q", " ${query.absent} ")],
        &[("X-R", "${cookie.absent}")],
        &[],
    );
    assert!(edits.removes(b"x-q") && written(&edits).is_empty());
}

#[test]
fn a_header_whose_value_is_too_long_is_left_out() {
    let head = head(&format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX-A: {}\r\n\r\n",
        "x".repeat(6_000)
    ));
    let edits = requests(&[("X-B", "${header.x-a}${header.x-a}"), ("X-C", "c")], &[], &[]);
    let mut names = Vec::new();
    edits.write(
        || Source::of(&head),
        &mut Vec::new(),
        |name, _, _| {
            names.push(name.to_owned());
        },
    );
    assert_eq!(names, ["X-C"]);
}

#[test]
fn long_names_are_compared_too() {
    let long = format!("X-{}", "a".repeat(100));
    let edits = requests(&[], &[], &[&long]);
    assert!(edits.removes(long.to_uppercase().as_bytes()));
    assert!(!edits.removes(&long.as_bytes()[..80]));
}

#[test]
fn reserved_headers_cannot_be_set_and_the_error_says_what_can() {
    for (name, instead) in [
        ("Host", "`rewrite.host`"),
        ("Content-Length", "body"),
        ("content_length", "body"),
        ("Transfer.Encoding", "body"),
        ("Connection", "one connection"),
        ("Keep-Alive", "one connection"),
        ("Upgrade", "one connection"),
        ("TE", "one connection"),
        ("Trailer", "one connection"),
        ("Proxy-Connection", "one connection"),
        ("Proxy-Authorization", "proxies"),
        ("Proxy", "HTTP_PROXY"),
        ("Expect", "100"),
        ("X-Forwarded-For", "`trusted_proxies`"),
        ("X_Forwarded_Anything", "`forwarded`"),
        ("Forwarded", "`forwarded`"),
        ("X-Real-IP", "`forwarded`"),
        ("x_real_ip", "`forwarded`"),
        ("X-Request-Id", "${request_id}"),
        ("Client-Cert", "${client_cert_subject}"),
        ("Client_Cert-Chain", "${client_cert_subject}"),
        ("X-Evenkeel-Mirrored", "`mirror`"),
        ("Via", "loops"),
        ("Sec-WebSocket-Key", "WebSocket"),
        ("Sec-WebSocket-Protocol", "agree"),
        ("X A", "is not the name"),
        ("X:A", "is not the name"),
        ("", "is not the name"),
        ("X-\u{e4}", "is not the name"),
        ("X-A\r\nX-B", "is not the name"),
    ] {
        for params in [params(&[(name, "v")], &[], &[]), params(&[], &[(name, "v")], &[])] {
            let errors = errors(Direction::Request, &params);
            assert!(
                errors.len() == 1 && errors[0].contains(instead),
                "{name}: {errors:?}"
            );
        }
    }
}

#[test]
fn reserved_headers_cannot_be_removed_unless_that_is_harmless() {
    for name in [
        "Host",
        "Content_Length",
        "X-Forwarded-For",
        "X-Request-Id",
        "Via",
        "Sec-WebSocket-Key",
        "",
    ] {
        assert_eq!(
            errors(Direction::Request, &params(&[], &[], &[name])).len(),
            1,
            "{name}"
        );
    }
    let edits = requests(
        &[],
        &[],
        &[
            "Proxy",
            "Proxy-Authorization",
            "Sec-WebSocket-Extensions",
            "Accept",
        ],
    );
    assert!(edits.removes(b"proxy") && edits.removes(b"accept"));
}

#[test]
fn responses_reserve_other_headers() {
    for name in [
        "Date",
        "Content-Length",
        "Connection",
        "Via",
        "Transfer_Encoding",
        "Proxy-Status",
    ] {
        assert_eq!(
            errors(Direction::Response, &params(&[(name, "v")], &[], &[])).len(),
            1,
            "{name}"
        );
    }
    let set = [
        ("X-Request-Id", "${request_id}"),
        ("Server", "s"),
        ("Set-Cookie", "a=b"),
    ];
    let edits = HeaderEdits::build(&params(&set, &[], &[]), Direction::Response, &[]).unwrap();
    assert_eq!(written(&edits)[0], "X-Request-Id: abc");
    assert_eq!(errors(Direction::Response, &params(&[], &[], &["Date"])).len(), 1);
}

#[test]
fn reports_every_error_at_once() {
    let params = params(
        &[("Host", "a"), ("X-A", "${clientip}"), ("X-B", ""), ("x-a", "1")],
        &[("X-C", "$")],
        &["X-B", "TE"],
    );
    let errors = HeaderEdits::build(&params, Direction::Request, &[]).unwrap_err();
    let keys: Vec<_> = errors.iter().filter_map(|error| error.key).collect();
    assert_eq!(
        keys,
        ["set", "set", "set", "set", "add", "remove", "remove"],
        "{errors:?}"
    );
    assert!(
        errors[1]
            .message
            .contains("`X-A`: unknown variable ${clientip} (did you mean ${client_ip}?)")
    );
    assert!(errors[2].message.contains("`remove`"));
    assert!(errors[3].message.contains("`x-a` is named twice"));
}

#[test]
fn the_number_of_changes_is_bounded() {
    let names: Vec<String> = (0..=MAX_EDITS).map(|index| format!("X-{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(errors(Direction::Request, &params(&[], &[], &names)).len(), 1);
    assert!(HeaderEdits::build(&params(&[], &[], &names[1..]), Direction::Request, &[]).is_ok());
}

proptest! {
    /// Whatever the config says, and whatever a client sends, what is written is a header line.
    #[test]
    fn writes_valid_headers_only(
        set in prop::collection::vec(("[A-Za-z_ :\r\n-]{1,12}", "(\\PC|\\$\\{header\\.x-in\\}|[\r\n]){0,6}"), 0..5),
        value in "[ -~\t]{0,20}",
    ) {
        let set: Vec<(&str, &str)> = set.iter().map(|(name, value)| (&**name, &**value)).collect();
        let built = HeaderEdits::build(&params(&set, &[], &[]), Direction::Request, &[]);
        let head = head(&format!("GET / HTTP/1.1\r\nHost: a\r\nX-In: {value}\r\n\r\n"));
        if let Ok(edits) = built {
            edits.write(|| Source::of(&head), &mut Vec::new(), |name, value, _| {
                assert!(is_token(name.as_bytes()) && is_field_value(value.bytes()) && !value.bytes().is_empty());
            });
        }
    }

    /// The search by length finds what a plain comparison finds.
    #[test]
    fn removes_what_a_plain_comparison_finds(
        removed in prop::collection::btree_set("x[ab_-]{1,3}", 1..6),
        name in "[xX][aAbB_-]{1,3}",
    ) {
        let names: Vec<&str> = removed.iter().map(String::as_str).collect();
        if let Ok(edits) = HeaderEdits::build(&params(&[], &[], &names), Direction::Request, &[]) {
            let folded = |name: &str| name.to_ascii_lowercase().replace('_', "-");
            let expected = names.iter().any(|removed| folded(removed) == folded(&name));
            prop_assert_eq!(edits.removes(name.as_bytes()), expected);
        }
    }
}

#[test]
fn headers_without_variables_are_there_as_lines_too() {
    let edits = requests(&[("X-A", "b c")], &[("X-D", "e$$")], &[]);
    assert!(edits.is_literal());
    assert_eq!(edits.lines(), b"\r\nX-A: b c\r\nX-D: e$");
    let edits = requests(&[("X-A", "b"), ("X-H", "${host}")], &[], &[]);
    assert!(!edits.is_literal() && edits.lines().is_empty());
    let nothing = HeaderEdits::default();
    assert!(nothing.lines().is_empty() && nothing.literals().next().is_none());
}
