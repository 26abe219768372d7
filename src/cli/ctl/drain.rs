//! `evenkeel ctl drain`: gives a backend no new requests.

use super::call::{Done, Failure, Process};

/// Drains a backend.
pub(super) fn run(process: &Process, pool: &str, backend: &str) -> Result<Done, Failure> {
    let (json, status) = process.change("POST", (pool, backend), "drain", b"")?;
    let text = format!(
        "backend {} of pool {pool} is drained; requests in flight: {}\n",
        status.url, status.in_flight
    );
    Ok(Done { json, text })
}
