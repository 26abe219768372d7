//! Finds the values of a config tree that messages must not show, also where a value is on lines of its own. `secrets`
//! finds them in the text of one line.

use super::source::Span;
use super::tree::{Entry, Node, Value};

/// Spans of the values that are masked in excerpts: those of keys with these names, and of keys that end with `token`.
pub(super) fn in_tree(root: &Node, secret: &[&str]) -> Vec<Span> {
    let mut found = Vec::new();
    collect(root, secret, &mut found);
    found
}

fn collect(node: &Node, secret: &[&str], found: &mut Vec<Span>) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| collect(item, secret, found)),
        Value::Map(entries) => entries
            .iter()
            .for_each(|entry| collect_entry(entry, secret, found)),
        Value::Empty | Value::Text(_) | Value::Broken => {}
    }
}

fn collect_entry(entry: &Entry, secret: &[&str], found: &mut Vec<Span>) {
    let is_variable = matches!(&entry.value.value, Value::Text(text) if text.is_expanded);
    let is_secret = secret.contains(&entry.key.as_str()) || entry.key.to_ascii_lowercase().ends_with("token");
    if is_secret && !is_variable {
        found.push(entry.value.span);
        return;
    }
    // A misspelt `token` is a secret too, and the excerpt of its own error would show it.
    match &entry.value.value {
        Value::Map(entries) if entry.key == "admin" => {
            let others = entries.iter().filter(|other| other.key != "address");
            found.extend(others.map(|other| other.value.span));
        }
        // Headers of exports may hold a key of the collector. Routes have `headers` too, which are no secrets.
        Value::Map(entries) if entry.key == "tracing" => {
            for inner in entries {
                match inner.key.as_str() {
                    "headers" => found.push(inner.value.span),
                    _ => collect_entry(inner, secret, found),
                }
            }
        }
        _ => collect(&entry.value, secret, found),
    }
}
