//! The route that reloads the config.

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::oneshot;

use super::super::control::{Command, Control};
use super::super::listen::EntryOfRequest;
use super::super::response::{ErrorResponse, Problem};
use super::queue::send;

/// The result of a reload that succeeded.
#[derive(Serialize, JsonSchema)]
pub(super) struct ReloadResponse {
    /// The top-level keys whose change is ignored until a restart.
    ignored_until_restart: Vec<String>,
    /// Always true.
    reloaded: bool,
}

/// `POST /api/v1/reload`.
pub(super) async fn reload(
    State(control): State<Control>,
    ConnectInfo(entry): ConnectInfo<EntryOfRequest>,
) -> Response {
    tracing::info!(by = entry.peer(), "Reload requested by an operator");
    match command(&control, Command::Reload).await {
        Ok(Ok(reloaded)) => Json(ReloadResponse {
            ignored_until_restart: reloaded.ignored_until_restart,
            reloaded: true,
        })
        .into_response(),
        Ok(Err(errors)) => {
            let detail = "the previous configuration stays active";
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_config", detail)
                .with_errors(errors)
                .into_response()
        }
        Err(error) => error.into_response(),
    }
}

/// Queues a command and waits for its result.
async fn command<T>(control: &Control, make: fn(oneshot::Sender<T>) -> Command) -> Result<T, ErrorResponse> {
    let (sender, response) = oneshot::channel();
    send(&control.commands, make(sender), response).await
}
