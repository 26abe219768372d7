//! The routes of the admin API.

mod backends;
mod dashboard;
mod explain;
mod feeds;
mod queue;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router, middleware};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};

use crate::telemetry::metrics::{self, Format};

use super::control::{Command, Control, Readiness};
use super::guard::{Guard, guard};
use super::listen::{BoundedListener, EntryOfRequest, QUIET_LIMITS, mark_active};
use super::response::{ErrorResponse, failure};
use super::{Settings, Status};
use queue::{UPGRADE_LIMIT, send, send_within};

/// Time limit for running responses after a stop.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Serves the admin API on `listener` until `stop` resolves, and then until running responses have ended, for at most two seconds.
///
/// # Errors
/// The listener cannot be used, or its address is not loopback and there is no token.
pub async fn serve(
    listener: std::net::TcpListener,
    settings: &Settings,
    control: Control,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let bound = listener.local_addr()?.ip();
    let needs_token = !bound.to_canonical().is_loopback();
    if settings.token.as_ref().map_or(needs_token, String::is_empty) {
        let why = "the admin API needs a non-empty token unless it is bound to loopback";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    listener.set_nonblocking(true)?;
    let listener = BoundedListener::new(TcpListener::from_std(listener)?, QUIET_LIMITS);
    serve_bounded(listener, router(Guard::new(settings, bound), control), stop).await
}

async fn serve_bounded(
    listener: BoundedListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let stopped = Arc::new(Notify::new());
    let stopping = Arc::clone(&stopped);
    let stop = async move {
        stop.await;
        stopping.notify_one();
    };
    let overdue = async move {
        stopped.notified().await;
        tokio::time::sleep(STOP_LIMIT).await;
    };
    let service = router.into_make_service_with_connect_info::<EntryOfRequest>();
    tokio::select! {
        ended = axum::serve(listener, service).with_graceful_shutdown(stop).into_future() => ended,
        () = overdue => Ok(()),
    }
}

fn router(guarded: Guard, control: Control) -> Router {
    Router::new()
        .route("/", get(dashboard::index))
        .route("/assets/{name}", get(dashboard::asset))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(show_metrics))
        .route("/api/v1/status", get(status))
        .route("/api/v1/config", get(config))
        .route("/api/v1/config/previous", get(previous_config))
        .route("/api/v1/history", get(feeds::history))
        .route("/api/v1/events", get(feeds::events))
        .route("/api/v1/rejected", get(rejected))
        .route("/api/v1/explain", get(explain::by_url).post(explain::by_body))
        .route("/api/v1/reload", post(reload))
        .route("/api/v1/upgrade", post(upgrade))
        .route(
            "/api/v1/pools/{pool}/backends/{backend}/drain",
            post(backends::drain),
        )
        .route(
            "/api/v1/pools/{pool}/backends/{backend}/ready",
            post(backends::ready),
        )
        .route(
            "/api/v1/pools/{pool}/backends/{backend}/weight",
            put(backends::weight),
        )
        .fallback(async || ErrorResponse::NotFound)
        .method_not_allowed_fallback(async || ErrorResponse::Method)
        .layer(middleware::from_fn_with_state(guarded, guard))
        .layer(middleware::from_fn(mark_active))
        .with_state(control)
}

async fn live() -> Response {
    Json(json!({ "status": "live" })).into_response()
}

async fn ready(State(control): State<Control>) -> Response {
    match control.view.readiness() {
        Readiness::Ready => Json(json!({ "status": "ready" })).into_response(),
        Readiness::NotReady(why) => failure(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({ "status": "not_ready", "why": why }),
        ),
    }
}

async fn show_metrics(State(control): State<Control>, headers: HeaderMap) -> Response {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .unwrap_or_default();
    let format = Format::accepted(accept);
    let text = metrics::render(&control.view.metrics(), format);
    ([(header::CONTENT_TYPE, format.content_type())], text).into_response()
}

async fn status(State(control): State<Control>) -> Json<Status> {
    Json(control.view.status())
}

async fn config(State(control): State<Control>) -> Response {
    yaml(control.view.config())
}

async fn previous_config(State(control): State<Control>) -> Response {
    let previous = control.view.previous_config();
    previous.map_or_else(|| ErrorResponse::NotFound.into_response(), yaml)
}

fn yaml(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/yaml")], text).into_response()
}

async fn rejected(State(control): State<Control>) -> Response {
    Json(json!({ "rejected": control.view.rejected() })).into_response()
}

async fn reload(State(control): State<Control>, ConnectInfo(entry): ConnectInfo<EntryOfRequest>) -> Response {
    tracing::info!(by = entry.peer(), "Reload requested by an operator");
    match command(&control, Command::Reload).await {
        Ok(Ok(reloaded)) => {
            let ignored = reloaded.ignored_until_restart;
            Json(json!({ "reloaded": true, "ignored_until_restart": ignored })).into_response()
        }
        Ok(Err(errors)) => failure(
            StatusCode::UNPROCESSABLE_ENTITY,
            &json!({ "error": "invalid_config", "message": "the previous configuration stays active", "errors": errors }),
        ),
        Err(error) => error.into_response(),
    }
}

async fn upgrade(
    State(control): State<Control>,
    ConnectInfo(entry): ConnectInfo<EntryOfRequest>,
) -> Response {
    tracing::info!(by = entry.peer(), "Upgrade requested by an operator");
    let (sender, response) = oneshot::channel();
    match send_within(
        &control.commands,
        Command::Upgrade(sender),
        response,
        UPGRADE_LIMIT,
    )
    .await
    {
        Ok(Ok(pid)) => Json(json!({ "upgraded": true, "pid": pid })).into_response(),
        Ok(Err(why)) => {
            let message = format!("not upgraded; this process goes on: {why}");
            failure(
                StatusCode::CONFLICT,
                &json!({ "error": "upgrade_failed", "message": message }),
            )
        }
        Err(error) => error.into_response(),
    }
}

/// Queues a command and waits for its result.
async fn command<T>(control: &Control, make: fn(oneshot::Sender<T>) -> Command) -> Result<T, ErrorResponse> {
    let (sender, response) = oneshot::channel();
    send(&control.commands, make(sender), response).await
}

#[cfg(test)]
mod tests;
