//! Checks the files of the policies that routes have, so that every one that is missing or invalid is reported at once, each at its
//! place. What is read here is not used: a start and a reload read the files again.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use evenkeel_balance::policy::{Feed, FeedError, Source};

use crate::bounded_file;
use crate::config::reader::{Reader, written};
use crate::config::source::{Diagnostic, Span};
use crate::config::tree::{Node, Value};

/// What precedes the path of a file where a URL is possible too.
const FILE_PREFIX: &str = "file:";

/// The files of a policy, which are not read before a route has it.
pub(super) struct Files<'a> {
    /// Its name and where it is written.
    pub(super) policy: (&'a str, Span),
    /// The policy as written.
    pub(super) node: &'a Node,
    /// The data that it needs.
    pub(super) feeds: Vec<Feed>,
    /// The file with the CAs of the server that it asks.
    pub(super) ca: Option<String>,
}

/// What was read of a file, or why it cannot be read.
type Content = Result<Rc<[u8]>, String>;

/// Checks files of policies. One that several policies name is read once.
#[derive(Default)]
pub(super) struct PolicyFiles {
    /// What was read, with the limit.
    read: RefCell<BTreeMap<(String, usize), Content>>,
    /// The policies whose files were checked, by where they are written: routes may share an inline one.
    checked: RefCell<BTreeSet<Span>>,
}

impl PolicyFiles {
    /// Reports those that cannot be used, if the config is for this machine.
    pub(super) fn check(&self, reader: &Reader<'_>, files: Files<'_>) {
        let (name, span) = files.policy;
        if !self.checked.borrow_mut().insert(files.node.span) {
            return;
        }
        if let Some(path) = &files.ca
            && let Err(error) = reader.cx.check_ca(Path::new(path))
        {
            let (span, is_expanded) = find(reader, files.node, path).unwrap_or((span, true));
            // It quotes the path.
            let message = match is_expanded {
                true => format!("policy `{name}`: {} cannot be used", reader.cx.quote(span)),
                false => error.to_string(),
            };
            reader.cx.report(Diagnostic::error(span, message));
        }
        if !reader.cx.is_on_this_machine {
            return;
        }
        for feed in &files.feeds {
            let Source::File(path) = &feed.source else {
                continue;
            };
            let Err(error) = self.read(feed, path) else {
                continue;
            };
            // As written, since a path may have the value of a variable in it.
            let (span, shown) = match find(reader, files.node, path) {
                Some((span, true)) => (span, reader.cx.quote(span)),
                Some((span, false)) => (span, path.clone()),
                None => (span, "a file".to_owned()),
            };
            let message = format!("policy `{name}`: {shown} cannot be used: {error}");
            reader.cx.report(Diagnostic::error(span, message));
        }
    }

    fn read(&self, feed: &Feed, path: &str) -> Result<(), FeedError> {
        let mut read = self.read.borrow_mut();
        let data = read.entry((path.to_owned(), feed.limit)).or_insert_with(|| {
            let data = bounded_file::read(Path::new(path), feed.limit);
            data.map(Rc::from).map_err(|error| error.to_string())
        });
        let data = data.as_ref().map_err(|error| FeedError(error.clone()))?;
        // It is not applied: a config that is only checked changes nothing.
        feed.read(data).map(drop)
    }
}

/// Where this path is written, at any depth, and whether it has variables in it.
fn find(reader: &Reader<'_>, node: &Node, path: &str) -> Option<(Span, bool)> {
    match &node.value {
        Value::Map(entries) => entries.iter().find_map(|entry| find(reader, &entry.value, path)),
        Value::List(items) => items.iter().find_map(|item| find(reader, item, path)),
        _ => {
            let written = written(node)?;
            let text = written.text.strip_prefix(FILE_PREFIX).unwrap_or(written.text);
            let is_it = reader.cx.path(text).components().eq(Path::new(path).components());
            is_it.then_some((written.span, written.is_expanded))
        }
    }
}
