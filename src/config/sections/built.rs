//! Reports what is wrong with parameters that a pure module was given to build something: each error at its key.

use evenkeel_balance::policy::BuildError;

use crate::config::context::Context;
use crate::config::source::{Diagnostic, Span};
use crate::config::tree::{Entry, Node, Value};
use crate::schema::ANY;

/// A key of the config whose parameters were given to a builder.
#[derive(Clone, Copy)]
pub(super) struct Built<'a> {
    /// What the parameters are of, such as `redirect`.
    pub(super) name: &'a str,
    /// Where it is written.
    pub(super) span: Span,
    /// Its value.
    pub(super) node: &'a Node,
    /// Whether an error in it is already reported. What a builder says of it may only follow from that.
    pub(super) is_reported: bool,
}

impl Built<'_> {
    /// Reports these errors.
    pub(super) fn report(&self, cx: &Context<'_>, errors: &[BuildError]) {
        if self.is_reported {
            return;
        }
        for error in errors {
            let key = error.key.filter(|key| !key.is_empty() && *key != ANY);
            let of_key = key.map_or(Some((self.span, self.node)), |key| find(self.node, key));
            // A map of any names: the message says which of them it is about.
            let within = of_key.filter(|_| error.key.is_some());
            let named = within.and_then(|(_, node)| quoted(node, &error.message));
            let found = named.or(of_key);
            let (span, node) = found.unwrap_or((self.span, self.node));
            // The reason may quote the value of a variable.
            let (message, note) = match has_variable(node) {
                true => (
                    format!("invalid value in `{}`", key.unwrap_or(self.name)),
                    Some("the reason is not shown, because it could show the value of a variable".to_owned()),
                ),
                false => (error.message.clone(), None),
            };
            cx.report(Diagnostic::error(span, message).note_if(note));
        }
    }
}

/// The key of this name, at any depth, nearest to the top.
fn find<'a>(node: &'a Node, key: &str) -> Option<(Span, &'a Node)> {
    match &node.value {
        Value::Map(entries) => {
            let here = entries.iter().find(|entry| entry.key == key);
            let here = here.map(|entry| (entry.key_span, &entry.value));
            here.or_else(|| entries.iter().find_map(|entry| find(&entry.value, key)))
        }
        Value::List(items) => items.iter().find_map(|item| find(item, key)),
        _ => None,
    }
}

/// The key that a message quotes, at any depth.
fn quoted<'a>(node: &'a Node, message: &str) -> Option<(Span, &'a Node)> {
    let Value::Map(entries) = &node.value else {
        return None;
    };
    let is_it = |entry: &&Entry| {
        let forms = [format!("{:?}", entry.key), format!("`{}`", entry.key)];
        forms.iter().any(|form| message.contains(form.as_str()))
    };
    let here = entries
        .iter()
        .find(is_it)
        .map(|entry| (entry.key_span, &entry.value));
    here.or_else(|| entries.iter().find_map(|entry| quoted(&entry.value, message)))
}

fn has_variable(node: &Node) -> bool {
    match &node.value {
        Value::Text(text) => text.is_expanded,
        Value::List(items) => items.iter().any(has_variable),
        Value::Map(entries) => entries.iter().any(|entry| has_variable(&entry.value)),
        Value::Empty | Value::Broken => false,
    }
}
