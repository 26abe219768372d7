//! The items of `backends` that name a file with more backends.

use std::path::PathBuf;

use crate::config::context::Context;
use crate::config::reader::{Reader, written};
use crate::config::source::Diagnostic;
use crate::config::tree::{Node, Value};
use crate::schema::Section;

/// The name of the key, and of the source in the table of sources.
pub(super) const FILE: &str = "file";

/// The file of an item of `backends` that names one; `Some(None)` if it is invalid, which is reported.
pub(super) fn file(cx: &Context<'_>, item: &Node, section: &'static Section) -> Option<Option<PathBuf>> {
    let Value::Map(entries) = &item.value else {
        return None;
    };
    let entry = entries.iter().find(|entry| entry.key == FILE)?;
    for other in entries.iter().filter(|other| section.key(&other.key).is_some()) {
        if other.key != FILE {
            let message = format!("`{}` cannot be used with `file`", other.key);
            let note = "write it for the backends in the file";
            cx.report(Diagnostic::error(other.key_span, message).note(note));
        }
    }
    let path = Reader::open(cx, section, item).and_then(|reader| reader.text(FILE));
    let path = path.filter(|written| !written.text.is_empty());
    if path.is_none() && written(&entry.value).is_some_and(|written| written.text.is_empty()) {
        cx.report(
            Diagnostic::error(entry.value.span, "`file` is empty").note("accepted: the path of a file"),
        );
    }
    // Without `.` in it, so that one file has one path.
    Some(path.map(|written| cx.path(written.text).components().collect()))
}
