//! Queues what the control plane does, and waits for its result.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::super::response::ErrorResponse;

/// Time limit of a command, after which the response is an error. Below the time that a connection may be quiet.
const COMMAND_LIMIT: Duration = Duration::from_secs(20);

/// Queues something for the control plane and waits for its result.
pub(super) async fn send<C, T>(
    queue: &mpsc::Sender<C>,
    command: C,
    response: oneshot::Receiver<T>,
) -> Result<T, ErrorResponse> {
    queue.try_send(command).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => ErrorResponse::Busy,
        mpsc::error::TrySendError::Closed(_) => ErrorResponse::Stopping,
    })?;
    match tokio::time::timeout(COMMAND_LIMIT, response).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(_)) => Err(ErrorResponse::Stopping),
        Err(_) => Err(ErrorResponse::TimedOut),
    }
}
