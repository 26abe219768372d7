//! The routes of the level of the operations log.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::Level;

use super::super::control::Control;
use super::super::listen::EntryOfRequest;
use super::super::response::Problem;
use super::body;

/// The level of the operations log: lines of this level and above are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LogLevelSetting {
    /// The level.
    level: LevelName,
}

/// A level, from the one with the fewest lines on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum LevelName {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// `GET /api/v1/log-level`.
pub(super) async fn show(State(control): State<Control>) -> Json<LogLevelSetting> {
    Json(setting(control.log_level.level()))
}

/// `PUT /api/v1/log-level`, until the process ends.
pub(super) async fn set(
    State(control): State<Control>,
    ConnectInfo(entry): ConnectInfo<EntryOfRequest>,
    body: Result<Json<LogLevelSetting>, JsonRejection>,
) -> Result<Json<LogLevelSetting>, Problem> {
    let expected = r#"{"level": LEVEL} with one of error, warn, info, debug and trace"#;
    let level = level(body::read(body, expected)?);
    let before = control.log_level.level();
    let record =
        || tracing::info!(by = entry.peer(), %before, after = %level, "Log level set by an operator");
    // Whichever of the two levels writes more writes this line.
    if before >= Level::INFO {
        record();
        control.log_level.set(level);
    } else {
        control.log_level.set(level);
        record();
    }
    Ok(Json(setting(level)))
}

fn level(setting: LogLevelSetting) -> Level {
    match setting.level {
        LevelName::Error => Level::ERROR,
        LevelName::Warn => Level::WARN,
        LevelName::Info => Level::INFO,
        LevelName::Debug => Level::DEBUG,
        LevelName::Trace => Level::TRACE,
    }
}

fn setting(level: Level) -> LogLevelSetting {
    let level = match level {
        Level::ERROR => LevelName::Error,
        Level::WARN => LevelName::Warn,
        Level::INFO => LevelName::Info,
        Level::DEBUG => LevelName::Debug,
        Level::TRACE => LevelName::Trace,
    };
    LogLevelSetting { level }
}
