//! What values can be written, and that nothing a client sends can break out of one.

use std::net::IpAddr;

use evenkeel_wire::head::RequestHead;
use proptest::prelude::*;

use super::*;
use crate::request::tests::{head, request};

/// A source for tests. Its facts are hostile or harmless, as a test needs.
pub(crate) struct Source<'a> {
    pub(crate) head: &'a RequestHead,
    pub(crate) notes: Notes,
    pub(crate) fact: Vec<u8>,
    pub(crate) client_ip: IpAddr,
}

impl Variables for Source<'_> {
    fn request(&self) -> Request<'_> {
        Request {
            client_ip: Some(self.client_ip),
            ..request(self.head)
        }
    }

    fn notes(&self) -> Option<&Notes> {
        Some(&self.notes)
    }

    fn client_port(&self) -> Option<u16> {
        Some(50_000)
    }

    fn fact(&self, fact: Fact) -> &[u8] {
        match (&*self.fact, fact) {
            (b"", Fact::RequestId) => b"abc",
            (b"", Fact::TraceId) => b"4bf9",
            (b"", Fact::Route) => b"api",
            (b"", Fact::Pool) => b"web",
            (b"", Fact::Backend) => b"http://b:1",
            (b"", Fact::TlsVersion) => b"TLSv1.3",
            (b"", Fact::TlsSni) => b"a.test",
            (b"", Fact::ClientCertSubject) => b"CN=c, O=d",
            (fact, _) => fact,
        }
    }

    fn path_group(&self, name: &str) -> &[u8] {
        match (&*self.fact, name) {
            (b"", "id") => b"7",
            (fact, _) => fact,
        }
    }
}

impl<'a> Source<'a> {
    pub(crate) fn of(head: &'a RequestHead) -> Self {
        Source {
            head,
            notes: Notes {
                user: Some("alice".into()),
                claims: vec![("sub".into(), b"s1".as_slice().into())],
                ..Notes::default()
            },
            fact: Vec::new(),
            client_ip: IpAddr::from([192, 0, 2, 7]),
        }
    }
}

const REQUEST: &str = "GET /users/7?version=%32&b&n%61me=n HTTP/1.1\r\nHost: a.test:81\r\nX-Tag: 1\r\nx-tag: 2\r\n\
                       Cookie: beta=1; c=\"2\"\r\nCookie: d=3\r\n\r\n";

fn rendered(text: &str) -> String {
    let head = head(REQUEST);
    let mut out = b"before ".to_vec();
    let template = Template::parse(text, &["id"]).unwrap();
    template.render(&Source::of(&head), &mut out).unwrap();
    let value = out.strip_prefix(b"before ").expect("what was there stays");
    String::from_utf8(value.to_vec()).unwrap()
}

#[test]
fn renders_every_variable() {
    for (text, value) in [
        ("plain", "plain"),
        ("", ""),
        ("${client_ip}", "192.0.2.7"),
        ("${client_port}", "50000"),
        ("${host}", "a.test"),
        ("${path}", "/users/7"),
        ("${request_id}", "abc"),
        ("${route}", "api"),
        ("${pool}", "web"),
        ("${backend}", "http://b:1"),
        ("${tls_version}", "TLSv1.3"),
        ("${tls_sni}", "a.test"),
        ("${client_cert_subject}", "CN=c, O=d"),
        ("${user}", "alice"),
        ("${path.id}", "7"),
        ("${header.X-TAG}", "1, 2"),
        ("${header.cookie}", "beta=1; c=\"2\"; d=3"),
        ("${header.absent}", ""),
        ("${query.version}", "%32"),
        ("${query.b}", ""),
        ("${query.name}", "n"),
        ("${cookie.c}", "2"),
        ("${jwt.sub}", "s1"),
        ("${jwt.absent}", ""),
        ("a$$b$${c}", "a$b${c}"),
        ("<${path.id}|${user}>", "<7|alice>"),
        (" a ", "a"),
        (" ${header.absent} x\t", "x"),
        ("ü", "ü"),
    ] {
        assert_eq!(rendered(text), value, "{text}");
    }
}

/// On a socket for both families, the kernel names clients of IPv4 by IPv6 addresses.
#[test]
fn an_ipv4_client_of_an_ipv6_socket_has_its_ipv4_address() {
    let head = head(REQUEST);
    let mut out = Vec::new();
    let source = Source {
        client_ip: "::ffff:192.0.2.9".parse().unwrap(),
        ..Source::of(&head)
    };
    Template::parse("${client_ip}", &[])
        .unwrap()
        .render(&source, &mut out)
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&out), "192.0.2.9");
}

#[test]
fn every_variable_of_the_docs_can_be_parsed() {
    for (name, about) in VARIABLES {
        assert!(!about.is_empty());
        let text = format!("${{{}}}", name.replace("NAME", "id"));
        assert_eq!(Template::parse(&text, &["id"]).map(|_| ()), Ok(()), "{text}");
    }
}

