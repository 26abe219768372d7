//! `evenkeel policies`: lists the kinds of policies.

use std::io;

use evenkeel_balance::policy::POLICIES;

use super::{Outcome, Streams};

/// Lists the kinds of policies, one per line: name and summary.
pub(super) fn policies(streams: &mut Streams<'_>) -> io::Result<Outcome> {
    let width = POLICIES.iter().map(|entry| entry.name.len()).max().unwrap_or(0);
    for entry in POLICIES {
        writeln!(streams.out, "{:width$}  {}", entry.name, entry.summary)?;
    }
    Ok(Outcome::Fine)
}
