//! The interface between the admin API and the control plane: reads that return immediately from snapshots, and commands that run
//! one after the other.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::telemetry::{Feed, LogLevel, metrics};

use super::change::BackendChange;
use super::question::{Explained, Question};
use super::status::{RejectedStatus, Status};

/// Maximum number of queued commands; more are rejected.
pub const COMMANDS_WAITING: usize = 16;

/// Whether this process is ready for requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// The listeners accept and the config is active.
    Ready,
    /// Not ready, with the reason.
    NotReady(String),
}

/// What the admin API reads from the control plane. Implementations use snapshots and atomics: they never wait and take little
/// time.
pub trait View: Send + Sync + 'static {
    /// Whether the process is ready.
    fn readiness(&self) -> Readiness;

    /// The status of the process, pools and certificates.
    fn status(&self) -> Status;

    /// The last rejected messages, the newest first.
    fn rejected(&self) -> Vec<RejectedStatus>;

    /// The values of the metrics.
    fn metrics(&self) -> metrics::Snapshot;

    /// The effective config as YAML, without secrets.
    fn config(&self) -> String;

    /// The effective config that the last reload replaced; `None` before the first reload.
    fn previous_config(&self) -> Option<String>;

    /// What would become of a request now.
    ///
    /// # Errors
    /// Why the question describes no request.
    fn explain(&self, question: &Question) -> Result<Explained, String>;
}

/// The result of a successful reload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// The top-level keys whose change is ignored until a restart.
    pub ignored_until_restart: Vec<String>,
}

/// The outcome of a reload: success, or a list of errors with their places in the config.
pub type ReloadOutcome = Result<Reloaded, Vec<String>>;

/// A command for the control plane. It is not an error if the receiver of the result is gone.
#[derive(Debug)]
pub enum Command {
    /// Read the config again and activate it if it has no errors.
    Reload(oneshot::Sender<ReloadOutcome>),
    /// Replace the process by a new one of its program. The result is the id of the new process, or why there is none.
    Upgrade(oneshot::Sender<Result<u32, String>>),
}

/// Clients that may follow the events at the same time.
const FOLLOWERS: usize = 64;

/// What clients can follow.
#[derive(Clone)]
pub struct Feeds {
    /// The latest lines of the operations log.
    pub events: Arc<Feed>,
    /// The traffic, one [`Sample`](super::Sample) a second.
    pub samples: Arc<Feed>,
    pub(super) followers: Arc<Semaphore>,
}

impl Feeds {
    /// What clients can follow.
    pub fn new(events: Arc<Feed>, samples: Arc<Feed>) -> Self {
        Self {
            events,
            samples,
            followers: Arc::new(Semaphore::new(FOLLOWERS)),
        }
    }
}

/// The admin API's side of the interface.
#[derive(Clone)]
pub struct Control {
    /// For reads.
    pub view: Arc<dyn View>,
    /// For clients that follow.
    pub feeds: Feeds,
    /// The level of the operations log.
    pub log_level: LogLevel,
    /// For commands; a channel of [`COMMANDS_WAITING`].
    pub commands: mpsc::Sender<Command>,
    /// For changes of backends; a channel of [`CHANGES_WAITING`](super::CHANGES_WAITING).
    pub changes: mpsc::Sender<BackendChange>,
}
