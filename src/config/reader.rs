//! Reads the keys of one map. Types, ranges and defaults come from the table of keys, and every diagnostic lists the
//! accepted values.

use std::time::Duration;

use super::context::Context;
use super::source::{Diagnostic, Span};
use super::tree::{Entry, Node, Text, Value};
use super::{hints, suggest, vocabulary};
use crate::schema::{self, Key, Kind, Section};

/// One map of the file, or an absent map.
pub(super) struct Reader<'a> {
    pub(super) cx: &'a Context<'a>,
    section: Section,
    entries: &'a [Entry],
    /// The span of the map; `None` when it is absent.
    span: Option<Span>,
}

/// The text that was written for a key, and its span.
#[derive(Clone, Copy)]
pub(super) struct Written<'a> {
    pub(super) text: &'a str,
    pub(super) span: Span,
    /// Whether the text holds the value of a variable. If so, no message may show it.
    pub(super) is_expanded: bool,
}

impl<'a> Reader<'a> {
    /// Opens a map and reports its unknown keys. `None` when the node is not a map, which is reported.
    pub(super) fn open(cx: &'a Context<'a>, section: &Section, node: &'a Node) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            let message = format!("expected a map, found {}", found(&node.value));
            if !matches!(node.value, Value::Broken) {
                let hint = hints::of_map(section, node, &cx.quote(node.span));
                let diagnostic = Diagnostic::error(node.span, message).note_if(hint);
                cx.report(diagnostic.note(keys_of(section)));
            }
            return None;
        };
        let reader = Self {
            cx,
            section: *section,
            entries,
            span: Some(node.span),
        };
        for entry in entries {
            reader.check_key(entry);
        }
        Some(reader)
    }

    /// An absent map: every key has its default.
    pub(super) fn absent(cx: &'a Context<'a>, section: &Section) -> Self {
        Self {
            cx,
            section: *section,
            entries: &[],
            span: None,
        }
    }

    /// A map without keys, for a text that stands for one: required keys are reported at the text.
    pub(super) fn without_keys(cx: &'a Context<'a>, section: &Section, span: Span) -> Self {
        Self {
            span: Some(span),
            ..Self::absent(cx, section)
        }
    }

    /// The span of the map; `None` when it is absent.
    pub(super) fn span(&self) -> Option<Span> {
        self.span
    }

    /// The section whose keys are read.
    pub(super) fn keys(&self) -> Section {
        self.section
    }

    fn check_key(&self, entry: &Entry) {
        if self.section.key_or_any(&entry.key).is_none() {
            self.cx.report(self.unknown_key(entry));
        }
    }

    fn unknown_key(&self, entry: &Entry) -> Diagnostic {
        let quote = self.cx.quote(entry.key_span);
        if entry.key == "<<" {
            return Diagnostic::error(entry.key_span, format!("unknown key {quote}"))
                .note("YAML merge keys are not supported: write the keys out");
        }
        let meaning = vocabulary::key(self.section.name, &entry.key);
        let message = match meaning {
            Some(meaning) if meaning.is_planned => format!("{quote} is not supported yet"),
            _ => format!("unknown key {quote}"),
        };
        let hint = match meaning {
            Some(meaning) => self.hint_of(meaning),
            None => suggest::did_you_mean(&entry.key, self.section.names())
                .or_else(|| self.key_elsewhere(&entry.key)),
        };
        Diagnostic::error(entry.key_span, message)
            .note_if(hint)
            .note(keys_of(&self.section))
    }

    fn hint_of(&self, meaning: &vocabulary::Meaning) -> Option<String> {
        let called = || {
            let key = meaning.key?;
            Some(match self.section.key(key) {
                Some(_) => format!("it is called `{key}` here"),
                None => format!("it is called `{key}`, a key of the top level that a pool cannot have"),
            })
        };
        meaning.note.map(str::to_owned).or_else(called)
    }

    /// A hint that names a section with a key of this name.
    fn key_elsewhere(&self, name: &str) -> Option<String> {
        let mut sections = self.cx.sections.iter();
        let section = sections.find(|section| section.key(name).is_some())?;
        Some(format!("`{name}` is a key of {}", section.name))
    }

    /// Whether the key was written, with any value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.written_entry(name).is_some()
    }

    /// Whether one of the keys was written, or an unknown key that was probably meant to be one of them. The unknown key
    /// is reported, so the absence of the right one is not.
    pub(super) fn has_any(&self, names: &[&str]) -> bool {
        self.entries.iter().any(|entry| {
            let known = self.section.key(&entry.key).map(|key| key.name);
            let meant = known
                .or_else(|| vocabulary::key(self.section.name, &entry.key)?.key)
                .or_else(|| suggest::nearest(&entry.key, self.section.names()));
            meant.is_some_and(|name| names.contains(&name))
        })
    }

    fn written_entry(&self, name: &str) -> Option<&'a Entry> {
        self.entries.iter().find(|entry| entry.key == name)
    }

    /// The span of the key, if it was written.
    pub(super) fn key_span(&self, name: &str) -> Option<Span> {
        self.written_entry(name).map(|entry| entry.key_span)
    }

    /// The value of a key. `None` when the key was not written, or when its value is invalid, which is reported.
    pub(super) fn node(&self, name: &str) -> Option<&'a Node> {
        #[cfg(test)]
        self.note_read(name);
        self.node_of(self.written_entry(name)?)
    }

    /// The entries whose keys the section does not name, with their values. Those without a value are reported.
    pub(super) fn others(&self) -> impl Iterator<Item = (&'a Entry, &'a Node)> {
        #[cfg(test)]
        self.note_read(schema::ANY);
        let others = self.entries.iter();
        others
            .filter(|entry| self.section.key(&entry.key).is_none())
            .filter_map(|entry| Some((entry, self.node_of(entry)?)))
    }

    fn node_of(&self, entry: &'a Entry) -> Option<&'a Node> {
        let name = &entry.key;
        match entry.value.value {
            Value::Broken => None,
            Value::Empty => {
                let key = self.section.key_or_any(name);
                let accepted = key.map(Key::accepts).unwrap_or_default();
                let message = format!("`{name}` has no value");
                self.cx
                    .report(Diagnostic::error(entry.key_span, message).note(format!("accepted: {accepted}")));
                None
            }
            _ => Some(&entry.value),
        }
    }

    #[cfg(test)]
    fn note_read(&self, name: &str) {
        self.cx.note_read(self.section.name, name);
    }

    /// Whether the value is `off` or `false`.
    pub(super) fn is_off(&self, name: &str) -> bool {
        self.node(name).is_some_and(|node| is_off(&node.value))
    }

    /// The text of a key's value.
    pub(super) fn text(&self, name: &str) -> Option<Written<'a>> {
        let node = self.node(name)?;
        match written(node) {
            Some(written) => Some(written),
            None => {
                self.refuse_node(name, node);
                None
            }
        }
    }

    /// Reports a value of the wrong type for the key.
    pub(super) fn refuse_node(&self, name: &str, node: &Node) {
        if let Some(key) = self.section.key_or_any(name) {
            self.refuse_node_of(name, key, node);
        }
    }

    /// The same for a value, or a part of one, that messages call `name`.
    pub(super) fn refuse_node_of(&self, name: &str, key: &Key, node: &Node) {
        let hint = match is_secret(key) {
            true => None,
            false => hints::of_shape(&key.kind, node, &self.cx.quote(node.span)),
        };
        refuse(self.cx, node, Some(name), hint, &key.accepts());
    }

    /// Reports a text that is not valid for the key.
    pub(super) fn refuse(&self, name: &str, written: Written<'_>, hint: Option<String>) {
        if let Some(key) = self.section.key_or_any(name) {
            self.refuse_of(name, key, written, hint);
        }
    }

    /// The same for a value, or a part of one, that messages call `name`.
    pub(super) fn refuse_of(&self, name: &str, key: &Key, written: Written<'_>, hint: Option<String>) {
        let accepted = key.accepts();
        let is_secret = is_secret(key);
        let message = match is_secret {
            true => format!("invalid value for `{name}`"),
            false => format!("invalid value {} for `{name}`", self.cx.quote(written.span)),
        };
        let hint = hint.filter(|_| !written.is_expanded && !is_secret);
        self.cx.report(
            Diagnostic::error(written.span, message)
                .note_if(hint)
                .note(format!("accepted: {accepted}")),
        );
    }

    /// The value of the key: as written, else from `base`, else the default of the table.
    fn value<T>(&self, name: &str, base: Option<T>, parse: impl Fn(&Kind, &str) -> Option<T>) -> Option<T> {
        let key = self.section.key(name)?;
        let fallback = || base.or_else(|| parse(&key.kind, key.default_text()));
        let Some(written) = self.text(name) else {
            return fallback();
        };
        parse(&key.kind, written.text).or_else(|| {
            let is_accepted = |text: &str| parse(&key.kind, text).is_some();
            self.refuse(name, written, hints::of_text(key, written.text, is_accepted));
            fallback()
        })
    }

    /// A duration within the table's bounds.
    pub(super) fn duration(&self, name: &str, base: Option<Duration>) -> Duration {
        self.value(name, base, parse_duration).unwrap_or_default()
    }

    /// A number of bytes within the table's bounds.
    pub(super) fn size(&self, name: &str, base: Option<u64>) -> u64 {
        self.value(name, base, parse_number).unwrap_or_default()
    }

    /// A whole number within the table's bounds.
    pub(super) fn count(&self, name: &str, base: Option<u64>) -> u64 {
        self.value(name, base, parse_number).unwrap_or_default()
    }

    /// A size or whole number, or a word that means `None`.
    pub(super) fn optional(&self, name: &str, base: Option<Option<u64>>) -> Option<u64> {
        let words = self.section.key(name).map_or(&[][..], |key| key.words);
        let parse = |kind: &Kind, text: &str| {
            if words.contains(&text) {
                return Some(None);
            }
            parse_number(kind, text).map(Some)
        };
        self.value(name, base, parse).flatten()
    }

    /// A duration within the table's bounds, or a word that means `None`.
    pub(super) fn optional_duration(&self, name: &str, base: Option<Option<Duration>>) -> Option<Duration> {
        let words = self.section.key(name).map_or(&[][..], |key| key.words);
        let parse = |kind: &Kind, text: &str| {
            if words.contains(&text) {
                return Some(None);
            }
            parse_duration(kind, text).map(Some)
        };
        self.value(name, base, parse).flatten()
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, name: &str, base: Option<bool>) -> bool {
        let parse = |kind: &Kind, text: &str| match kind.parse(text)? {
            schema::Value::Flag(flag) => Some(flag),
            _ => None,
        };
        self.value(name, base, parse).unwrap_or_default()
    }

    /// One of the table's words.
    pub(super) fn choice(&self, name: &str, base: Option<&'static str>) -> &'static str {
        let parse = |kind: &Kind, text: &str| match kind.parse(text)? {
            schema::Value::Word(word) => Some(word),
            _ => None,
        };
        self.value(name, base, parse).unwrap_or_default()
    }

    /// The items of a list. `None` when the key was not written or is not a list.
    pub(super) fn list(&self, name: &str) -> Option<&'a [Node]> {
        let node = self.node(name)?;
        match &node.value {
            Value::List(items) => Some(items),
            _ => {
                self.refuse_node(name, node);
                None
            }
        }
    }

    /// The items of a list, or a single text in its place.
    pub(super) fn one_or_more(&self, name: &str) -> Option<&'a [Node]> {
        match self.node(name)? {
            node @ Node {
                value: Value::Text(_),
                ..
            } => Some(std::slice::from_ref(node)),
            _ => self.list(name),
        }
    }

    /// A map within this one. If it was not written, the result is an absent map.
    pub(super) fn section(&self, name: &str, section: &Section) -> Self {
        let open = self
            .node(name)
            .and_then(|node| Self::open(self.cx, section, node));
        open.unwrap_or_else(|| Self::absent(self.cx, section))
    }

    /// Reports a required key that was not written.
    pub(super) fn require(&self, name: &str) {
        let (false, Some(span)) = (self.has_any(&[name]), self.span) else {
            return;
        };
        let accepted = self.section.key(name).map(Key::accepts).unwrap_or_default();
        let message = format!("`{name}` is missing in {}", self.section.name);
        self.cx
            .report(Diagnostic::error(span, message).note(format!("accepted: {accepted}")));
    }
}

