//! Lists of backends outside the config: the sources that bring them, and what a list contains.

use super::backend;
use super::pool::Pool;
use crate::config::context::Context;
use crate::config::source::Diagnostic;
use crate::config::tree::{Node, Value};
use crate::discovery::{self, SourceSettings};
use crate::pool::BackendSettings;
use crate::schema::{Params, Row};

/// The sources of these pools beside the config itself.
pub(super) fn sources(pools: &[Pool]) -> Vec<SourceSettings> {
    let of_pool = |pool: &Pool| {
        let settings = &pool.settings;
        let source = |(row, params): &(Row, Params)| {
            Some(SourceSettings {
                pool: settings.name.clone(),
                source: discovery::by_name(row.name)?,
                backends: Vec::new(),
                params: params.clone(),
                has_tls: settings.tls.is_some(),
                answer_within: settings.timeouts.connect,
            })
        };
        pool.sources.iter().filter_map(source).collect::<Vec<_>>()
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
    if let Some((source, _)) = found.sources.first() {
        let message = format!("`{}` cannot be used in the list of a source", source.name);
        cx.report(Diagnostic::whole(message));
    }
    found.listed
}
