//! Reads parameters that a table describes completely, such as those of a strategy: every key by its type alone, into
//! validated values.

use std::path::PathBuf;

use super::context::Context;
use super::hints;
use super::reader::{self, Reader, Written, is_off, written};
use super::source::Diagnostic;
use super::suggest;
use super::tree::{Entry, Node, Value};
use crate::schema::{self, ANY, Key, Kind, Params, Row, RowForm, Section, Table};

/// The key that has the name of a row beside its parameters, and those under which other balancers write it.
const KIND: &str = "kind";
const NAME_KEYS: [&str; 3] = [KIND, "name", "type"];

/// What precedes the path of a file where a URL is possible too.
const FILE_PREFIX: &str = "file:";

/// A hint for the name of a row of another balancer.
pub(super) type Elsewhere<'a> = &'a dyn Fn(&str) -> Option<&'static str>;

/// Reads a key that selects a row of a table: the name of the row, or a map with its parameters in the form of the table. `None`
/// when the key was not written, or when its value is invalid, which is reported.
pub(super) fn row(reader: &Reader<'_>, name: &str, elsewhere: Elsewhere<'_>) -> Option<(Row, Params)> {
    let key = reader.keys().key(name)?;
    let Kind::Row(table) = key.kind else {
        return None;
    };
    row_of(reader, (name, table), reader.node(name)?, elsewhere)
}

