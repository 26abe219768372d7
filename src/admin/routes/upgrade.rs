//! The route that upgrades the running binary.

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::oneshot;

use super::super::control::{Command, Control};
use super::super::listen::EntryOfRequest;
use super::super::response::Problem;
use super::queue::{UPGRADE_LIMIT, send_within};

/// The result of an upgrade that succeeded.
#[derive(Serialize, JsonSchema)]
pub(super) struct UpgradeResponse {
    /// The id of the process that serves now.
    pid: u32,
    /// Always true.
    upgraded: bool,
}

/// `POST /api/v1/upgrade`.
pub(super) async fn upgrade(
    State(control): State<Control>,
    ConnectInfo(entry): ConnectInfo<EntryOfRequest>,
) -> Response {
    tracing::info!(by = entry.peer(), "Upgrade requested by an operator");
    let (sender, response) = oneshot::channel();
    let command = Command::Upgrade(sender);
    match send_within(&control.commands, command, response, UPGRADE_LIMIT).await {
        Ok(Ok(pid)) => Json(UpgradeResponse { pid, upgraded: true }).into_response(),
        Ok(Err(why)) => {
            let detail = format!("not upgraded; this process goes on: {why}");
            Problem::new(StatusCode::CONFLICT, "upgrade_failed", detail).into_response()
        }
        Err(error) => error.into_response(),
    }
}
