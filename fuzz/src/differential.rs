//! Reads the bytes of a whole connection with our parser and with hyper's. Whatever we accept, hyper accepts, with the
//! same method, target, headers and body, and continues at the same position. hyper may accept more. Bit 1 of the
//! options selects responses, bit 2 responses to `HEAD`.

mod hyper_side;
mod our_side;

use std::collections::BTreeMap;

use crate::input::Input;

/// A message in a form common to both sides.
#[derive(Debug, PartialEq, Eq)]
struct Message {
    /// Method and target, or the status.
    line: String,
    version: String,
    /// Values by lower-case name: hyper keeps the order only within a name.
    fields: BTreeMap<String, Vec<Vec<u8>>>,
    /// `None` if it is truncated or malformed.
    body: Option<Vec<u8>>,
}

/// Panics if a property does not hold.
pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    if input.options & 2 == 0 {
        requests(input.message);
    } else {
        response(input.message, input.options & 4 != 0);
    }
}

fn requests(bytes: &[u8]) {
    let ours = our_side::requests(bytes);
    if ours.is_empty() {
        return;
    }
    let theirs = hyper_side::requests(bytes);
    for (index, (message, target)) in ours.iter().enumerate() {
        // hyper cannot represent some targets that browsers send.
        if target.parse::<http::Uri>().is_err() {
            return;
        }
        compare(message, theirs.get(index));
    }
}

fn response(bytes: &[u8], is_head: bool) {
    if let Some(ours) = our_side::response(bytes, is_head) {
        compare(&ours, hyper_side::response(bytes, is_head).as_ref());
    }
}

fn compare(ours: &Message, theirs: Option<&Message>) {
    let Some(theirs) = theirs else {
        panic!("hyper does not accept {ours:?}");
    };
    let head = |message: &Message| {
        (
            message.line.clone(),
            message.version.clone(),
            message.fields.clone(),
        )
    };
    assert_eq!(head(ours), head(theirs));
    // A body that we do not accept ends the comparison.
    if ours.body.is_some() {
        assert_eq!(ours.body, theirs.body, "{ours:?}");
    }
}

/// hyper cannot tell `OPTIONS http://a`, which means `*`, from `OPTIONS http://a/`.
fn line(method: &str, path: &str, query: &str) -> String {
    let path = if method == "OPTIONS" && path == "*" {
        "/"
    } else {
        path
    };
    format!("{method} {path}{query}")
}