/// The same for a node that is the value of the key `name`, or a part of it.
pub(super) fn row_of(
    reader: &Reader<'_>,
    (name, table): (&str, &'static Table),
    node: &Node,
    elsewhere: Elsewhere<'_>,
) -> Option<(Row, Params)> {
    let of_name = |name: &str| {
        let hint = elsewhere(name).map(str::to_owned);
        hint.or_else(|| suggest::did_you_mean(name, table.names()))
    };
    let Value::Map(entries) = &node.value else {
        let Some(written) = written(node) else {
            refuse_node(reader.cx, (name, &Kind::Row(table)), node);
            return None;
        };
        let row = find(reader.cx, (name, table), written, of_name(written.text))?;
        if let Some(key) = row.value() {
            let message = format!("`{}` requires a value: write `{}: …`", row.name, row.name);
            let note = format!("accepted: {}", key.accepts());
            reader
                .cx
                .report(Diagnostic::error(written.span, message).note(note));
            return None;
        }
        let section = row.section();
        let params = read(&Reader::without_keys(reader.cx, &section, written.span));
        return Some((row, params));
    };
    if table.form == RowForm::Kind {
        return of_kind(reader, (name, table), node, &of_name);
    }
    let [entry] = entries.as_slice() else {
        let message = format!("`{name}` must have one key, the name of a {}", table.what);
        let diagnostic = Diagnostic::error(node.span, message).note_if(of_entries(table, entries, of_name));
        let accepted = format!("accepted: {}", Kind::Row(table).describe());
        reader.cx.report(diagnostic.note(accepted));
        return None;
    };
    let hint = || of_entries(table, entries, of_name).or_else(|| of_name(&entry.key));
    let row = match table.row(&entry.key) {
        Some(row) => row,
        None => find(reader.cx, (name, table), key_of(entry), hint())?,
    };
    Some((row, of_entry(reader, &row, entry)?))
}

/// A row whose map has its name as `kind`.
fn of_kind(
    reader: &Reader<'_>,
    (name, table): (&str, &'static Table),
    node: &Node,
    of_name: &dyn Fn(&str) -> Option<String>,
) -> Option<(Row, Params)> {
    let Value::Map(entries) = &node.value else {
        return None;
    };
    let Some(kind) = entries.iter().find(|entry| entry.key == KIND) else {
        let message = format!("`{name}` requires `kind`, the name of a {}", table.what);
        let diagnostic = Diagnostic::error(node.span, message).note_if(without_kind(table, entries, of_name));
        let accepted = format!("accepted: {}", Kind::Row(table).describe());
        reader.cx.report(diagnostic.note(accepted));
        return None;
    };
    let Some(written) = written(&kind.value) else {
        refuse_node(reader.cx, (KIND, &Kind::Row(table)), &kind.value);
        return None;
    };
    let row = find(reader.cx, (KIND, table), written, of_name(written.text))?;
    let section = row.section();
    let others: Vec<Entry> = entries
        .iter()
        .filter(|entry| entry.key != KIND)
        .cloned()
        .collect();
    let others = Node {
        span: node.span,
        value: Value::Map(others),
    };
    let params = read(&Reader::open(reader.cx, &section, &others)?);
    Some((row, params))
}

/// A hint for a map without `kind`: the name as another key, or as the key of the parameters.
fn without_kind(
    table: &Table,
    entries: &[Entry],
    of_name: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    if let [entry] = entries
        && let Some(row) = table.row(&entry.key)
    {
        return Some(match row.keys {
            [] => format!("write only the name: `{}`", row.name),
            _ => format!("write the name as `kind`: `{{ kind: {}, … }}`", row.name),
        });
    }
    let named = entries
        .iter()
        .find(|entry| NAME_KEYS.contains(&entry.key.as_str()));
    if named.is_some() {
        return Some("the key of the name is called `kind` here".to_owned());
    }
    let [entry] = entries else { return None };
    of_name(&entry.key)
}

/// The parameters of the row that a map names.
fn of_entry(reader: &Reader<'_>, row: &Row, entry: &Entry) -> Option<Params> {
    if matches!(entry.value.value, Value::Empty) {
        let message = format!("`{}` has no value", row.name);
        let note = match row.value() {
            Some(key) => format!("accepted: {}", key.accepts()),
            None => format!(
                "to use the defaults of its parameters, write `{{ {}: {{}} }}`",
                row.name
            ),
        };
        reader
            .cx
            .report(Diagnostic::error(entry.key_span, message).note(note));
        return None;
    }
    let section = row.section();
    if let Some(key) = row.value() {
        #[cfg(test)]
        reader.cx.note_read(row.name, key.name);
        let mut params = Params::default();
        let at = At { name: row.name, key };
        params.set(key.name, value(reader, &at, &key.kind, &entry.value)?);
        return Some(params);
    }
    Some(read(&Reader::open(reader.cx, &section, &entry.value)?))
}

/// The row of this name; one that does not exist is reported with the hint.
fn find(
    cx: &Context<'_>,
    (name, table): (&str, &'static Table),
    written: Written<'_>,
    hint: Option<String>,
) -> Option<Row> {
    let row = table.row(written.text);
    if row.is_none() {
        let message = format!("invalid value {} for `{name}`", cx.quote(written.span));
        let diagnostic = Diagnostic::error(written.span, message);
        let diagnostic = diagnostic.note_if(hint.filter(|_| !written.is_expanded));
        cx.report(diagnostic.note(format!("accepted: {}", Kind::Row(table).describe())));
    }
    row
}

/// Reports a node of the wrong type.
fn refuse_node(cx: &Context<'_>, (name, kind): (&str, &Kind), node: &Node) {
    let hint = hints::of_shape(kind, node, &cx.quote(node.span));
    reader::refuse_node(cx, name, node, hint, &kind.describe());
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

/// Reads a map with the keys of a section: all of them, with their defaults. `None` when the node is not a map, which is reported.
pub(super) fn section(cx: &Context<'_>, section: &Section, node: &Node) -> Option<Params> {
    Some(read(&Reader::open(cx, section, node)?))
}

/// The same without the defaults: only what is written.
pub(super) fn as_written(cx: &Context<'_>, section: &Section, node: &Node) -> Option<Params> {
    Some(read_written(&Reader::open(cx, section, node)?))
}

/// Reads every key of a map. A key with an invalid value, which is reported, has its default.
fn read(reader: &Reader<'_>) -> Params {
    let mut params = Params::default();
    let written = read_written(reader);
    for key in reader.keys().keys {
        if matches!(key.presence, schema::Presence::Required) {
            reader.require(key.name);
        }
        if let Some(value) = written.get(key.name).cloned().or_else(|| default(key)) {
            params.set(key.name, value);
        }
    }
    params
}

/// Reads every key that is written. A key with an invalid value, which is reported, is left out.
fn read_written(reader: &Reader<'_>) -> Params {
    let mut params = Params::default();
    for key in reader.keys().keys {
        if key.name == ANY {
            let items = reader.others().filter_map(|(entry, node)| {
                let at = At {
                    name: &entry.key,
                    key,
                };
                Some((entry.key.clone(), value(reader, &at, &key.kind, node)?))
            });
            params.set(ANY, schema::Value::Named(items.collect()));
            continue;
        }
        let at = At { name: key.name, key };
        let node = reader.node(key.name);
        if let Some(value) = node.and_then(|node| value(reader, &at, &key.kind, node)) {
            params.set(key.name, value);
        }
    }
    params
}

/// The key that a value belongs to.
struct At<'a> {
    /// Its name in messages.
    name: &'a str,
    key: &'static Key,
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
fn value(reader: &Reader<'_>, at: &At<'_>, kind: &Kind, node: &Node) -> Option<schema::Value> {
    let key = at.key;
    if let Some(off) = key
        .words
        .iter()
        .find(|word| **word == "off" && is_off(&node.value))
    {
        return Some(schema::Value::Word(off));
    }
    match (kind, &node.value) {
        // One value in place of a list of one.
        (Kind::Either(_, Kind::List(item)) | Kind::List(item), Value::Text(text))
            if !key.words.contains(&text.content.as_str()) =>
        {
            Some(schema::Value::List(vec![value(reader, at, item, node)?]))
        }
        (Kind::Either(one, other), _) => {
            let kind = if is_shape_of(one, node) { one } else { other };
            value(reader, at, kind, node)
        }
        (Kind::Row(table), _) => {
            let (row, params) = row_of(reader, (at.name, table), node, &|_| None)?;
            Some(schema::Value::Row(row.name, params))
        }
        (Kind::List(item), Value::List(items)) => {
            let items = items.iter().filter_map(|node| value(reader, at, item, node));
            Some(schema::Value::List(items.collect()))
        }
        (Kind::Section(of), Value::Map(_)) => Some(schema::Value::Section(section(reader.cx, of, node)?)),
        (Kind::Named(of), Value::Map(entries)) => {
            let item = |entry: &Entry| {
                let inner = section(reader.cx, of, &entry.value)?;
                Some((entry.key.clone(), schema::Value::Section(inner)))
            };
            Some(schema::Value::Named(entries.iter().filter_map(item).collect()))
        }
        (Kind::Map(of), Value::Map(entries)) => {
            let item = |entry: &Entry| {
                let at = At {
                    name: &entry.key,
                    key,
                };
                Some((entry.key.clone(), value(reader, &at, of, &entry.value)?))
            };
            Some(schema::Value::Named(entries.iter().filter_map(item).collect()))
        }
        (_, Value::Text(_)) => {
            let written = written(node)?;
            let value = of_text(key, kind, written.text);
            if value.is_none() {
                let is_accepted = |text: &str| kind.parse(text).is_some();
                let hint = hints::of_text(key, written.text, is_accepted);
                reader.refuse_of(at.name, key, written, hint);
            }
            value.map(|value| with_path(reader.cx, kind, value))
        }
        _ => {
            reader.refuse_node_of(at.name, key, node);
            None
        }
    }
}

/// The value with the path of a file resolved: a relative one starts at the folder of the config.
fn with_path(cx: &Context<'_>, kind: &Kind, value: schema::Value) -> schema::Value {
    let schema::Value::Text(text) = &value else {
        return value;
    };
    if !kind.form().is_some_and(|form| form.is_file) || text.contains("://") {
        return value;
    }
    let (prefix, path) = match text.strip_prefix(FILE_PREFIX) {
        Some(path) => (FILE_PREFIX, path),
        None => ("", text.as_str()),
    };
    // Without `.` in it, so that one file has one path.
    let path: PathBuf = cx.path(path).components().collect();
    schema::Value::Text(format!("{prefix}{}", path.display()))
}

/// Whether the node can be meant as a value of the type.
fn is_shape_of(kind: &Kind, node: &Node) -> bool {
    match (kind, &node.value) {
        (Kind::Either(one, other), _) => is_shape_of(one, node) || is_shape_of(other, node),
        (Kind::List(_), Value::List(_))
        | (Kind::Section(_) | Kind::Named(_) | Kind::Map(_), Value::Map(_)) => true,
        (Kind::Row(_), Value::Map(_)) => true,
        (_, Value::Text(text)) => kind.parse(&text.content).is_some(),
        _ => false,
    }
}
