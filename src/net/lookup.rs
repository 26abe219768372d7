//! What those who connect and the one who keeps a name resolved tell each other. Not the resolving itself.

use tokio::sync::{Notify, watch};

/// One name that somebody keeps resolved.
#[derive(Debug)]
pub struct Lookup {
    is_settled: watch::Sender<bool>,
    wanted: Notify,
}

impl Lookup {
    /// Makes one of which no lookup has ended yet.
    pub fn new() -> Self {
        Self {
            is_settled: watch::Sender::new(false),
            wanted: Notify::new(),
        }
    }

    /// Asks for a lookup soon, because the addresses may be wrong. Cheap; asking twice is asking once.
    pub fn request(&self) {
        self.wanted.notify_one();
    }

    /// Waits until somebody asks. For the one who resolves.
    pub async fn requested(&self) {
        self.wanted.notified().await;
    }

    /// Says that the first lookup has ended, well or not. For the one who resolves.
    pub fn settle(&self) {
        self.is_settled.send_replace(true);
    }

    /// Waits until the first lookup has ended, well or not.
    pub async fn settled(&self) {
        // The sender cannot be gone: it is borrowed.
        let _ = self
            .is_settled
            .subscribe()
            .wait_for(|is_settled| *is_settled)
            .await;
    }
}

impl Default for Lookup {
    fn default() -> Self {
        Self::new()
    }
}
