//! What those who connect and the one who keeps a name resolved tell each other. Not the resolving itself.

use tokio::sync::Notify;

/// One name that somebody keeps resolved.
#[derive(Debug, Default)]
pub struct Lookup {
    wanted: Notify,
}

impl Lookup {
    /// Asks for a lookup soon, because the addresses may be wrong. Cheap; asking twice is asking once.
    pub fn request(&self) {
        self.wanted.notify_one();
    }

    /// Waits until somebody asks. For the one who resolves.
    pub async fn requested(&self) {
        self.wanted.notified().await;
    }
}
