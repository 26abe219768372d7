//! `strategy`: how a backend is chosen. Its parameters come from the table of strategies.

use crate::config::print::{Item, row};
use crate::config::reader::Reader;
use crate::config::{params, vocabulary};
use crate::schema::{Key, Kind, Params};
use crate::strategy::{self, Settings};

/// The key, at top level and of a pool.
pub(super) const KEY: Key = Key::new(
    "strategy",
    Kind::Row(&strategy::TABLE),
    "How a backend is chosen for a request; `evenkeel strategies` lists the strategies.",
);

/// Reads `strategy`: a name, or a map from the name to its parameters. A pool that writes it takes no parameter from the top level.
pub(super) fn read(reader: &Reader<'_>, base: Option<&Settings>) -> Option<Settings> {
    let written = params::row(reader, "strategy", &vocabulary::strategy);
    let found = written.and_then(|(row, params)| {
        let entry = strategy::by_name(row.name)?;
        Some(Settings { entry, params })
    });
    found.or_else(|| base.cloned()).or_else(|| {
        let entry = strategy::STRATEGIES.first()?;
        Some(Settings {
            entry,
            params: Params::default(),
        })
    })
}

/// Prints a strategy: its name alone if it has no parameters.
pub(super) fn show(settings: &Settings) -> Item {
    row(&strategy::TABLE, settings.name(), &settings.params)
}
