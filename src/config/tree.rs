//! Parses YAML into a tree of any keys and values, each with its span. Knows nothing of the config's keys.

use std::collections::BTreeMap;

use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle, Span as YamlSpan};

use super::context::Context;
use super::source::{Diagnostic, Span};
use super::{syntax, templates, variables};

/// Deepest nesting, aliases included. Our own format needs 6.
const DEEPEST: usize = 32;

/// Most nodes of a tree, counting what aliases repeat: a few lines of nested aliases can expand to billions of nodes. A
/// route or a backend takes up to seven.
const MOST_NODES: usize = 2_000_000;

/// A value and its span.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) value: Value,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Nothing, `null` or `~`.
    Empty,
    /// A scalar.
    Text(Text),
    /// `[…]` or lines that begin with `-`.
    List(Vec<Node>),
    /// `{…}` or lines with keys, in the order of the file, repeated keys included.
    Map(Vec<Entry>),
    /// Invalid, and already reported.
    Broken,
}

/// A scalar's text.
#[derive(Debug, Clone)]
pub(super) struct Text {
    /// Variables are expanded.
    pub(super) content: String,
    /// Whether there were variables. If so, no message may show the content.
    pub(super) is_expanded: bool,
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Span,
    pub(super) value: Node,
}

/// The text could not be parsed. The cause is already reported.
#[derive(Debug)]
pub(super) struct Unparsable;

/// Parses the context's text. `None` when it has no document.
pub(super) fn parse(cx: &Context<'_>) -> Result<Option<Node>, Unparsable> {
    let options = granit_parser::options! {
        emit_comments: false,
        emit_unresolved_aliases: true,
        disallow_directives: true,
        flow_nesting_limit: DEEPEST,
        block_nesting_limit: DEEPEST,
    };
    let mut builder = Builder {
        cx,
        open: Vec::new(),
        anchors: BTreeMap::new(),
        nodes: 0,
        root: None,
    };
    for event in Parser::new_from_str_with_options(cx.source.text, options) {
        let fed = event
            .map_err(|error| syntax::diagnostic(cx, &error))
            .and_then(|(event, span)| builder.feed(event, span));
        if let Err(diagnostic) = fed {
            cx.report(diagnostic);
            return Err(Unparsable);
        }
    }
    Ok(builder.root)
}

fn to_span(span: &YamlSpan) -> Span {
    let start = span.start.byte_offset().unwrap_or_default();
    let end = span.end.byte_offset().unwrap_or(start);
    Span { start, end }
}

/// A list or map whose end was not parsed yet.
struct Open {
    anchor: usize,
    span: Span,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Map(Vec<Entry>, PendingKey),
}

/// The role of the next node of a map.
enum PendingKey {
    /// A key.
    None,
    /// The value of this key.
    Key(String, Span),
    /// The value of an invalid key.
    Bad,
}

