//! Changes of one backend by an operator, which the control plane makes at once, also while a reload is running.

use tokio::sync::oneshot;

use super::status::BackendStatus;

/// Maximum number of queued changes; more are rejected.
pub const CHANGES_WAITING: usize = 16;

/// Largest weight of a backend, as in the config.
pub const MAX_WEIGHT: u32 = 256;

/// What becomes of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendAction {
    /// It gets no new requests.
    Drain,
    /// It gets requests again.
    Ready,
    /// It gets this weight.
    Weight(u32),
}

/// A change of one backend.
#[derive(Debug)]
pub struct BackendChange {
    /// The name of its pool.
    pub pool: String,
    /// Its name in the pool, or its URL.
    pub backend: String,
    /// What becomes of it.
    pub action: BackendAction,
    /// The address of the client that asks.
    pub by: String,
    /// For the result. It is not an error if the receiver is gone.
    pub reply: oneshot::Sender<Result<BackendStatus, UnknownBackend>>,
}

/// Why nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnknownBackend {
    /// There is no such pool; the pools are these.
    Pool(Vec<String>),
    /// The pool has no such backend; its backends are these.
    Backend(Vec<String>),
}
