//! The rules that are measured, the config with a route for each, and the requests.

use std::fmt::Write as _;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::folder::Folder;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Blocks in the list of addresses.
const BLOCKS: usize = 1_000;

/// A route.
pub(crate) struct Case {
    /// What it measures.
    pub(crate) name: &'static str,
    /// The most that it should add to a request, in nanoseconds.
    pub(crate) goal: Option<u32>,
    /// What the config has of it beside its path and its pool.
    rule: String,
}

/// All cases. The first two have no rule.
pub(crate) fn all(folder: &Folder) -> Vec<Case> {
    let secret = folder.write("secret", SECRET);
    let blocks: Vec<String> = (0..BLOCKS)
        .map(|number| format!("10.{}.{}.0/24", number / 250, number % 250))
        .collect();
    let blocks = blocks.join(", ");
    let case = |name, goal, rule: &str| Case {
        name,
        goal,
        rule: rule.to_owned(),
    };
    vec![
        case("without a rule", None, ""),
        case("without a rule, again: has to be 0", None, ""),
        case(
            "header set for the backend",
            Some(150),
            "request_headers: { set: { X-A: b } }",
        ),
        case(
            "header set for the client",
            Some(150),
            "response_headers: { set: { X-C: d } }",
        ),
        case(
            "list of 1,000 address blocks, none of them the client's",
            Some(100),
            &format!("policies: [{{ ip: {{ deny: [{blocks}] }} }}]"),
        ),
        case(
            "rate limit by client address",
            Some(150),
            "policies: [{ rate_limit: { rate: 1000000/s, burst: 1000000 } }]",
        ),
        case(
            "token (JWT) that was verified before",
            Some(1_000),
            &format!(
                "policies: [{{ jwt: {{ secret_file: '{}', algorithms: [HS256] }} }}]",
                secret.display()
            ),
        ),
    ]
}

/// The config of a balancer with one worker and a route for each case.
pub(crate) fn config(cases: &[Case], backend: u16) -> String {
    let mut text = format!(
        "listen: 127.0.0.1:0\nadmin: off\nworkers: 1\naccess_log: {{ path: /dev/null, on_full: block }}\n\
         pools: {{ app: {{ backends: [http://127.0.0.1:{backend}], health_check: {{ kind: none }} }} }}\nroutes:\n"
    );
    for (index, Case { rule, .. }) in cases.iter().enumerate() {
        let rule = match rule.is_empty() {
            true => String::new(),
            false => format!(", {rule}"),
        };
        let line = writeln!(text, "  - {{ path_prefix: /{index}, pool: app{rule} }}");
        line.expect("a text takes everything");
    }
    text
}

/// The request for the route of a case. All have the same headers.
pub(crate) fn request(case: usize) -> Vec<u8> {
    let token = token();
    format!(
        "GET /{case}/small?c=d HTTP/1.1\r\nHost: a.test\r\nUser-Agent: x\r\nAccept: */*\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    )
    .into_bytes()
}

/// A token that is valid for ever.
fn token() -> String {
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let header = encode(br#"{"alg":"HS256","typ":"JWT"}"#);
    let claims = encode(br#"{"iss":"a","sub":"alice","exp":4000000000}"#);
    let signed = format!("{header}.{claims}");
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = encode(hmac::sign(&key, signed.as_bytes()).as_ref());
    format!("{signed}.{signature}")
}
