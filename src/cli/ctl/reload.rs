//! `evenkeel ctl reload`: activates the config as it is now in its file.

use serde::Deserialize;

use super::call::{Done, Failure, Process, parse};

/// What the admin API responds.
#[derive(Debug, Deserialize)]
struct Response {
    ignored_until_restart: Vec<String>,
}

/// Reloads the config.
pub(super) fn run(process: &Process) -> Result<Done, Failure> {
    let json = process.call("POST", "/api/v1/reload", b"")?;
    let response: Response = parse(&json)?;
    let text = match response.ignored_until_restart.join(", ") {
        ignored if ignored.is_empty() => "reloaded\n".to_owned(),
        ignored => format!("reloaded; changes that wait for a restart or an upgrade: {ignored}\n"),
    };
    Ok(Done { json, text })
}
