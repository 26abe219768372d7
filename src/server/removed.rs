//! Forgets removed backends once their requests have ended. Their requests are not touched.

use std::future;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{self, Instant};
use crate::pool::Pool;

/// Time between two looks at removed backends.
const INTERVAL: Duration = Duration::from_secs(1);

/// When to look at the removed backends of the pools next.
#[derive(Debug, Default)]
pub(super) struct RemovedBackends {
    /// `None` while there are none.
    next: Option<Instant>,
}

impl RemovedBackends {
    /// Called after backends may have been removed.
    pub(super) fn expect(&mut self) {
        self.next.get_or_insert_with(|| clock::now() + INTERVAL);
    }

    /// Waits until the next look is due; forever while there are no removed backends.
    pub(super) async fn due(&self) {
        match self.next {
            Some(next) => tokio::time::sleep_until(clock::to_std(next).into()).await,
            None => future::pending().await,
        }
    }

    /// Closes idle connections of removed backends and forgets those without requests.
    pub(super) fn release(&mut self, pools: &[Arc<Pool>]) {
        let left = pools.iter().filter(|pool| pool.release_removed()).count();
        self.next = (left > 0).then(|| clock::now() + INTERVAL);
    }
}
