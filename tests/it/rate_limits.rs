//! `RateLimit` and `RateLimit-Policy` as clients read them: by a parser of structured fields (RFC 9651) that accepts nothing else, and
//! by the rules of draft-ietf-httpapi-ratelimit-headers-10.

use std::collections::BTreeMap;

use crate::support::{Backend, Proxy, Received};

/// Largest integer of structured fields (RFC 9651 §3.3.1).
const LARGEST: u64 = 999_999_999_999_999;

/// A parameter that these headers may have.
#[derive(Debug, PartialEq, Eq)]
enum Parameter {
    Integer(u64),
    Text(String),
}

/// A list of strings with parameters.
type Items = Vec<(String, BTreeMap<String, Parameter>)>;

/// What is left of a header's value.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take(&mut self, byte: u8) -> bool {
        let is_it = self.0.first() == Some(&byte);
        if is_it {
            self.0 = &self.0[1..];
        }
        is_it
    }

    fn skip(&mut self, blanks: &[u8]) {
        while self.0.first().is_some_and(|byte| blanks.contains(byte)) {
            self.0 = &self.0[1..];
        }
    }

    fn while_in(&mut self, is_in: impl Fn(u8) -> bool) -> String {
        let end = self
            .0
            .iter()
            .position(|byte| !is_in(*byte))
            .unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        String::from_utf8(taken.to_vec()).unwrap()
    }

    /// RFC 9651 §4.2.5.
    fn string(&mut self) -> Option<String> {
        let mut text = String::new();
        if !self.take(b'"') {
            return None;
        }
        loop {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            match byte {
                b'"' => return Some(text),
                b'\\' => {
                    let (&escaped, rest) = self.0.split_first()?;
                    self.0 = rest;
                    text.push(char::from(Some(escaped).filter(|byte| b"\"\\".contains(byte))?));
                }
                b' '..=b'~' => text.push(char::from(byte)),
                _ => return None,
            }
        }
    }

    /// RFC 9651 §4.2.4, without decimals and without a sign, which no parameter here may have.
    fn integer(&mut self) -> Option<u64> {
        let digits = self.while_in(|byte| byte.is_ascii_digit());
        let is_decimal = self.0.first() == Some(&b'.');
        digits
            .parse()
            .ok()
            .filter(|number| *number <= LARGEST && !is_decimal)
    }

    /// RFC 9651 §4.2.3.2. A parameter may not come twice here, although the last one would count.
    fn parameters(&mut self) -> Option<BTreeMap<String, Parameter>> {
        let mut all = BTreeMap::new();
        while self.take(b';') {
            self.skip(b" ");
            let is_key =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte);
            let key = self.while_in(is_key);
            if !key.starts_with(|first: char| first.is_ascii_lowercase()) || !self.take(b'=') {
                return None;
            }
            let value = match self.0.first()? {
                b'"' => Parameter::Text(self.string()?),
                _ => Parameter::Integer(self.integer()?),
            };
            if all.insert(key, value).is_some() {
                return None;
            }
        }
        Some(all)
    }
}

/// RFC 9651 §4.2.1 for a list whose members are strings.
fn parse(value: &str) -> Option<Items> {
    let mut rest = Rest(value.trim_matches(' ').as_bytes());
    let mut items = Items::new();
    loop {
        items.push((rest.string()?, rest.parameters()?));
        rest.skip(b" \t");
        if rest.0.is_empty() {
            return Some(items);
        }
        if !rest.take(b',') {
            return None;
        }
        rest.skip(b" \t");
    }
}

