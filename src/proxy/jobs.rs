//! What a policy waits for: a computation on a thread of its own, or a request to another server.

use std::sync::Arc;
use std::task::Poll;

use evenkeel_balance::policy::{Compute, Job};

use super::departure::Phase;
use super::exchange::Exchange;
use super::{Failure, LocalReason, fetch};
use crate::pool::Pool;

/// Does what the policy waits for, and hands it back done. `server` is the one that the policy asks.
///
/// # Errors
/// The client has left meanwhile.
pub(super) async fn perform(
    exchange: &mut Exchange<'_>,
    server: Option<&Arc<Pool>>,
    job: Job,
) -> Result<Job, LocalReason> {
    match job {
        Job::Compute(compute) => compute_for(exchange, compute).await,
        Job::Fetch(fetch) => fetch::perform(exchange, server, fetch).await,
    }
}

async fn compute_for(exchange: &mut Exchange<'_>, mut compute: Compute) -> Result<Job, LocalReason> {
    let Some(run) = compute.run.take() else {
        return Ok(Job::Compute(compute));
    };
    let mut result = exchange.request.worker().computations.run(run);
    let done = std::future::poll_fn(|context| {
        if let Poll::Ready(done) = result.poll(context) {
            return Poll::Ready(Ok(done));
        }
        if exchange.has_client_left(context, Phase::Waiting) {
            return Poll::Ready(Err(exchange.client_gone()));
        }
        Poll::Pending
    });
    compute.result = done
        .await
        .map_err(|failure: Failure| LocalReason::from(failure))?;
    Ok(Job::Compute(compute))
}
