//! How workers call the control plane to decide on ejections. A call costs nothing while no request fails, and calls at the same time
//! are merged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Wakes the control plane. One for the process.
#[derive(Debug, Default)]
pub struct Wakeup {
    is_called: AtomicBool,
    called: Notify,
}

/// The calls of the workers of one pool.
#[derive(Debug, Default)]
pub struct PoolWakeup {
    wakeup: Arc<Wakeup>,
    is_called: AtomicBool,
    /// Whether the arbiter of the pool looks at the counters only after the next failure.
    is_asleep: AtomicBool,
}

impl Wakeup {
    /// Waits until a worker calls.
    pub async fn called(&self) {
        while !self.is_called.load(Ordering::Acquire) {
            self.called.notified().await;
        }
    }

    /// Clears the calls of all pools: a decision that begins now serves them.
    pub fn clear(&self) {
        self.is_called.store(false, Ordering::Release);
    }

    fn call(&self) {
        if !self.is_called.swap(true, Ordering::AcqRel) {
            self.called.notify_one();
        }
    }
}

impl PoolWakeup {
    /// The calls of a pool whose arbiter has not decided anything yet.
    pub fn new(wakeup: &Arc<Wakeup>) -> Self {
        Self {
            wakeup: Arc::clone(wakeup),
            is_called: AtomicBool::new(false),
            is_asleep: AtomicBool::new(true),
        }
    }

    /// Asks for a decision at once. Called by workers.
    pub(super) fn call(&self) {
        if !self.is_called.load(Ordering::Relaxed) && !self.is_called.swap(true, Ordering::AcqRel) {
            self.wakeup.call();
        }
    }

    /// A failure was counted. Called by workers.
    pub(super) fn count(&self) {
        if self.is_asleep.load(Ordering::Relaxed) {
            self.call();
        }
    }

    /// Takes the calls so far, and whether there were any.
    pub fn take(&self) -> bool {
        self.is_called.swap(false, Ordering::AcqRel)
    }

    /// Says whether the next failure has to be reported.
    pub fn set_asleep(&self, is_asleep: bool) {
        self.is_asleep.store(is_asleep, Ordering::Relaxed);
    }
}
