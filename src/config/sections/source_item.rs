//! The items of `backends` that name a source of more backends, such as a file.

use crate::config::context::Context;
use crate::config::params;
use crate::config::reader::Reader;
use crate::config::source::Diagnostic;
use crate::config::tree::{Node, Value};
use crate::discovery;
use crate::schema::{Params, Row, Section};

/// The source of an item of `backends` that names one; `Some(None)` if it is invalid, which is reported. `section` has the keys of
/// items that are backends.
pub(super) fn source(
    cx: &Context<'_>,
    item: &Node,
    section: &'static Section,
) -> Option<Option<(Row, Params)>> {
    let Value::Map(entries) = &item.value else {
        return None;
    };
    let source = entries
        .iter()
        .find(|entry| discovery::TABLE.row(&entry.key).is_some())?;
    let others = entries.iter().filter(|entry| section.key(&entry.key).is_some());
    let mut is_alone = true;
    for other in others {
        let message = format!("`{}` cannot be used with `{}`", other.key, source.key);
        let note = format!("write it for the backends that `{}` lists", source.key);
        cx.report(Diagnostic::error(other.key_span, message).note(note));
        is_alone = false;
    }
    let reader = Reader::absent(cx, section);
    let read = || params::row_of(&reader, ("backends[]", &discovery::TABLE), item, &|_| None);
    Some(is_alone.then(read).flatten())
}
