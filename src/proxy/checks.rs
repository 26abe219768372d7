//! Checks of every request: whether it may be forwarded at all.

use super::body::is_larger;
use super::max_forwards::MaxForwards;
use super::{Failure, LocalReason, via};
use crate::head::RequestHead;
use crate::message::Malformed;

/// Checks the request, whose body may be as large as `body_limit`.
///
/// # Errors
/// Why the client gets a local response.
#[inline]
pub(super) fn check(head: &RequestHead, body_limit: Option<u64>) -> Result<(), LocalReason> {
    let max_forwards = MaxForwards::of(head);
    if max_forwards == MaxForwards::Reached {
        return Err(LocalReason::LastRecipient);
    }
    if via::is_loop(head) {
        return Err(Failure::LoopDetected.into());
    }
    if is_larger(head.body, body_limit) {
        return Err(Failure::BodyTooLarge.into());
    }
    if max_forwards == MaxForwards::Invalid {
        return Err(Failure::Malformed(Malformed::BadMaxForwards).into());
    }
    Ok(())
}