#[test]
fn only_a_value_without_variables_is_literal() {
    let literal = |text| Template::parse(text, &[]).unwrap().literal().map(<[u8]>::to_vec);
    assert_eq!(literal(" a$$ "), Some(b"a$".to_vec()));
    assert_eq!(literal("  "), Some(Vec::new()));
    assert_eq!(literal("a${user}"), None);
}

#[test]
fn values_from_credentials_may_hold_secrets() {
    for (text, expected) in [
        ("a", false),
        ("${client_ip}", false),
        ("${header.Authorization}", true),
        ("a${cookie.sid}", true),
        ("${jwt.sub}", true),
    ] {
        assert_eq!(
            Template::parse(text, &[]).unwrap().may_hold_secret(),
            expected,
            "{text}"
        );
    }
}

#[test]
fn messages_say_what_to_write() {
    let message = |text: &str| Template::parse(text, &["id", "name"]).unwrap_err().to_string();
    assert!(message("${clientip}").starts_with(
        "unknown variable ${clientip} (did you mean ${client_ip}?): the variables are client_ip, "
    ));
    assert!(message("${headers.X-A}").contains("(did you mean ${header.X-A}?)"));
    assert!(message("${remote_addr}").starts_with("unknown variable ${remote_addr}: "));
    assert!(message("${HOME}").contains("write `$${HOME}` for the text itself"));
    assert!(message("$5").contains("`$$`"));
    assert!(message("$").contains("`$$`"));
    assert!(message("${path").contains("unclosed"));
    assert!(message("${header.}").contains("${header.NAME}"));
    assert!(message("${header.a b}").contains("${header.NAME}"));
    assert!(message("${path.nam}").contains("(did you mean `name`?)"));
    assert!(message("${path.}").contains("${path.NAME}"));
    assert!(message("a\r\nX: b").contains("line breaks"));
    assert!(message(&"x".repeat(MAX_VALUE + 1)).contains("8192 bytes"));
    assert!(Template::parse("${}", &[]).is_err());
}

#[test]
fn a_value_that_is_too_long_is_not_used() {
    let long = "x".repeat(MAX_VALUE / 2);
    let head = head(&format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: {long}\r\n\r\n"));
    let source = Source::of(&head);
    let mut out = b"kept".to_vec();
    let render = |text: &str, out: &mut Vec<u8>| Template::parse(text, &[]).unwrap().render(&source, out);
    assert_eq!(render("${header.x-a}${header.x-a}", &mut out), Ok(()));
    assert_eq!(out.len(), 4 + MAX_VALUE);
    out.truncate(4);
    assert_eq!(render("${header.x-a}${header.x-a}.", &mut out), Err(TooLong));
    assert_eq!(out, b"kept");
}

/// A value that can stand in a header line, whatever the protocol.
pub(crate) fn is_field_value(value: &[u8]) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    value.iter().all(|byte| is_clean(*byte))
        && !is_space(value.first())
        && !is_space(value.last())
        && value.len() <= MAX_VALUE
}

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        3 => prop::sample::select(b"\r\n\0\t \x7f\x0b:\x1b".to_vec()),
        2 => any::<u8>(),
    ];
    prop::collection::vec(byte, 0..40)
}

proptest! {
    #[test]
    fn no_variable_can_break_out_of_a_value(
        parts in prop::collection::vec((0..VARIABLES.len(), "[ -#%-~]{0,4}"), 0..6),
        fact in hostile(),
        claim in hostile(),
        user in "\\PC{0,5}[\r\n\t]{0,3}\\PC{0,5}",
    ) {
        let head = head(REQUEST);
        let source = Source {
            head: &head,
            notes: Notes {
                user: Some(user.into()),
                claims: vec![("id".into(), claim.into())],
                ..Notes::default()
            },
            fact,
            client_ip: IpAddr::from([192, 0, 2, 7]),
        };
        let text: String = parts
            .iter()
            .map(|(index, literal)| format!("{literal}${{{}}}", VARIABLES[*index].0.replace("NAME", "id")))
            .collect();
        let mut out = Vec::new();
        Template::parse(&text, &["id"]).unwrap().render(&source, &mut out).unwrap();
        prop_assert!(is_field_value(&out), "{text:?}: {out:?}");
    }

    #[test]
    fn parses_any_text_and_never_keeps_a_control_byte(text in "(\\PC|[${}a-z.\r\n\t\u{0}]){0,40}") {
        if let Ok(template) = Template::parse(&text, &["a"]) {
            let head = head(REQUEST);
            let mut out = Vec::new();
            template.render(&Source::of(&head), &mut out).unwrap();
            prop_assert!(is_field_value(&out), "{out:?}");
            if let Some(literal) = template.literal() {
                prop_assert_eq!(literal, &out);
            }
        }
    }
}
