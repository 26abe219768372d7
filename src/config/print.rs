//! Writes the effective config as YAML: the values that the sections show, which read back as the same config.

use std::fmt::Write;
use std::path::Path;

use crate::schema::units::{show_decimal, show_duration, show_size};
use crate::schema::{ANY, Key, Kind, Params, RowForm, Table, Value};

/// A YAML value to be printed.
pub(super) enum Item {
    /// Exactly this text.
    Word(String),
    /// A list on one line.
    Line(Vec<Self>),
    /// A list, one item per line.
    List(Vec<Self>),
    /// Keys, already quoted, and values.
    Map(Vec<(String, Self)>),
}

impl Item {
    /// The text of a list or map.
    pub(super) fn to_yaml(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0);
        out
    }

    /// Writes a list or map at `indent`, each line with its end; anything else without one.
    fn write(&self, out: &mut String, indent: usize) {
        match self {
            Self::Word(word) => out.push_str(word),
            Self::Line(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { ", " });
                    item.write(out, indent);
                }
                out.push(']');
            }
            Self::List(items) => {
                for item in items {
                    let mut below = String::new();
                    item.write(&mut below, indent + 2);
                    // The dash takes the place of the first key's indent.
                    let _ = writeln!(out, "{:indent$}- {}", "", below.trim());
                }
            }
            Self::Map(keys) => {
                for (key, value) in keys {
                    let _ = write!(out, "{:indent$}{key}:", "");
                    value.write_after_key(out, indent);
                }
            }
        }
    }

    fn write_after_key(&self, out: &mut String, indent: usize) {
        match self {
            Self::Map(keys) if keys.is_empty() => out.push_str(" {}\n"),
            Self::List(items) if items.is_empty() => out.push_str(" []\n"),
            Self::Word(_) | Self::Line(_) => {
                out.push(' ');
                self.write(out, indent);
                out.push('\n');
            }
            Self::List(_) | Self::Map(_) => {
                out.push('\n');
                self.write(out, indent + 2);
            }
        }
    }
}

/// A map whose keys need no quotes.
pub(super) fn map<'a>(keys: impl IntoIterator<Item = (&'a str, Item)>) -> Item {
    Item::Map(
        keys.into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    )
}

/// A value that YAML reads as it is.
pub(super) fn word(value: impl ToString) -> Item {
    Item::Word(value.to_string())
}

/// Text of any content.
pub(super) fn text(content: &str) -> Item {
    Item::Word(quoted(content))
}

/// Quotes text unless YAML and our own reader take it as it is.
pub(super) fn quoted(content: &str) -> String {
    let is_plain = content.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && content
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
        && !matches!(content, "null" | "Null" | "NULL");
    if is_plain {
        return content.to_owned();
    }
    in_quotes(&content.replace("${", "$${"))
}

/// Quotes text as it is: the reader takes no escapes from it but those of YAML.
fn in_quotes(content: &str) -> String {
    let mut out = String::from("\"");
    for c in content.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The path of a file.
pub(super) fn path(path: &Path) -> Item {
    text(&path.to_string_lossy())
}

/// Stands for a secret.
pub(super) fn masked() -> Item {
    text("****************")
}

/// A row of a table with its parameters.
pub(super) fn row(table: &Table, name: &'static str, of: &Params) -> Item {
    let row = table.row(name);
    let keys = row.map_or(&[][..], |row| row.keys);
    let of_row = row.and_then(|row| row.value());
    match (of_row.zip(of.get("")), table.form) {
        (Some((key, of)), _) => map([(name, value(&key.kind, of))]),
        (None, _) if of.is_empty() => word(name),
        (None, RowForm::Name) => map([(name, params(keys, of))]),
        (None, RowForm::Kind) => {
            let mut shown = vec![("kind".to_owned(), word(name))];
            if let Item::Map(keys) = params(keys, of) {
                shown.extend(keys);
            }
            Item::Map(shown)
        }
    }
}

/// Parameters with these keys.
pub(super) fn params(keys: &[Key], of: &Params) -> Item {
    let mut shown = Vec::new();
    for (name, of) in of.iter() {
        let key = keys.iter().find(|key| key.name == name);
        match (key.filter(|key| !key.is_secret), of) {
            (Some(key), Value::Named(items)) if name == ANY => {
                shown.extend(
                    items
                        .iter()
                        .map(|(name, of)| (quoted(name), value(&key.kind, of))),
                );
            }
            (Some(key), of) => shown.push((name.to_owned(), value(&key.kind, of))),
            (None, _) => shown.push((name.to_owned(), masked())),
        }
    }
    Item::Map(shown)
}

fn value(kind: &Kind, of: &Value) -> Item {
    match of {
        Value::Flag(flag) => word(flag),
        Value::Duration(duration) => word(show_duration(*duration)),
        Value::Size(size) => word(show_size(*size)),
        Value::Count(count) => word(count),
        Value::Decimal(thousandths) => word(show_decimal(*thousandths)),
        Value::Word(choice) => word(choice),
        Value::Text(content) => match kind.form() {
            Some(form) if form.is_secret => masked(),
            Some(form) if form.is_template => Item::Word(in_quotes(content)),
            _ => text(content),
        },
        Value::List(items) => {
            let shown = items.iter().map(|item| value(kind, item)).collect();
            match items.iter().all(is_scalar) {
                true => Item::Line(shown),
                false => Item::List(shown),
            }
        }
        Value::Section(of) => params(kind.keys(), of),
        Value::Named(items) => {
            let shown = items.iter().map(|(name, of)| (quoted(name), value(kind, of)));
            Item::Map(shown.collect())
        }
        Value::Row(name, of) => match kind.table() {
            Some(table) => row(table, name, of),
            None => word(name),
        },
    }
}

fn is_scalar(of: &Value) -> bool {
    !matches!(
        of,
        Value::List(_) | Value::Section(_) | Value::Named(_) | Value::Row(..)
    )
}
