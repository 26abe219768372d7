//! `evenkeel strategies`: lists the strategies and their parameters.

use std::io;

use super::{Outcome, Streams};
use crate::schema::Key;
use crate::strategy::STRATEGIES;

/// Lists the strategies: name and summary in one line, and below it a line for each parameter, with its default and its description.
pub(super) fn strategies(streams: &mut Streams<'_>) -> io::Result<Outcome> {
    let keys = || STRATEGIES.iter().flat_map(|entry| entry.keys);
    let names = STRATEGIES.iter().map(|entry| entry.name.len());
    let width = names
        .chain(keys().map(|key| key.name.len() + 2))
        .max()
        .unwrap_or(0);
    let of_default = keys().map(|key| default(key).len()).max().unwrap_or(0);
    for entry in STRATEGIES {
        writeln!(streams.out, "{:width$}  {}", entry.name, entry.summary)?;
        for key in entry.keys {
            let name = format!("  {}", key.name);
            writeln!(
                streams.out,
                "{name:width$}  {:of_default$}  {}",
                default(key),
                key.about
            )?;
        }
    }
    Ok(Outcome::Fine)
}

fn default(key: &Key) -> &'static str {
    match key.default_text() {
        "" => "-",
        text => text,
    }
}
