//! Waits before a backend is asked again, and for how long a backend asks not to be.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use super::deadlines::Deadline;
use super::departure::Phase;
use super::exchange::Exchange;
use super::{Failure, detail};
use crate::clock;
use crate::pool::BackendConnection;
use crate::retry;

const RETRY_AFTER: &[u8] = b"retry-after";

/// Waits for `time`, or until the client leaves or does not want to wait any longer.
///
/// # Errors
/// The client's doing.
pub(super) async fn wait(exchange: &mut Exchange<'_>, time: Duration) -> Result<(), Failure> {
    exchange.deadlines.reset();
    poll_fn(|context| poll(exchange, context, time)).await
}

/// For how long the backend wants no requests, by the response whose head is at the front of the input.
pub(super) fn retry_after(response: &BackendConnection) -> Option<Duration> {
    let bytes = response.connection.input.unread();
    let mut fields = response.head.fields.iter();
    let field = fields.find(|field| field.name.of(bytes).eq_ignore_ascii_case(RETRY_AFTER))?;
    retry::parse_retry_after(field.value.of(bytes), clock::wall())
}

fn poll(exchange: &mut Exchange<'_>, context: &mut Context<'_>, time: Duration) -> Poll<Result<(), Failure>> {
    if exchange.has_client_left(context, Phase::Waiting) {
        return Poll::Ready(Err(exchange.client_gone()));
    }
    let timer = &exchange.request.client.timer;
    let ended = exchange
        .deadlines
        .poll(context, timer, (Deadline::Backoff, time), 0);
    ended.map(|ended| match ended {
        Deadline::Client => {
            let timeouts = &exchange.record.pool.map(|pool| pool.settings.timeouts);
            exchange.record.detail = timeouts
                .as_ref()
                .and_then(|timeouts| detail::of_wait(&exchange.request, (ended, time), timeouts));
            Err(Failure::DeadlineExceeded)
        }
        _ => Ok(()),
    })
}
