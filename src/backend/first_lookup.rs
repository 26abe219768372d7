//! Whether a backend's name has been looked up yet. Not the looking up.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// The first lookup of a backend's name: until it is settled, that the backend has no address says nothing.
#[derive(Debug, Default)]
pub struct FirstLookup {
    is_settled: AtomicBool,
    settled: Notify,
}

impl FirstLookup {
    /// Says that it has ended, well or not, or that it takes too long to be waited for. For the one who resolves, who has written
    /// the addresses down before.
    pub fn settle(&self) {
        if !self.is_settled.swap(true, Ordering::AcqRel) {
            self.settled.notify_waiters();
        }
    }

    /// Whether that was said.
    pub fn is_settled(&self) -> bool {
        self.is_settled.load(Ordering::Acquire)
    }

    /// Waits until that is said.
    pub async fn settled(&self) {
        // Made before the look, so that it hears of what is said after.
        let settled = self.settled.notified();
        if !self.is_settled() {
            settled.await;
        }
    }
}
