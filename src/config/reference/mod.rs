//! The table of all keys: type, range, default and description of each. The reader takes known keys, ranges and defaults
//! from it; the JSON Schema and `docs/config.md` are generated from it.

mod json;
mod page;
mod rules;
mod table;
mod tls;

use crate::schema::{Kind, Section, Table};

pub use json::schema;
pub use page::page;
pub(super) use rules::{HEALTH_CHECK, LIMITS, POOL_LIMITS, POOL_TIMEOUTS, RETRY, TIMEOUTS};
pub(super) use table::{ACCESS_LOG, ADMIN, BACKEND, LISTENER, POOL, ROOT, ROUTE};
pub(super) use tls::{CERTIFICATE, LISTENER_TLS, POOL_TLS};
#[cfg(test)]
pub(super) use {json::schema_of, page::page_of};

/// Every section, in reading order.
pub(super) const SECTIONS: [&Section; 16] = [
    &ROOT,
    &LISTENER,
    &LISTENER_TLS,
    &CERTIFICATE,
    &ADMIN,
    &ACCESS_LOG,
    &HEALTH_CHECK,
    &RETRY,
    &TIMEOUTS,
    &LIMITS,
    &POOL,
    &POOL_TLS,
    &BACKEND,
    &POOL_TIMEOUTS,
    &POOL_LIMITS,
    &ROUTE,
];

/// The tables whose rows the keys of a section select.
fn tables(section: &Section) -> impl Iterator<Item = &'static Table> {
    section.keys.iter().filter_map(|key| match key.kind {
        Kind::Row(table) => Some(table),
        _ => None,
    })
}

/// The parameters of these rows.
fn rows(section: &Section) -> Vec<Section> {
    let rows = tables(section).flat_map(|table| (table.rows)());
    rows.map(|row| row.section()).collect()
}
