//! Lets connecting tasks request a new DNS lookup from the resolver task of a name. It does not resolve anything itself.

use tokio::sync::Notify;

/// One name that a resolver task keeps up to date.
#[derive(Debug, Default)]
pub struct Lookup {
    wanted: Notify,
}

impl Lookup {
    /// Requests a lookup soon, because the addresses may be wrong. Cheap; repeated requests are merged.
    pub fn request(&self) {
        self.wanted.notify_one();
    }

    /// Waits for a request. Called by the resolver task.
    pub async fn requested(&self) {
        self.wanted.notified().await;
    }
}
