//! Requests to other servers on behalf of a policy.

use evenkeel_balance::policy::{Fetch, Job};

use super::LocalReason;
use super::exchange::Exchange;

/// Sends the request and hands it back with its response.
///
/// # Errors
/// The client has left meanwhile.
pub(super) async fn perform(exchange: &mut Exchange<'_>, mut fetch: Box<Fetch>) -> Result<Job, LocalReason> {
    let _ = exchange;
    fetch.response = Err("not connected yet".to_owned());
    Ok(Job::Fetch(fetch))
}
