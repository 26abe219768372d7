//! `evenkeel ctl reload`: activates the config as it is now in its file.

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::call::{Done, Failure, Process, parse};
use crate::admin::GuardChoice;

/// The arguments of `evenkeel ctl reload`.
#[derive(Debug, Clone, Args)]
pub(super) struct ReloadArguments {
    /// How long failures are watched, such as 30s, or `off`; if they jump, the previous configuration comes back [default: `guard` of the config]
    #[arg(long, value_name = "DURATION|off", value_parser = checked)]
    guard: Option<String>,
}

/// What the admin API responds.
#[derive(Debug, Deserialize)]
struct Response {
    #[serde(default)]
    guard: Option<String>,
}

/// Reloads the config.
pub(super) fn run(process: &Process, arguments: &ReloadArguments) -> Result<Done, Failure> {
    let body = arguments
        .guard
        .as_ref()
        .map(|guard| json!({ "guard": guard }).to_string());
    let body = body.unwrap_or_default();
    let json = process.call("POST", "/api/v1/reload", body.as_bytes())?;
    let response: Response = parse(&json)?;
    let mut text = "reloaded".to_owned();
    match (&arguments.guard, &response.guard) {
        (_, Some(guard)) => {
            text +=
                &format!("; guarded for {guard}: if failures jump, the previous configuration comes back");
        }
        (Some(wanted), None) if wanted != "off" => {
            text += "; not guarded, because there is nothing to roll back"
        }
        _ => {}
    }
    text.push('\n');
    Ok(Done { json, text })
}

fn checked(text: &str) -> Result<String, String> {
    GuardChoice::parse(text).map(|_| text.to_owned())
}
