//! The routes that change one backend: drain, ready and weight.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{ConnectInfo, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use evenkeel_balance::suggest::listed;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use tokio::sync::oneshot;

use super::super::change::{BackendAction, BackendChange, MAX_WEIGHT, UnknownBackend};
use super::super::control::Control;
use super::super::listen::EntryOfRequest;
use super::super::response::Problem;
use super::body;
use super::queue::send;

/// Most backends or pools that an error lists.
const MOST_LISTED: usize = 20;

/// Pool and backend of a path.
type Target = Result<Path<(String, String)>, PathRejection>;

/// The body of a change of the weight.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Weight {
    /// The weight; with 0 the backend gets no requests.
    #[serde(deserialize_with = "whole_weight")]
    #[schemars(with = "u32", range(max = MAX_WEIGHT))]
    weight: u32,
}

/// `POST /api/v1/pools/{pool}/backends/{backend}/drain`.
pub(super) async fn drain(
    State(control): State<Control>,
    ConnectInfo(entry): ConnectInfo<EntryOfRequest>,
    target: Target,
) -> Result<Response, Problem> {
    change(&control, target, BackendAction::Drain, &entry).await
}

/// `POST /api/v1/pools/{pool}/backends/{backend}/ready`.
pub(super) async fn ready(
    State(control): State<Control>,
    ConnectInfo(entry): ConnectInfo<EntryOfRequest>,
    target: Target,
) -> Result<Response, Problem> {
    change(&control, target, BackendAction::Ready, &entry).await
}

/// `PUT /api/v1/pools/{pool}/backends/{backend}/weight`.
pub(super) async fn weight(
    State(control): State<Control>,
    ConnectInfo(entry): ConnectInfo<EntryOfRequest>,
    target: Target,
    body: Result<Json<Weight>, JsonRejection>,
) -> Result<Response, Problem> {
    let expected = format!("{{\"weight\": N}} with a number from 0 to {MAX_WEIGHT}");
    let Weight { weight } = body::read(body, &expected)?;
    change(&control, target, BackendAction::Weight(weight), &entry).await
}

/// A weight, also one that is written as `2.0`: JSON has only one kind of number (RFC 8259 §6).
fn whole_weight<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let number = f64::deserialize(deserializer)?;
    let is_valid = number.fract() == 0.0 && (0.0..=f64::from(MAX_WEIGHT)).contains(&number);
    // In this range the conversion is exact.
    let weight = is_valid.then_some(number as u32);
    weight.ok_or_else(|| D::Error::custom(format!("{number} is not a weight")))
}

async fn change(
    control: &Control,
    target: Target,
    action: BackendAction,
    entry: &EntryOfRequest,
) -> Result<Response, Problem> {
    let (pool, backend) = body::path(target)?;
    let (reply, response) = oneshot::channel();
    let change = BackendChange {
        pool: pool.clone(),
        backend: backend.clone(),
        action,
        by: entry.peer(),
        reply,
    };
    match send(&control.changes, change, response).await {
        Err(error) => Ok(error.into_response()),
        Ok(Ok(status)) => Ok(Json(status).into_response()),
        Ok(Err(UnknownBackend::Pool(known))) => {
            let known = listed(known.iter().map(String::as_str));
            let detail = format!("there is no pool {pool:?}; the pools are {known}");
            Err(Problem::new(StatusCode::NOT_FOUND, "unknown_pool", detail))
        }
        Ok(Err(UnknownBackend::Backend(mut known))) => {
            let detail = format!("pool {pool} has no backend {backend:?}; name it by its URL or its `name`");
            known.truncate(MOST_LISTED);
            let problem = Problem::new(StatusCode::NOT_FOUND, "unknown_backend", detail);
            Err(problem.with_backends(known))
        }
    }
}