/// All lines of a header in one value (RFC 9110 §5.3), parsed.
fn items(got: &Received, name: &str) -> Items {
    let lines = got.head.lines().filter_map(|line| line.split_once(": "));
    let values: Vec<&str> = lines
        .filter(|(its, _)| its.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect();
    let joined = values.join(", ");
    parse(&joined).unwrap_or_else(|| panic!("not a list of strings: {name}: {joined}"))
}

/// The integer of a parameter; `None` where the parameter is absent.
fn integer(parameters: &BTreeMap<String, Parameter>, key: &str) -> Option<u64> {
    match parameters.get(key)? {
        Parameter::Integer(number) => Some(*number),
        Parameter::Text(text) => panic!("{key} is not an integer: {text}"),
    }
}

/// What a response says of each policy: quota, window, remaining requests and seconds.
fn read(got: &Received) -> BTreeMap<String, [u64; 4]> {
    let mut policies = BTreeMap::new();
    for (name, parameters) in items(got, "ratelimit-policy") {
        let known = parameters.keys().all(|key| ["q", "w"].contains(&key.as_str()));
        // The quota is required.
        let quota = integer(&parameters, "q")
            .filter(|_| known)
            .expect("q, and nothing unknown");
        let window = integer(&parameters, "w").expect("a window");
        assert!(window > 0 && policies.insert(name, [quota, window]).is_none());
    }
    let mut all = BTreeMap::new();
    for (name, parameters) in items(got, "ratelimit") {
        let known = parameters.keys().all(|key| ["r", "t"].contains(&key.as_str()));
        let remaining = integer(&parameters, "r")
            .filter(|_| known)
            .expect("r, and nothing unknown");
        let seconds = integer(&parameters, "t").expect("a time");
        let [quota, window] = policies.remove(&name).expect("the policy of this limit");
        assert!(remaining <= quota && seconds <= window, "{name}: {parameters:?}");
        all.insert(name, [quota, window, remaining, seconds]);
    }
    assert!(policies.is_empty(), "policies without a limit: {policies:?}");
    all
}

fn before(backend: &Backend, routes: &str) -> Proxy {
    let url = backend.url();
    Proxy::before(&[])
        .config(&format!("pools: {{ api: {{ backends: ['{url}'] }} }}\n{routes}"))
        .start()
}

#[test]
fn each_policy_of_a_response_says_its_quota_and_what_is_left() {
    let backend = Backend::saying("hello");
    let proxy = before(
        &backend,
        "policies:\n\
         \x20 per-client_1.x: { rate_limit: { rate: 10/h, burst: 5, headers: true } }\n\
         \x20 all: { rate_limit: { rate: 1/h, burst: 2, key: host, headers: true } }\n\
         routes: [{ pool: api, policies: [all, per-client_1.x] }]\n",
    );
    for left in [1, 0] {
        let got = proxy.get("/");
        assert_eq!(got.status(), 200);
        let all = read(&got);
        assert_eq!(all.len(), 2, "{}", got.head);
        let [quota, window, remaining, seconds] = all["all"];
        assert_eq!([quota, window, remaining], [2, 2 * 3600, left]);
        assert!(seconds > 0, "{}", got.head);
        assert_eq!(all["per-client_1.x"][..3], [5, 5 * 360, left + 3]);
    }
    let got = proxy.get("/");
    assert_eq!(got.status(), 429);
    let [_, _, remaining, seconds] = read(&got)["all"];
    // Both say when to come back (§5 of the draft).
    assert_eq!(remaining, 0);
    assert_eq!(got.field("retry-after"), Some(&*seconds.to_string()));
}

/// It is made from the name of the route, which may have any letters.
#[test]
fn the_name_of_an_inline_policy_is_a_string_too() {
    let backend = Backend::saying("hello");
    let proxy = before(
        &backend,
        "routes: [{ path_regex: '/(\"|é|.)*', pool: api, policies: [{ rate_limit: { rate: 1/s, headers: true } }] }]\n",
    );
    let all = read(&proxy.get("/"));
    let name = all.keys().next().expect("a policy");
    assert!(
        all.len() == 1 && name.contains('"') && name.ends_with("/rate_limit"),
        "{name}"
    );
}

#[test]
fn the_parser_of_these_tests_is_strict() {
    for value in [
        "",
        "a;q=1",
        "\"a\";q=1,",
        "\"a\";Q=1",
        "\"a\";q=1.0",
        "\"a\";q=-1",
        "\"a\";q=1;q=2",
        "\"a\" \"b\"",
        "\"é\";q=1",
        "\"a",
        "\"\\a\"",
        "\"a\";q=1000000000000000",
    ] {
        assert!(parse(value).is_none(), "{value}");
    }
    let items = parse("\"a \\\" b\";q=1; w=2 ,\t\"c\";k=\"v\"").unwrap();
    assert_eq!(items[0].0, "a \" b");
    assert_eq!(items[1].1["k"], Parameter::Text("v".to_owned()));
}
