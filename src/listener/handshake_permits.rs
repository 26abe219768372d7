//! Limits the TLS handshakes that a worker computes at once. A handshake is the only work that any stranger can request and
//! that takes a worker a millisecond, so many at once would delay all open connections.

use std::rc::Rc;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Handshake steps that run before the other tasks of the worker get their turn. Two keep an otherwise idle worker busy.
const MAX_PERMITS: usize = 2;

/// The permits of one worker. `limits.connections` bounds the queue for them. A handshake asks for a permit only when bytes
/// have arrived, so that clients that send nothing delay nobody.
#[derive(Clone)]
pub(super) struct HandshakePermits(Rc<Semaphore>);

impl Default for HandshakePermits {
    fn default() -> Self {
        Self(Rc::new(Semaphore::new(MAX_PERMITS)))
    }
}

impl HandshakePermits {
    /// Waits for a permit.
    pub(super) async fn take(&self) -> HandshakePermit<'_> {
        // The semaphore is never closed.
        HandshakePermit(self.0.acquire().await.ok())
    }
}

/// A permit; dropping it releases it.
pub(super) struct HandshakePermit<'a>(
    #[allow(dead_code, reason = "it is held, not read")] Option<SemaphorePermit<'a>>,
);

impl HandshakePermit<'_> {
    /// Lets the worker's other tasks run, then releases the permit.
    pub(super) async fn release(self) {
        tokio::task::yield_now().await;
    }
}
