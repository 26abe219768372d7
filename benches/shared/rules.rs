//! The rules whose cost is measured, and the config of a balancer with a route for each.

use std::fmt::Write as _;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::folder::Folder;

/// The secret of tokens.
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Blocks in the list of addresses.
const BLOCKS: usize = 1_000;

/// A rule of a route.
pub(crate) struct Rule {
    /// What it is.
    pub(crate) name: &'static str,
    /// What the config has of it beside the path and the pool of the route.
    pub(crate) keys: String,
}

/// All of them.
pub(crate) fn all(folder: &Folder) -> [Rule; 5] {
    let secret = folder.write("secret", SECRET);
    let blocks = blocks().join(", ");
    let rule = |name, keys: &str| Rule {
        name,
        keys: keys.to_owned(),
    };
    [
        rule(
            "header set for the backend",
            "request_headers: { set: { X-A: b } }",
        ),
        rule(
            "header set for the client",
            "response_headers: { set: { X-C: d } }",
        ),
        rule(
            "list of 1,000 address blocks, none of them the client's",
            &format!("policies: [{{ ip: {{ deny: [{blocks}] }} }}]"),
        ),
        rule(
            "rate limit by client address",
            "policies: [{ rate_limit: { rate: 1000000/s, burst: 1000000 } }]",
        ),
        rule(
            "token (JWT) that was verified before",
            &format!(
                "policies: [{{ jwt: {{ secret_file: '{}', algorithms: [HS256] }} }}]",
                secret.display()
            ),
        ),
    ]
}

/// The blocks of the list, none of which has an address of this machine.
pub(crate) fn blocks() -> Vec<String> {
    (0..BLOCKS)
        .map(|number| format!("10.{}.{}.0/24", number / 250, number % 250))
        .collect()
}

/// The config of a balancer with one worker, a route for each of these keys, `/0`, `/1` and so on, and one for all other paths.
pub(crate) fn config<'a>(routes: impl Iterator<Item = &'a str>, backend: u16) -> String {
    let mut text = format!(
        "listen: 127.0.0.1:0\nadmin: off\nworkers: 1\naccess_log: {{ path: /dev/null, on_full: block }}\n\
         pools: {{ app: {{ backends: [http://127.0.0.1:{backend}], health_check: {{ kind: none }} }} }}\nroutes:\n"
    );
    for (index, keys) in routes.enumerate() {
        let keys = match keys.is_empty() {
            true => String::new(),
            false => format!(", {keys}"),
        };
        let line = writeln!(text, "  - {{ path_prefix: /{index}, pool: app{keys} }}");
        line.expect("a text takes everything");
    }
    text.push_str("  - { pool: app }\n");
    text
}

/// A token that is valid for ever.
pub(crate) fn token() -> String {
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let header = encode(br#"{"alg":"HS256","typ":"JWT"}"#);
    let claims = encode(br#"{"iss":"a","sub":"alice","exp":4000000000}"#);
    let signed = format!("{header}.{claims}");
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = encode(hmac::sign(&key, signed.as_bytes()).as_ref());
    format!("{signed}.{signature}")
}
