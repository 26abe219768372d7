//! Whole connections' worth of bytes, read by us and by hyper. Whatever we accept, hyper accepts, with the same method,
//! target, fields and body, and goes on at the same place. That hyper accepts more is fine. Bit 1 of the options has
//! the bytes read as answers, bit 2 as answers to `HEAD`.

mod hyper_side;
mod our_side;

use std::collections::BTreeMap;

use crate::input::Input;

/// A message as both sides can say it.
#[derive(Debug, PartialEq, Eq)]
struct Message {
    /// Method and target, or the status.
    line: String,
    version: String,
    /// Values by lower-case name: hyper keeps the order within a name only.
    fields: BTreeMap<String, Vec<Vec<u8>>>,
    /// `None` when it is cut or broken.
    body: Option<Vec<u8>>,
}

/// Panics when something does not hold.
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
        // It cannot express some targets that browsers send.
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
