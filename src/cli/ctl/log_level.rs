//! `evenkeel ctl log-level`: shows or sets the level of the operations log.

use clap::Args;
use serde::Deserialize;

use super::call::{Done, Failure, Process, parse};

/// The arguments of `evenkeel ctl log-level`.
#[derive(Debug, Clone, Args)]
pub(super) struct LogLevelArguments {
    /// Level from which on lines are written; without it the level is shown
    #[arg(value_parser = ["error", "warn", "info", "debug", "trace"])]
    level: Option<String>,
}

/// What the admin API responds.
#[derive(Debug, Deserialize)]
struct Response {
    level: String,
}

/// Shows or sets the level.
pub(super) fn run(process: &Process, arguments: &LogLevelArguments) -> Result<Done, Failure> {
    const PATH: &str = "/api/v1/log-level";
    let json = match &arguments.level {
        None => process.call("GET", PATH, b"")?,
        Some(level) => {
            let body = format!("{{\"level\": \"{level}\"}}");
            process.call("PUT", PATH, body.as_bytes())?
        }
    };
    let Response { level } = parse(&json)?;
    let text = match &arguments.level {
        None => format!("{level}\n"),
        Some(_) => format!("the level of the operations log is {level} until the process ends\n"),
    };
    Ok(Done { json, text })
}