/// The text of a node; `None` when it is not text.
pub(super) fn written(node: &Node) -> Option<Written<'_>> {
    let Value::Text(Text { content, is_expanded }) = &node.value else {
        return None;
    };
    Some(Written {
        text: content,
        span: node.span,
        is_expanded: *is_expanded,
    })
}

/// Reports a node of the wrong type, unless it is already reported.
pub(super) fn refuse_shape(cx: &Context<'_>, node: &Node, accepted: &str) {
    refuse(cx, node, None, None, accepted);
}

/// The same for the value of the key `name`.
pub(super) fn refuse_node(cx: &Context<'_>, name: &str, node: &Node, hint: Option<String>, accepted: &str) {
    refuse(cx, node, Some(name), hint, accepted);
}

fn refuse(cx: &Context<'_>, node: &Node, key: Option<&str>, hint: Option<String>, accepted: &str) {
    if !matches!(node.value, Value::Broken) {
        let of = key.map_or_else(String::new, |name| format!(" for `{name}`"));
        let message = format!("invalid value{of}: found {}", found(&node.value));
        cx.report(
            Diagnostic::error(node.span, message)
                .note_if(hint)
                .note(format!("accepted: {accepted}")),
        );
    }
}

/// Whether no message may show a value of the key.
fn is_secret(key: &Key) -> bool {
    key.is_secret || key.kind.form().is_some_and(|form| form.is_secret)
}

