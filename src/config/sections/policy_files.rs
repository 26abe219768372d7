//! Checks the files that policies read, so that every one that is missing or invalid is reported at once, each at its place. What
//! is read here is not used: a start and a reload read the files again.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use evenkeel_balance::policy::{Feed, FeedError, Policy, Source};

use crate::config::reader::{Reader, written};
use crate::config::source::{Diagnostic, Span};
use crate::config::tree::{Node, Value};

/// What precedes the path of a file where a URL is possible too.
const FILE_PREFIX: &str = "file:";

/// Reports the files of a policy that cannot be used, if the config is for this machine. Returns whether all can be. `node` is the
/// policy as written.
pub(super) fn check(
    reader: &Reader<'_>,
    policy: &dyn Policy,
    (name, span): (&str, Span),
    node: &Node,
) -> bool {
    if !reader.cx.is_on_this_machine {
        return true;
    }
    let before = reader.cx.reported();
    for feed in policy.feeds() {
        let Source::File(path) = &feed.source else {
            continue;
        };
        let Err(error) = read(&feed, path) else { continue };
        // As written, since a path may have the value of a variable in it.
        let (span, shown) = match find(reader, node, path) {
            Some((span, true)) => (span, reader.cx.quote(span)),
            Some((span, false)) => (span, path.clone()),
            None => (span, "a file".to_owned()),
        };
        let message = format!("policy `{name}`: {shown} cannot be used: {error}");
        reader.cx.report(Diagnostic::error(span, message));
    }
    reader.cx.reported() == before
}

fn read(feed: &Feed, path: &str) -> Result<(), FeedError> {
    let data = read_file(Path::new(path), feed.limit).map_err(|error| FeedError(error.to_string()))?;
    // Only what is called is applied.
    feed.read(&data).map(drop)
}

/// Reads a file up to one byte more than the limit, which is enough to see that it is too long.
fn read_file(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    let mut data = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut data)?;
    Ok(data)
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
