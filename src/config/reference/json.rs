//! Generates the JSON Schema of the config file, for editors, from the table of keys.

use serde_json::{Map, Value, json};

use super::rows;
use crate::config::sections::SECTIONS;
use crate::schema::{ANY, Form, Key, Kind, Presence, Row, RowForm, Section, Table};

/// The schema, draft 2020-12. It accepts some files that the reader rejects (ranges of durations, names of pools,
/// combinations of keys), and accepts every file that the reader accepts.
pub fn schema() -> Value {
    schema_of(&SECTIONS)
}

/// The schema of these sections, the first of which is the file itself.
pub(in crate::config) fn schema_of(sections: &[&'static Section]) -> Value {
    let [root, sections @ ..] = sections else {
        return Value::Null;
    };
    let mut schema = section(root);
    let mut defined = sections.to_vec();
    for of in [&[*root], sections].concat().iter().flat_map(|of| rows(of)) {
        of.collect_sections(&mut defined);
    }
    let definitions: Map<String, Value> = defined.iter().map(|of| (definition(of), section(of))).collect();
    if let Some(root) = schema.as_object_mut() {
        root.insert(
            "$schema".to_owned(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        root.insert("title".to_owned(), json!("Evenkeel config"));
        root.insert("$defs".to_owned(), Value::Object(definitions));
    }
    schema
}

/// Name of a section below `$defs`.
fn definition(section: &Section) -> String {
    let name = section.name.replace(".NAME", "").replace("[]", "");
    name.replace(['.', ' '], "_")
}

fn section(section: &Section) -> Value {
    let named = section.keys.iter().filter(|key| key.name != ANY);
    let properties: Map<String, Value> = named.map(|of| (of.name.to_owned(), key(of))).collect();
    let required = section
        .keys
        .iter()
        .filter(|key| matches!(key.presence, Presence::Required));
    let required: Vec<&str> = required.map(|key| key.name).collect();
    json!({
        "type": "object",
        "description": section.about,
        "properties": properties,
        "required": required,
        "additionalProperties": section.key(ANY).map_or(Value::Bool(false), key),
    })
}

fn key(key: &Key) -> Value {
    let mut accepted = kind(&key.kind);
    accepted.extend(words(key.words));
    if !is_structure(&key.kind) {
        accepted.push(variable());
    }
    let mut schema = json!({ "description": key.about, "anyOf": accepted });
    if let (Presence::Default(text), Some(schema)) = (key.presence, schema.as_object_mut()) {
        schema.insert("default".to_owned(), default(text));
    }
    schema
}

/// The alternatives that a kind accepts.
fn kind(of: &Kind) -> Vec<Value> {
    match of {
        Kind::Flag => vec![json!({ "type": "boolean" })],
        Kind::Duration { .. } => vec![json!({
            "type": "string",
            "pattern": "^[0-9]+(h|m|s|ms)([0-9]+(m|s|ms))*$",
            "description": of.describe(),
        })],
        Kind::Size { .. } => vec![
            json!({ "type": "integer", "minimum": 0 }),
            json!({
                "type": "string",
                "pattern": "^[0-9]+([KMGT]i?)?B?$",
                "description": of.describe(),
            }),
        ],
        Kind::Count { least, most } => vec![json!({ "type": "integer", "minimum": least, "maximum": most })],
        Kind::Decimal { least, most } => {
            let bound = |thousandths: &u32| f64::from(*thousandths) / 1000.0;
            vec![json!({ "type": "number", "minimum": bound(least), "maximum": bound(most) })]
        }
        Kind::Choice(choices) => words(choices),
        Kind::Row(table) => row(table),
        Kind::Text(form) => text(form),
        Kind::List(item) => {
            let mut items = kind(item);
            if !is_structure(item) {
                items.push(variable());
            }
            // Parameters of policies and routes accept one value in place of a list of one.
            let one = if is_structure(item) {
                Vec::new()
            } else {
                items.clone()
            };
            let list = json!({ "type": "array", "items": { "anyOf": items } });
            one.into_iter().chain([list]).collect()
        }
        Kind::Section(section) => vec![reference(section)],
        Kind::Map(value) => {
            let mut values = kind(value);
            if !is_structure(value) {
                values.push(variable());
            }
            vec![json!({ "type": "object", "additionalProperties": { "anyOf": values } })]
        }
        Kind::Named(section) => vec![json!({ "type": "object", "additionalProperties": reference(section) })],
        Kind::Either(one, other) => [kind(one), kind(other)].concat(),
    }
}

/// The name of a row, or a map with its parameters.
fn row(table: &Table) -> Vec<Value> {
    let rows = (table.rows)();
    let is_name = |row: &&Row| row.value().is_none();
    let names: Vec<_> = rows.iter().filter(is_name).map(|row| row.name).collect();
    let names = (!names.is_empty()).then(|| json!({ "enum": names }));
    if table.form == RowForm::Kind {
        return names.into_iter().chain(rows.iter().map(row_of_kind)).collect();
    }
    let of_row = |row: &Row| match row.value() {
        Some(of) => key(of),
        None => section(&row.section()),
    };
    let by_name: Map<String, Value> = rows
        .iter()
        .map(|row| (row.name.to_owned(), of_row(row)))
        .collect();
    let map = json!({
        "type": "object",
        "properties": by_name,
        "additionalProperties": false,
        "minProperties": 1,
        "maxProperties": 1,
    });
    names.into_iter().chain([map]).collect()
}

/// A map with the name of the row as `kind` and its parameters.
fn row_of_kind(row: &Row) -> Value {
    let mut schema = section(&row.section());
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("kind".to_owned(), json!({ "const": row.name }));
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.push(json!("kind"));
    }
    schema
}

fn text(form: &Form) -> Vec<Value> {
    let mut text = json!({ "type": "string", "description": form.what });
    if let (Some(pattern), Some(text)) = (form.pattern, text.as_object_mut()) {
        text.insert("pattern".to_owned(), json!(pattern));
    }
    let number = form.or_number.then(|| json!({ "type": "integer", "minimum": 0 }));
    [text].into_iter().chain(number).collect()
}

/// Words, and the values that YAML parsers read in their place: `off` may be `false`, `503` is a number.
fn words(words: &[&str]) -> Vec<Value> {
    let mut values: Vec<Value> = Vec::new();
    for word in words {
        values.push(json!(word));
        match (*word, word.parse::<u64>()) {
            ("off", _) => values.push(json!(false)),
            (_, Ok(number)) => values.push(json!(number)),
            _ => {}
        }
    }
    if values.is_empty() {
        Vec::new()
    } else {
        vec![json!({ "enum": values })]
    }
}

/// Whether the value cannot be a variable.
fn is_structure(kind: &Kind) -> bool {
    match kind {
        Kind::List(_) | Kind::Section(_) | Kind::Named(_) | Kind::Map(_) => true,
        Kind::Either(one, other) => is_structure(one) && is_structure(other),
        _ => false,
    }
}

fn variable() -> Value {
    json!({ "type": "string", "pattern": r"\$\{", "description": "a variable" })
}

fn reference(section: &Section) -> Value {
    json!({ "$ref": format!("#/$defs/{}", definition(section)) })
}

/// A default of the table as JSON.
fn default(text: &str) -> Value {
    if let Some(items) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let items = items.split(", ").filter(|item| !item.is_empty());
        return items.map(default).collect();
    }
    if let Ok(flag) = text.parse::<bool>() {
        return json!(flag);
    }
    // `f64::from_str` alone would accept words such as `inf`.
    let is_number = text.starts_with(|c: char| c.is_ascii_digit());
    match (text.parse::<u64>(), text.parse::<f64>()) {
        (Ok(number), _) => json!(number),
        (_, Ok(number)) if is_number => json!(number),
        _ => json!(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_every_key_with_its_default() {
        let schema = schema();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        for section in SECTIONS {
            let at = match section.name {
                "top level" => schema.clone(),
                _ => schema["$defs"][definition(section)].clone(),
            };
            if section.key(ANY).is_none() {
                assert_eq!(at["additionalProperties"], false, "{}", section.name);
            }
            for key in section.keys {
                let property = match key.name {
                    ANY => &at["additionalProperties"],
                    name => &at["properties"][name],
                };
                assert!(
                    property["anyOf"].as_array().is_some_and(|any| !any.is_empty()),
                    "{}",
                    key.name
                );
                assert!(property["description"].is_string(), "{}", key.name);
            }
        }
        assert_eq!(schema["properties"]["workers"]["default"], "auto");
        assert_eq!(
            schema["$defs"]["retry"]["properties"]["causes"]["default"][3],
            503
        );
    }

    #[test]
    fn refers_only_to_existing_definitions() {
        let schema = schema();
        let text = schema.to_string();
        let refs: Vec<_> = text.match_indices("#/$defs/").collect();
        assert!(refs.len() > 8);
        for (at, mark) in refs {
            let name: String = text[at + mark.len()..]
                .chars()
                .take_while(|c| *c != '"')
                .collect();
            assert!(schema["$defs"][&name].is_object(), "{name}");
        }
    }
}
