//! Lists of backends outside the config: the sources that bring them, and what a list contains.

use std::path::PathBuf;

use super::backend;
use super::file_item::FILE;
use super::pool::Pool;
use crate::config::context::Context;
use crate::config::source::Diagnostic;
use crate::config::tree::{Node, Value};
use crate::discovery::{self, SourceSettings};
use crate::pool::BackendSettings;

/// The sources of these pools beside the config itself.
pub(super) fn sources(pools: &[Pool]) -> Vec<SourceSettings> {
    let Some(source) = discovery::by_name(FILE) else {
        return Vec::new();
    };
    let of_pool = |pool: &Pool| {
        let settings = &pool.settings;
        let file = |path: &PathBuf| SourceSettings {
            pool: settings.name.clone(),
            source,
            backends: Vec::new(),
            location: path.display().to_string(),
            has_tls: settings.tls.is_some(),
            answer_within: settings.timeouts.connect,
        };
        pool.files.iter().map(file).collect::<Vec<_>>()
    };
    pools.iter().flat_map(of_pool).collect()
}

/// Reads the text of a list. The result is valid only if no error was reported.
pub(in crate::config) fn list(cx: &Context<'_>, root: Option<&Node>) -> Vec<BackendSettings> {
    let items = match root.map(|root| (&root.value, root)) {
        Some((Value::List(items), _)) => items.as_slice(),
        Some((Value::Text(_), one)) => std::slice::from_ref(one),
        _ => {
            let message = "not a list of backends";
            let note = "accepted: a list of the same form as `backends`; `[]` is the empty list";
            cx.report(Diagnostic::whole(message).note(note));
            &[]
        }
    };
    let found = backend::read_items(cx, items, &[]);
    if !found.files.is_empty() {
        cx.report(Diagnostic::whole(
            "`file` cannot be used in a file with a list of backends",
        ));
    }
    found.listed
}
