//! The routes of the admin API.

mod backends;
mod body;
mod dashboard;
mod explain;
mod feeds;
mod log_level;
mod openapi;
mod operation;
mod plan;
mod queue;
mod reads;
mod reload;
mod table;
mod upgrade;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::{Router, middleware};
use tokio::sync::{Notify, oneshot};

use crate::net::StdListener;

use super::Settings;
use super::control::Control;
use super::guard::{Guard, guard};
use super::listen::{BoundedListener, EntryOfRequest, QUIET_LIMITS, mark_active};
use super::response::ErrorResponse;
use super::socket::AdminListener;
use table::OPERATIONS;

/// Time limit for running responses after a stop.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Serves the admin API on `listener` until `stop` resolves, and then until running responses have ended, for at most two seconds.
/// Drops `open` once the listener is closed.
///
/// # Errors
/// The listener cannot be used, or its address is neither loopback nor a Unix socket and there is no token.
pub async fn serve(
    listener: StdListener,
    settings: &Settings,
    control: Control,
    stop: impl Future<Output = ()> + Send + 'static,
    open: oneshot::Sender<()>,
) -> io::Result<()> {
    let listener = AdminListener::new(listener)?;
    let bound = listener.ip()?;
    let needs_token = bound.is_some_and(|ip| !ip.to_canonical().is_loopback());
    if settings.token.as_ref().map_or(needs_token, String::is_empty) {
        let why = "the admin API needs a non-empty token unless it is bound to loopback or to a Unix socket";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let listener = BoundedListener::new(listener, QUIET_LIMITS).dropping(open);
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
    let operations = OPERATIONS.iter();
    operations
        .fold(Router::new(), |router, operation| {
            router.route(operation.path, operation.method_router())
        })
        .fallback(async || ErrorResponse::NotFound)
        .method_not_allowed_fallback(async || ErrorResponse::Method)
        .layer(middleware::from_fn_with_state(guarded, guard))
        .layer(middleware::from_fn(mark_active))
        .with_state(control)
}

#[cfg(test)]
mod tests;
