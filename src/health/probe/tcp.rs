//! The `tcp` probe: opens a connection and closes it.

use super::{Check, Outcome, Running, dial};
use crate::backend::Backend;
use crate::clock;

/// Succeeds when the connection is established, with TLS for `https` backends.
pub(super) fn run<'a>(backend: &'a Backend, check: &'a Check) -> Running<'a> {
    Box::pin(async move {
        let started = clock::now();
        let result = dial(backend, check).await.map(|_| None);
        Outcome::new(started, result)
    })
}
