//! Generates the JSON Schema and `docs/config.md` from the tables of keys of the sections.

mod json;
#[cfg(test)]
mod page;

use crate::schema::{Section, Table};

pub use json::schema;
#[cfg(test)]
pub(super) use {json::schema_of, page::page, page::page_of};

/// The tables whose rows the keys of a section select.
fn tables(section: &Section) -> impl Iterator<Item = &'static Table> {
    section.keys.iter().filter_map(|key| key.kind.table())
}

/// The parameters of these rows.
fn rows(section: &Section) -> Vec<Section> {
    let rows = tables(section).flat_map(|table| (table.rows)());
    rows.map(|row| row.section()).collect()
}
