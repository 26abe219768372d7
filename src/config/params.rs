//! Reads parameters that a table describes completely, such as those of a strategy: every key by its type alone, into
//! validated values.

use super::hints;
use super::reader::{Reader, Written, is_off, written};
use super::source::Diagnostic;
use super::suggest;
use super::tree::{Entry, Node, Value};
use crate::schema::{self, Key, Kind, Params, Row, Table};

/// Keys under which other balancers write the name of a row.
const NAME_KEYS: [&str; 3] = ["kind", "name", "type"];

/// Reads a key that selects a row of a table: the name of the row, or a map with the name as its only key and the
/// parameters as its value. `None` when the key was not written, or when its value is invalid, which is reported.
/// `elsewhere` is a hint for the name of a row of another balancer.
pub(super) fn row(
    reader: &Reader<'_>,
    name: &str,
    elsewhere: &dyn Fn(&str) -> Option<&'static str>,
) -> Option<(Row, Params)> {
    let key = reader.keys().key(name)?;
    let Kind::Row(table) = key.kind else {
        return None;
    };
    let of_name = |name: &str| {
        let hint = elsewhere(name).map(str::to_owned);
        hint.or_else(|| suggest::did_you_mean(name, table.names()))
    };
    let node = reader.node(name)?;
    let Value::Map(entries) = &node.value else {
        let written = reader.text(name)?;
        let row = table.row(written.text);
        if row.is_none() {
            reader.refuse(name, written, of_name(written.text));
        }
        let section = row?.section();
        let params = read(&Reader::without_keys(reader.cx, &section, written.span));
        return Some((row?, params));
    };
    let [entry] = entries.as_slice() else {
        let message = format!("`{name}` must have one key, the name of a {}", table.what);
        let diagnostic = Diagnostic::error(node.span, message).note_if(of_entries(table, entries, of_name));
        let accepted = format!("accepted: {}", key.accepts());
        reader.cx.report(diagnostic.note(accepted));
        return None;
    };
    let row = table.row(&entry.key);
    if row.is_none() {
        let hint = of_entries(table, entries, of_name).or_else(|| of_name(&entry.key));
        reader.refuse(name, key_of(entry), hint);
    }
    Some((row?, of_entry(reader, &row?, entry)?))
}

/// The parameters of the row that a map names.
fn of_entry(reader: &Reader<'_>, row: &Row, entry: &Entry) -> Option<Params> {
    if matches!(entry.value.value, Value::Empty) {
        let message = format!("`{}` has no value", row.name);
        let note = format!(
            "to use the defaults of its parameters, write only the name: `{}`",
            row.name
        );
        reader
            .cx
            .report(Diagnostic::error(entry.key_span, message).note(note));
        return None;
    }
    let section = row.section();
    Some(read(&Reader::open(reader.cx, &section, &entry.value)?))
}

/// A hint for a map that has the name of the row as a value.
fn of_entries(table: &Table, entries: &[Entry], of_name: impl Fn(&str) -> Option<String>) -> Option<String> {
    let entry = entries
        .iter()
        .find(|entry| NAME_KEYS.contains(&entry.key.as_str()))?;
    let name = written(&entry.value).filter(|name| !name.is_expanded)?.text;
    match table.row(name) {
        Some(row) if row.keys.is_empty() => Some(format!("`{name}` has no parameters: write only the name")),
        Some(_) => Some(format!("write the name as the key: `{{ {name}: {{ … }} }}`")),
        None => of_name(name),
    }
}

fn key_of(entry: &Entry) -> Written<'_> {
    Written {
        text: &entry.key,
        span: entry.key_span,
        is_expanded: false,
    }
}

/// Reads every key of a map. A key with an invalid value, which is reported, has its default.
fn read(reader: &Reader<'_>) -> Params {
    let mut params = Params::default();
    for key in reader.keys().keys {
        if matches!(key.presence, schema::Presence::Required) {
            reader.require(key.name);
        }
        let written = reader
            .node(key.name)
            .and_then(|node| value(reader, key, &key.kind, node));
        if let Some(value) = written.or_else(|| default(key)) {
            params.set(key.name, value);
        }
    }
    params
}

/// The default of a key, if it has one.
fn default(key: &Key) -> Option<schema::Value> {
    let schema::Presence::Default(text) = key.presence else {
        return None;
    };
    let list = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let item = match &key.kind {
        Kind::List(item) => Some(*item),
        Kind::Either(_, Kind::List(item)) => Some(*item),
        _ => None,
    };
    match item.zip(list) {
        Some((item, items)) => {
            let items = items.split(", ").filter(|text| !text.is_empty());
            let items = items.filter_map(|text| item.parse(text));
            Some(schema::Value::List(items.collect()))
        }
        None => of_text(key, &key.kind, text),
    }
}

/// A text as one of the key's words or as a value of the type.
fn of_text(key: &Key, kind: &Kind, text: &str) -> Option<schema::Value> {
    let word = key.words.iter().find(|word| **word == text);
    match word {
        Some(word) => Some(schema::Value::Word(word)),
        None => kind.parse(text),
    }
}

/// The value of a node, which is the value of the key or an item of it. `None` when it is invalid, which is reported.
fn value(reader: &Reader<'_>, key: &'static Key, kind: &Kind, node: &Node) -> Option<schema::Value> {
    if let Some(off) = key
        .words
        .iter()
        .find(|word| **word == "off" && is_off(&node.value))
    {
        return Some(schema::Value::Word(off));
    }
    match (kind, &node.value) {
        (Kind::Either(one, other), _) => {
            let kind = if is_shape_of(one, node) { one } else { other };
            value(reader, key, kind, node)
        }
        (Kind::Row(_), _) => {
            let (row, params) = row(reader, key.name, &|_| None)?;
            Some(schema::Value::Row(row.name, params))
        }
        (Kind::List(item), Value::List(items)) => {
            let items = items.iter().filter_map(|node| value(reader, key, item, node));
            Some(schema::Value::List(items.collect()))
        }
        (Kind::Section(section), Value::Map(_)) => {
            let inner = Reader::open(reader.cx, section, node)?;
            Some(schema::Value::Section(read(&inner)))
        }
        (Kind::Named(section), Value::Map(entries)) => {
            let item = |entry: &Entry| {
                let inner = Reader::open(reader.cx, section, &entry.value)?;
                Some((entry.key.clone(), schema::Value::Section(read(&inner))))
            };
            Some(schema::Value::Named(entries.iter().filter_map(item).collect()))
        }
        (_, Value::Text(_)) => {
            let written = written(node)?;
            let value = of_text(key, kind, written.text);
            if value.is_none() {
                let is_accepted = |text: &str| kind.parse(text).is_some();
                let hint = hints::of_text(key, written.text, is_accepted);
                reader.refuse(key.name, written, hint);
            }
            value
        }
        _ => {
            reader.refuse_node(key.name, node);
            None
        }
    }
}

/// Whether the node can be meant as a value of the type.
fn is_shape_of(kind: &Kind, node: &Node) -> bool {
    match (kind, &node.value) {
        (Kind::Either(one, other), _) => is_shape_of(one, node) || is_shape_of(other, node),
        (Kind::List(_), Value::List(_)) | (Kind::Section(_) | Kind::Named(_), Value::Map(_)) => true,
        (_, Value::Text(text)) => kind.parse(&text.content).is_some(),
        _ => false,
    }
}