struct Builder<'a> {
    cx: &'a Context<'a>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    /// Handles the next event. An error ends parsing.
    fn feed(&mut self, event: Event<'_>, span: YamlSpan) -> Result<(), Diagnostic> {
        let span = to_span(&span);
        match event {
            Event::DocumentStart(..) if self.root.is_some() => Err(Diagnostic::error(
                span,
                "only one YAML document is allowed: a second one starts here",
            )),
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(span, tag.is_some());
                let is_plain = style == ScalarStyle::Plain;
                let value = if is_plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
                    Value::Empty
                } else {
                    self.expand(&text, span)
                };
                self.close(Node { span, value }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(span, tag.is_some());
                self.begin(anchor, span, Items::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(span, tag.is_some());
                self.begin(anchor, span, Items::Map(Vec::new(), PendingKey::None))
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
            Event::Alias(id) => self.alias(id, span),
            Event::UnresolvedAlias(name) => {
                let message = format!("unknown alias `*{name}`: no anchor `&{name}` precedes it");
                let hint = "text that starts with `*` or `&` needs quotes";
                self.cx.report(Diagnostic::error(span, message).note(hint));
                let value = Value::Broken;
                self.close(Node { span, value }, 0)
            }
            _ => Ok(()),
        }
    }

    fn refuse_tag(&self, span: Span, has_tag: bool) {
        if has_tag {
            let hint = "text that starts with `!` needs quotes";
            self.cx
                .report(Diagnostic::error(span, "YAML tags are not supported: remove this one").note(hint));
        }
    }

    /// Expands variables, except in keys: nobody needs that, and messages show keys.
    fn expand(&self, text: &str, span: Span) -> Value {
        let is_key = self
            .open
            .last()
            .is_some_and(|open| matches!(open.items, Items::Map(_, PendingKey::None)));
        let lookup = self.cx.lookup;
        let expanded = if is_key || !text.contains("${") {
            Ok(None)
        } else if templates::has_template(self.cx.sections, &self.path()) {
            variables::expand_in_template(text, lookup)
        } else {
            variables::expand(text, lookup)
        };
        match expanded {
            Ok(expanded) => Value::Text(Text {
                is_expanded: expanded.is_some(),
                content: expanded.unwrap_or_else(|| text.to_owned()),
            }),
            Err(error) => {
                self.cx.report(Diagnostic::error(span, error.to_string()));
                Value::Broken
            }
        }
    }

    /// The keys of the maps that are open, from the top level on.
    fn path(&self) -> Vec<&str> {
        let keys = self.open.iter().filter_map(|open| match &open.items {
            Items::Map(_, PendingKey::Key(key, _)) => Some(key.as_str()),
            _ => None,
        });
        keys.collect()
    }

    fn begin(&mut self, anchor: usize, span: Span, items: Items) -> Result<(), Diagnostic> {
        if self.open.len() >= DEEPEST {
            return Err(Diagnostic::error(
                span,
                format!("nested deeper than {DEEPEST} levels"),
            ));
        }
        self.open.push(Open { anchor, span, items });
        Ok(())
    }

    fn end(&mut self, end: Span) -> Result<(), Diagnostic> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let value = match open.items {
            Items::List(items) => Value::List(items),
            Items::Map(entries, _) => Value::Map(self.refuse_duplicates(entries)),
        };
        let span = Span {
            start: open.span.start,
            end: end.end,
        };
        self.close(Node { span, value }, open.anchor)
    }

    /// Reports duplicate keys and keeps the first of each.
    fn refuse_duplicates(&self, entries: Vec<Entry>) -> Vec<Entry> {
        let mut seen: BTreeMap<String, Span> = BTreeMap::new();
        let mut kept = Vec::with_capacity(entries.len());
        for entry in entries {
            let Some(first) = seen.get(&entry.key) else {
                seen.insert(entry.key.clone(), entry.key_span);
                kept.push(entry);
                continue;
            };
            let line = self.cx.source.line(*first);
            let quote = self.cx.quote(entry.key_span);
            let message = format!("duplicate key {quote}; first defined on line {line}");
            self.cx.report(Diagnostic::error(entry.key_span, message));
        }
        kept
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<(), Diagnostic> {
        let Some(node) = self.anchors.get(&id).cloned() else {
            return Err(Diagnostic::error(
                span,
                "this alias refers to a value that contains it",
            ));
        };
        let (nodes, depth) = extent(&node);
        if self.open.len() + depth > DEEPEST {
            return Err(Diagnostic::error(
                span,
                format!("nested deeper than {DEEPEST} levels"),
            ));
        }
        self.count(nodes, span)?;
        self.close(node, 0)
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), Diagnostic> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MOST_NODES {
            return Err(Diagnostic::error(
                span,
                format!("more than {MOST_NODES} values, with aliases expanded"),
            ));
        }
        Ok(())
    }

    /// Adds a complete node to its parent.
    fn close(&mut self, node: Node, anchor: usize) -> Result<(), Diagnostic> {
        self.count(1, node.span)?;
        if anchor != 0 {
            self.count(extent(&node).0, node.span)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.items) {
            None => self.root = Some(node),
            Some(Items::List(items)) => items.push(node),
            Some(Items::Map(entries, pending)) => match std::mem::replace(pending, PendingKey::None) {
                PendingKey::Key(key, key_span) => entries.push(Entry {
                    key,
                    key_span,
                    value: node,
                }),
                PendingKey::Bad => {}
                PendingKey::None => *pending = pending_key(self.cx, node),
            },
        }
        Ok(())
    }
}

fn pending_key(cx: &Context<'_>, node: Node) -> PendingKey {
    match node.value {
        Value::Text(key) => PendingKey::Key(key.content, node.span),
        Value::Broken => PendingKey::Bad,
        Value::Empty | Value::List(_) | Value::Map(_) => {
            cx.report(
                Diagnostic::error(node.span, "a key must be text").note("a key such as `null` needs quotes"),
            );
            PendingKey::Bad
        }
    }
}

/// Number of nodes and depth of a tree.
fn extent(node: &Node) -> (usize, usize) {
    let children = |nodes: &mut dyn Iterator<Item = &Node>| {
        nodes.map(extent).fold((1, 1), |(count, depth), (nodes, levels)| {
            (count + nodes, depth.max(levels + 1))
        })
    };
    match &node.value {
        Value::List(items) => children(&mut items.iter()),
        Value::Map(entries) => children(&mut entries.iter().map(|entry| &entry.value)),
        _ => (1, 0),
    }
}
