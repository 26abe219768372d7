//! Tracks whether the first DNS lookup of a backend has ended. It does not do the lookup.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// The first DNS lookup of a backend. Until it has settled, a backend without addresses is not a failure.
#[derive(Debug, Default)]
pub struct FirstLookup {
    is_settled: AtomicBool,
    settled: Notify,
}

impl FirstLookup {
    /// Marks it as settled: it succeeded, failed, or took too long. Called by the resolver after it has stored the addresses.
    pub fn settle(&self) {
        if !self.is_settled.swap(true, Ordering::AcqRel) {
            self.settled.notify_waiters();
        }
    }

    /// Whether it has settled.
    pub fn is_settled(&self) -> bool {
        self.is_settled.load(Ordering::Acquire)
    }

    /// Waits until it has settled.
    pub async fn settled(&self) {
        // Created before the check, so that it is notified of a `settle` right after it.
        let settled = self.settled.notified();
        if !self.is_settled() {
            settled.await;
        }
    }
}
