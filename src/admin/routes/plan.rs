//! The route that says what a reload would change. It changes nothing, but it reads files for whoever may ask, so it is a POST and needs
//! the token where there is one.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use tokio::sync::oneshot;

use super::super::control::{Command, Control};
use super::super::listen::EntryOfRequest;
use super::super::plan::{LARGEST_PLANNED, NotPlanned, PlanRequest};
use super::super::response::{ErrorResponse, Problem};
use super::queue::send;
use crate::schema::units::show_size;

/// `POST /api/v1/plan`, with a config as its body or without a body.
pub(super) fn route(method: MethodFilter) -> MethodRouter<Control> {
    on(method, plan).layer(DefaultBodyLimit::max(LARGEST_PLANNED))
}

async fn plan(
    State(control): State<Control>,
    ConnectInfo(entry): ConnectInfo<EntryOfRequest>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let text = match text_of(body) {
        Ok(text) => text,
        Err(problem) => return problem.into_response(),
    };
    tracing::info!(by = entry.peer(), "Plan of a reload requested by an operator");
    let (reply, response) = oneshot::channel();
    let request = PlanRequest {
        text: Some(text).filter(|text| !text.is_empty()),
        reply,
    };
    match send(&control.commands, Command::Plan(request), response).await {
        Ok(Ok(planned)) => Json(planned).into_response(),
        Ok(Err(NotPlanned::Busy)) => ErrorResponse::Busy.into_response(),
        Ok(Err(NotPlanned::Invalid(errors))) => {
            let detail = "a reload of this config would fail";
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_config", detail)
                .with_errors(errors)
                .into_response()
        }
        Err(error) => error.into_response(),
    }
}

fn text_of(body: Result<Bytes, BytesRejection>) -> Result<String, Problem> {
    match body {
        Ok(bytes) => String::from_utf8(bytes.into())
            .map_err(|error| Problem::invalid_request(format!("the config is not UTF-8: {error}"))),
        Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let most = show_size(LARGEST_PLANNED as u64);
            let detail = format!("the config is larger than {most}");
            Err(Problem::new(error.status(), "body_too_large", detail))
        }
        Err(error) => Err(Problem::invalid_request(error.body_text())),
    }
}
