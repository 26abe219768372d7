//! Who may shake hands now. A handshake is the only thing that strangers can ask for that takes a worker a millisecond, so
//! that many of them at once would hold up everybody whose connection is open.

use std::rc::Rc;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Steps of handshakes that are taken before the other tasks of the worker have had their turn. Two keep the worker busy
/// with them when it has nothing else to do.
const AT_ONCE: usize = 2;

/// The turns of one worker. Who waits for a turn is in a queue, and bounded by `limits.connections`; a turn is given to who
/// has something to work on, so that clients who send nothing hold up nobody.
#[derive(Clone)]
pub(super) struct HandshakePermits(Rc<Semaphore>);

impl Default for HandshakePermits {
    fn default() -> Self {
        Self(Rc::new(Semaphore::new(AT_ONCE)))
    }
}

impl HandshakePermits {
    /// Waits for a turn.
    pub(super) async fn take(&self) -> HandshakePermit<'_> {
        // It is never closed.
        HandshakePermit(self.0.acquire().await.ok())
    }
}

/// A turn; it ends when this is dropped.
pub(super) struct HandshakePermit<'a>(
    #[allow(dead_code, reason = "it is held, not read")] Option<SemaphorePermit<'a>>,
);

impl HandshakePermit<'_> {
    /// Lets everybody else who has something to do go first, then ends.
    pub(super) async fn end(self) {
        tokio::task::yield_now().await;
    }
}
