//! The routes that show the process: its probes, metrics, status, config and rejected messages.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::super::background;
use super::super::control::{Control, Readiness};
use super::super::response::Problem;
use super::super::status::{RejectedStatus, Status};
use super::operation::YAML;
use crate::coding::{self, ContentCoding, ContentEncoder, EncodeError, EncodedBody, Level};
use crate::telemetry::metrics::{self, Format};

/// The result of a probe that succeeded.
#[derive(Serialize, JsonSchema)]
pub(super) struct Probe {
    /// `live` or `ready`.
    status: &'static str,
}

/// The last rejected messages.
#[derive(Serialize, JsonSchema)]
pub(super) struct RejectedList {
    /// The newest first.
    rejected: Vec<RejectedStatus>,
}

/// `GET /livez`.
pub(super) async fn live() -> Json<Probe> {
    Json(Probe { status: "live" })
}

/// `GET /readyz`.
pub(super) async fn ready(State(control): State<Control>) -> Result<Json<Probe>, Problem> {
    match control.view.readiness() {
        Readiness::Ready => Ok(Json(Probe { status: "ready" })),
        Readiness::NotReady(why) => {
            let detail = format!("the process is not ready: {why}");
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", detail))
        }
    }
}

/// `GET /metrics`, in the format that the client accepts, compressed if it accepts that: a page of 1,000 backends has 4 MB.
pub(super) async fn show_metrics(State(control): State<Control>, headers: HeaderMap) -> Response {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .unwrap_or_default();
    let format = Format::accepted(accept);
    let codings = headers.get_all(header::ACCEPT_ENCODING);
    let coding = coding::preferred(codings.iter().map(|line| line.as_bytes()), &[ContentCoding::Gzip]);
    let view = control.view;
    let render = move || {
        let page = metrics::render(&view.metrics(), format);
        match coding.map(|coding| compressed(coding, &page)) {
            Some(Ok(page)) => (page, coding),
            // Without memory for an encoder, the page as it is.
            Some(Err(_)) | None => (page, None),
        }
    };
    let made = background::run("metrics", render.clone()).await;
    let (page, coding) = made.unwrap_or_else(render);
    let described = [
        (header::CONTENT_TYPE, format.content_type()),
        (header::VARY, "Accept, Accept-Encoding"),
    ];
    let coding = coding.map(|coding| [(header::CONTENT_ENCODING, coding.name())]);
    (described, coding, page).into_response()
}

fn compressed(coding: ContentCoding, page: &[u8]) -> Result<Vec<u8>, EncodeError> {
    let mut body = EncodedBody::new(ContentEncoder::new(coding, Level::Fast, None)?);
    body.push(page)?;
    body.finish()
}

/// `GET /api/v1/status`.
pub(super) async fn status(State(control): State<Control>) -> Json<Status> {
    Json(control.view.status())
}

/// `GET /api/v1/config`.
pub(super) async fn config(State(control): State<Control>) -> Response {
    yaml(control.view.config())
}

/// `GET /api/v1/config/previous`.
pub(super) async fn previous_config(State(control): State<Control>) -> Result<Response, Problem> {
    let previous = control.view.previous_config();
    previous.map(yaml).ok_or_else(|| {
        let detail = "there is no previous config: the process has not reloaded since its start";
        Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
    })
}

/// `GET /api/v1/rejected`.
pub(super) async fn rejected(State(control): State<Control>) -> Json<RejectedList> {
    let rejected = control.view.rejected();
    Json(RejectedList { rejected })
}

fn yaml(text: String) -> Response {
    ([(header::CONTENT_TYPE, YAML)], text).into_response()
}
