//! What routes and policies refer to by name: listeners and pools.

use evenkeel_balance::suggest::listed;

use super::pool::Pool;
use super::pool_name::DEFAULT_POOL;
use crate::config::reader::Reader;
use crate::config::source::{Diagnostic, Origin, Span};
use crate::config::suggest;
use crate::config::tree::Value;
use crate::listener;

/// What routes refer to.
pub(super) struct Known<'a> {
    pub(super) root: &'a Reader<'a>,
    pub(super) listeners: &'a [listener::Settings],
    /// The valid pools.
    pub(super) pools: &'a [Pool],
    /// The names of all pools, including those with errors: an error in a pool does not make its name unknown. `None` when they
    /// are not known, because `pools` is not a map, which is reported.
    pub(super) pool_names: Option<Vec<&'a str>>,
}

impl<'a> Known<'a> {
    /// What the rest of the config defines.
    pub(super) fn new(root: &'a Reader<'a>, listeners: &'a [listener::Settings], pools: &'a [Pool]) -> Self {
        Self {
            root,
            listeners,
            pools,
            pool_names: pool_names(root),
        }
    }

    /// Reports a name that is not the name of a pool.
    pub(super) fn check_pool(&self, span: Span, name: &str, is_expanded: bool) {
        let Some(names) = &self.pool_names else { return };
        if names.contains(&name) {
            return;
        }
        let cx = self.root.cx;
        let message = format!("unknown pool {}", cx.quote(span));
        let hint = suggest::did_you_mean(name, names.iter().copied()).filter(|_| !is_expanded);
        let known = listed(names.iter().copied());
        let note = match cx.source.origin {
            Origin::File if names.is_empty() => Some(format!(
                "the config has no pool: write `pools: {{ {name}: {{ backends: [http://localhost:8001] }} }}`"
            ))
            .filter(|_| !is_expanded),
            Origin::File => Some(format!("pools: {known}")),
            Origin::Arguments => None,
        };
        cx.report(Diagnostic::error(span, message).note_if(hint).note_if(note));
    }

    /// The settings of the pool with this name; `None` also when it has errors.
    pub(super) fn pool(&self, name: &str) -> Option<&crate::pool::Settings> {
        let mut settings = self.pools.iter().map(|pool| &pool.settings);
        settings.find(|settings| &*settings.name == name)
    }
}

fn pool_names<'a>(root: &Reader<'a>) -> Option<Vec<&'a str>> {
    let mut names = Vec::new();
    if root.has("backends") {
        names.push(DEFAULT_POOL);
    }
    if root.has("pools") {
        match root.node("pools").map(|node| &node.value) {
            Some(Value::Map(entries)) => names.extend(entries.iter().map(|entry| entry.key.as_str())),
            _ => return None,
        }
    }
    Some(names)
}
