//! Reports what is wrong with parameters that a pure module was given to build something: each error at its key.

use evenkeel_balance::policy::BuildError;

use crate::config::context::Context;
use crate::config::source::{Diagnostic, Span};
use crate::config::tree::{Node, Value};
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
}

impl Built<'_> {
    /// Reports these errors.
    pub(super) fn report(&self, cx: &Context<'_>, errors: &[BuildError]) {
        for error in errors {
            let key = error.key.filter(|key| !key.is_empty() && *key != ANY);
            let found = key.and_then(|key| find(self.node, key));
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

fn has_variable(node: &Node) -> bool {
    match &node.value {
        Value::Text(text) => text.is_expanded,
        Value::List(items) => items.iter().any(has_variable),
        Value::Map(entries) => entries.iter().any(|entry| has_variable(&entry.value)),
        Value::Empty | Value::Broken => false,
    }
}