/// The names of a section's keys, for a message.
fn keys_of(section: &Section) -> String {
    let names: Vec<_> = section.names().filter(|name| *name != schema::ANY).collect();
    match names.as_slice() {
        [] if section.key(schema::ANY).is_some() => format!("{} accepts any names as keys", section.name),
        [] => format!("{} has no parameters", section.name),
        names => format!("keys of {}: {}", section.name, names.join(", ")),
    }
}

/// Whether the value is `off` or `false`, which are the same wherever `off` is allowed.
pub(super) fn is_off(value: &Value) -> bool {
    matches!(value, Value::Text(text) if matches!(text.content.as_str(), "off" | "false"))
}

fn found(value: &Value) -> &'static str {
    match value {
        Value::Empty => "an empty value",
        Value::Text(_) => "text",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
        Value::Broken => "an invalid value",
    }
}

fn parse_duration(kind: &Kind, text: &str) -> Option<Duration> {
    match kind.parse(text)? {
        schema::Value::Duration(duration) => Some(duration),
        _ => None,
    }
}

/// Parses sizes and whole numbers.
fn parse_number(kind: &Kind, text: &str) -> Option<u64> {
    match kind.parse(text)? {
        schema::Value::Size(number) | schema::Value::Count(number) => Some(number),
        _ => None,
    }
}
