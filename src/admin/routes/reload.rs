//! The route that reloads the config.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::super::control::{Command, Control, GuardChoice, ReloadRequest};
use super::super::listen::EntryOfRequest;
use super::super::response::Problem;
use super::queue::send;

/// The body of a request, which may have none.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReloadBody {
    /// Whether the reload is guarded, in place of what the config says: `off` or a duration such as `30s`.
    guard: Option<String>,
}

/// The result of a reload that succeeded.
#[derive(Serialize, JsonSchema)]
pub(super) struct ReloadResponse {
    /// Always true.
    reloaded: bool,
    /// How long the reload is guarded, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    guard: Option<String>,
}

/// `POST /api/v1/reload`, with `{"guard": "30s"}` or without a body.
pub(super) async fn reload(
    State(control): State<Control>,
    ConnectInfo(entry): ConnectInfo<EntryOfRequest>,
    body: Bytes,
) -> Response {
    let guard = match guard_of(&body) {
        Ok(guard) => guard,
        Err(detail) => return Problem::invalid_request(detail).into_response(),
    };
    tracing::info!(by = entry.peer(), "Reload requested by an operator");
    let (reply, response) = oneshot::channel();
    let request = ReloadRequest {
        guard,
        reply: Some(reply),
    };
    match send(&control.commands, Command::Reload(request), response).await {
        Ok(Ok(reloaded)) => Json(ReloadResponse {
            reloaded: true,
            guard: reloaded.guard,
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

/// The guard that the body of a request asks for.
fn guard_of(body: &[u8]) -> Result<Option<GuardChoice>, String> {
    if body.is_empty() {
        return Ok(None);
    }
    let body: ReloadBody =
        serde_json::from_slice(body).map_err(|error| format!("the body is not valid: {error}"))?;
    let guard = body.guard.as_deref().map(GuardChoice::parse).transpose();
    guard.map_err(|error| format!("`guard` is not valid: {error}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_body_asks_for_a_guard_or_for_none() {
        let guard = Some(GuardChoice::For(Duration::from_secs(30)));
        for (body, wanted) in [
            ("", None),
            ("{}", None),
            (r#"{"guard": "30s"}"#, guard),
            (r#"{"guard": "off"}"#, Some(GuardChoice::Off)),
        ] {
            assert_eq!(guard_of(body.as_bytes()), Ok(wanted), "{body}");
        }
        for (wrong, reason) in [
            (r#"{"guard": 30}"#, "the body is not valid: "),
            (r#"{"gard": "30s"}"#, "the body is not valid: "),
            (r#"{"guard": "30"}"#, "`guard` is not valid: expected off or "),
        ] {
            let error = guard_of(wrong.as_bytes()).unwrap_err();
            assert!(error.starts_with(reason), "{error}");
        }
    }
}
