//! The interface between the admin API and the control plane: reads that return immediately from snapshots, and commands that run
//! one after the other.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::reload_guard::{LONGEST, SHORTEST};
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::schema::units;
use crate::telemetry::{Feed, LogLevel, metrics};

use super::change::BackendChange;
use super::plan::PlanRequest;
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
    /// How long it is guarded; `None`: it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard: Option<String>,
}

/// A request to reload.
#[derive(Debug, Default)]
pub struct ReloadRequest {
    /// Whether the reload is guarded; `None`: as the new config says.
    pub guard: Option<GuardChoice>,
    /// For the result. It is not an error if the receiver is gone.
    pub reply: Option<oneshot::Sender<ReloadOutcome>>,
}

/// Whether a reload is guarded, in place of what the config says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardChoice {
    /// It is not.
    Off,
    /// For this long.
    For(Duration),
}

impl GuardChoice {
    /// Parses `off` or a duration, as the key `guard` of the config.
    ///
    /// # Errors
    /// What is accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let length = units::parse_duration(text).filter(|length| (SHORTEST..=LONGEST).contains(length));
        let bounds = [SHORTEST, LONGEST].map(units::show_duration);
        length.map(Self::For).ok_or_else(|| {
            format!(
                "expected off or a duration from {} to {}, such as 30s",
                bounds[0], bounds[1]
            )
        })
    }
}

/// The outcome of a reload: success, or a list of errors with their places in the config.
pub type ReloadOutcome = Result<Reloaded, Vec<String>>;

/// A command for the control plane. It is not an error if the receiver of the result is gone.
#[derive(Debug)]
pub enum Command {
    /// Read the config again and activate it if it has no errors.
    Reload(ReloadRequest),
    /// Find out what a reload would change.
    Plan(PlanRequest),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_is_off_or_a_duration_within_its_bounds() {
        assert_eq!(GuardChoice::parse("off"), Ok(GuardChoice::Off));
        assert_eq!(
            GuardChoice::parse("1m30s"),
            Ok(GuardChoice::For(Duration::from_secs(90)))
        );
        for wrong in ["", "30", "999ms", "61m", "on"] {
            let error = GuardChoice::parse(wrong).unwrap_err();
            assert_eq!(
                error, "expected off or a duration from 1s to 1h, such as 30s",
                "{wrong}"
            );
        }
    }
}
