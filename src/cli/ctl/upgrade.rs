//! `evenkeel ctl upgrade`: replaces the running process by a new one of its program.

use serde::Deserialize;

use super::call::{Done, Failure, Process, UPGRADE_TIMEOUT, parse};

/// What the admin API responds.
#[derive(Debug, Deserialize)]
struct Response {
    pid: u32,
}

/// Upgrades the process.
pub(super) fn run(process: &Process) -> Result<Done, Failure> {
    let json = process.call_within(UPGRADE_TIMEOUT, ("POST", "/api/v1/upgrade"), b"")?;
    let response: Response = parse(&json)?;
    let text = format!("upgraded; the new process is {}\n", response.pid);
    Ok(Done { json, text })
}
