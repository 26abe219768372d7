//! `evenkeel ctl ready`: gives a drained backend requests again.

use super::call::{Done, Failure, Process};

/// Ends the drain of a backend.
pub(super) fn run(process: &Process, pool: &str, backend: &str) -> Result<Done, Failure> {
    let (json, status) = process.change("POST", (pool, backend), "ready", b"")?;
    let url = &status.url;
    let text = match &status.why {
        None => format!("backend {url} of pool {pool} gets requests again\n"),
        Some(why) => {
            format!("backend {url} of pool {pool} is not drained, but gets no requests yet: {why}\n")
        }
    };
    Ok(Done { json, text })
}
