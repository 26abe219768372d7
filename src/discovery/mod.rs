//! Where backends come from: the table of sources, one file each. A source reports lists of backends; when a list is believed and
//! how often it changes a pool is the same for all of them (`rules`). Also resolves the names of backends (`names`).
//!
//! A new source is one new file and one row of [`SOURCES`]. Nothing here knows the syntax of the config: who starts the sources
//! also passes the function that parses lists.

mod ages;
mod feed;
mod file;
mod fixed;
mod names;
mod rules;
#[cfg(test)]
mod scripted;
mod sources;

use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use feed::Feed;

pub use ages::Ages;
pub use names::Names;
pub use sources::{Sources, Starter};

use crate::pool::{BackendSettings, MAX_BACKENDS};
use crate::schema::{Key, Params, Row, RowForm, Table};

/// Maximum number of backends of one source that is not the config itself.
pub const MAX_BACKENDS_PER_SOURCE: usize = 10_000;

/// A row of the table of sources.
pub struct Source {
    /// Its name, which is its key in the config.
    pub name: &'static str,
    /// One line for the docs.
    pub summary: &'static str,
    /// Its parameters: a single key without a name is the value of its key in the config.
    keys: &'static [Key],
    /// Maximum number of backends in a list. A longer one is an error of the source.
    limit: usize,
    /// Starts it. Either reports its only list at once, or returns a task that reports to the feed until it is aborted.
    start: fn(SourceSettings, Parse, Arc<Feed>) -> Option<SourceTask>,
}

const FIXED: Source = Source {
    name: "fixed",
    summary: "the backends that the config lists",
    keys: &[],
    limit: MAX_BACKENDS,
    start: fixed::start,
};

/// All sources, in the order in which the docs list them.
pub static SOURCES: &[Source] = &[
    FIXED,
    Source {
        name: "file",
        summary: "A file with a list of at most 10,000 backends in the form of `backends`. It is looked at once a second, and its backends change without a reload. If it cannot be read or is invalid, its last list stays active; an empty list (`[]`) is believed when it is read twice. Backends with an `https` URL require `tls` of the pool.",
        keys: file::KEYS,
        limit: MAX_BACKENDS_PER_SOURCE,
        start: file::start,
    },
];

/// The sources that items of `backends` name.
pub const TABLE: Table = Table {
    what: "source of backends",
    form: RowForm::Name,
    rows: || {
        let row = |source: &Source| Row {
            name: source.name,
            summary: source.summary,
            keys: source.keys,
        };
        let named = SOURCES.iter().filter(|source| source.name != FIXED.name);
        named.map(row).collect()
    },
};

/// A source of a pool's backends, as the config resolves it.
#[derive(Debug, Clone)]
pub struct SourceSettings {
    /// The name of the pool.
    pub pool: Arc<str>,
    /// Its row in the table.
    pub source: &'static Source,
    /// The list of `fixed`; empty for the others.
    pub backends: Vec<BackendSettings>,
    /// The parameters of the others, such as the path of the file. With pool and source they identify a source over reloads.
    pub params: Params,
    /// Whether the pool has TLS settings, without which its backends cannot have an `https` URL.
    pub has_tls: bool,
    /// How long a start or a reload waits for its first list: `timeouts.connect` of the pool.
    pub answer_within: Duration,
}

/// Parses a list of backends. Paths in it are relative to the folder. The error is one line for the log.
pub type Parse = fn(text: &str, folder: &Path) -> Result<Vec<BackendSettings>, String>;

/// The backends of a pool have changed: [`Sources::backends`] returns them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The name of the pool.
    pub pool: Arc<str>,
}

/// The task of a source.
type SourceTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The source with this name.
pub fn by_name(name: &str) -> Option<&'static Source> {
    SOURCES.iter().find(|source| source.name == name)
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl SourceSettings {
    /// The backends that the config lists for a pool. The config has checked that their TLS has settings.
    pub fn fixed(pool: &Arc<str>, backends: &[BackendSettings]) -> Self {
        Self {
            pool: Arc::clone(pool),
            source: &FIXED,
            backends: backends.to_vec(),
            params: Params::default(),
            has_tls: true,
            answer_within: Duration::ZERO,
        }
    }

    /// Whether its list is in the config.
    fn is_fixed(&self) -> bool {
        self.source.name == FIXED.name
    }

    /// Where it finds its list, for the log: the value of its key, such as a path.
    pub fn location(&self) -> &str {
        self.params.text("").unwrap_or_default()
    }
}
