//! Queues what the control plane does, and waits for its result.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::super::response::ErrorResponse;

/// Time limit of a command, after which the response is an error. Below the time that a connection may be quiet.
const COMMAND_LIMIT: Duration = Duration::from_secs(20);
/// The same of an upgrade, above the most that `timeouts.upgrade` can be.
pub(super) const UPGRADE_LIMIT: Duration = Duration::from_secs(65);

/// Queues something for the control plane and waits for its result.
pub(super) async fn send<C, T>(
    queue: &mpsc::Sender<C>,
    command: C,
    response: oneshot::Receiver<T>,
) -> Result<T, ErrorResponse> {
    send_within(queue, command, response, COMMAND_LIMIT).await
}

/// The same with another time limit.
pub(super) async fn send_within<C, T>(
    queue: &mpsc::Sender<C>,
    command: C,
    response: oneshot::Receiver<T>,
    limit: Duration,
) -> Result<T, ErrorResponse> {
    queue.try_send(command).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => ErrorResponse::Busy,
        mpsc::error::TrySendError::Closed(_) => ErrorResponse::Stopping,
    })?;
    match tokio::time::timeout(limit, response).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(_)) => Err(ErrorResponse::Stopping),
        Err(_) => Err(ErrorResponse::TimedOut),
    }
}
