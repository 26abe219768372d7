//! The routes that change one backend: drain, ready and weight.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;

use super::super::change::{BackendAction, BackendChange, MAX_WEIGHT, UnknownBackend};
use super::super::control::Control;
use super::super::listen::EntryOfRequest;
use super::super::response::failure;
use super::queue::send;

/// Most backends that an error lists.
const MOST_LISTED: usize = 20;

/// Pool and backend of a path.
type Target = Path<(String, String)>;

/// The body of a change of the weight.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Weight {
    weight: u32,
}

pub(super) async fn drain(
    State(control): State<Control>,
    ConnectInfo(entry): ConnectInfo<EntryOfRequest>,
    target: Target,
) -> Response {
    change(&control, target, BackendAction::Drain, &entry).await
}

pub(super) async fn ready(
    State(control): State<Control>,
    ConnectInfo(entry): ConnectInfo<EntryOfRequest>,
    target: Target,
) -> Response {
    change(&control, target, BackendAction::Ready, &entry).await
}

pub(super) async fn weight(
    State(control): State<Control>,
    ConnectInfo(entry): ConnectInfo<EntryOfRequest>,
    target: Target,
    body: Result<Json<Weight>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(Weight { weight })) if weight <= MAX_WEIGHT => {
            change(&control, target, BackendAction::Weight(weight), &entry).await
        }
        _ => {
            let message = format!("the body must be {{\"weight\": N}} with a number from 0 to {MAX_WEIGHT}");
            failure(
                StatusCode::BAD_REQUEST,
                &json!({ "error": "invalid_weight", "message": message }),
            )
        }
    }
}

async fn change(
    control: &Control,
    Path((pool, backend)): Target,
    action: BackendAction,
    entry: &EntryOfRequest,
) -> Response {
    let (reply, response) = oneshot::channel();
    let change = BackendChange {
        pool: pool.clone(),
        backend: backend.clone(),
        action,
        by: entry.peer(),
        reply,
    };
    match send(&control.changes, change, response).await {
        Err(error) => error.into_response(),
        Ok(Ok(status)) => Json(status).into_response(),
        Ok(Err(UnknownBackend::Pool)) => failure(
            StatusCode::NOT_FOUND,
            &json!({ "error": "unknown_pool", "message": format!("there is no pool {pool:?}") }),
        ),
        Ok(Err(UnknownBackend::Backend(known))) => {
            let message = format!("pool {pool} has no backend {backend:?}; name it by its URL or its `name`");
            let known = known.get(..MOST_LISTED).unwrap_or(&known);
            failure(
                StatusCode::NOT_FOUND,
                &json!({ "error": "unknown_backend", "message": message, "backends": known }),
            )
        }
    }
}
