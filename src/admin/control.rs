//! What stands between the admin API and the control plane: questions that are answered at once from snapshots, and
//! commands that are carried out one after the other.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::telemetry::metrics;

use super::status::{RejectedStatus, Status};

/// Commands that wait to be carried out; more are refused.
pub const COMMANDS_WAITING: usize = 16;

/// Whether requests should be sent to this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// The listeners accept and the config behind them is in force.
    Ready,
    /// Not yet, or not any more, and why.
    NotReady(String),
}

/// What the control plane shows. Answers come from snapshots and atomics: they neither wait nor take long.
pub trait View: Send + Sync + 'static {
    /// Whether the process is ready.
    fn readiness(&self) -> Readiness;

    /// How everything is.
    fn status(&self) -> Status;

    /// The messages that were refused last, the newest first.
    fn rejected(&self) -> Vec<RejectedStatus>;

    /// What the metrics are rendered from.
    fn metrics(&self) -> metrics::Snapshot;

    /// The effective config as YAML, without secrets.
    fn config(&self) -> String;
}

/// What a reload has put in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// The top-level keys whose change has no effect before a restart.
    pub ignored_until_restart: Vec<String>,
}

/// How a reload went: done, or a list of errors, each with its place.
pub type ReloadOutcome = Result<Reloaded, Vec<String>>;

/// Something that the control plane is to do. A reply that nobody waits for any more is no error.
#[derive(Debug)]
pub enum Command {
    /// Read the config again and put it in force if it has no error.
    Reload(oneshot::Sender<ReloadOutcome>),
}

/// The admin API's end of both.
#[derive(Clone)]
pub struct Control {
    /// Answers questions.
    pub view: Arc<dyn View>,
    /// Takes commands; a channel of [`COMMANDS_WAITING`].
    pub commands: mpsc::Sender<Command>,
}
