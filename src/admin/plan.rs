//! What a reload would change, as `evenkeel plan` and `POST /api/v1/plan` show it. Nothing is changed to find that out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// Largest config that a plan takes, in bytes: one with a hundred thousand routes.
pub const LARGEST_PLANNED: usize = 16 << 20;

/// The question what a reload would change.
#[derive(Debug)]
pub struct PlanRequest {
    /// The text of the config; `None`: the file of the running process.
    pub text: Option<String>,
    /// For the result. It is not an error if the receiver is gone.
    pub reply: oneshot::Sender<Result<Planned, NotPlanned>>,
}

/// What a reload would change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Planned {
    /// The number of changes, also of those that are not listed.
    pub count: usize,
    /// The changes, by kind; at most a thousand of a kind.
    pub changes: Vec<PlannedChange>,
    /// Warnings about the config.
    pub warnings: Vec<String>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedChange {
    /// What becomes of it.
    pub change: ChangeKind,
    /// What it is: `listener`, `certificate`, `pool`, `backend`, `policy`, `route` or `setting`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What differs; `None` when it is added or removed.
    pub differs: Option<String>,
    /// What the change touches in the running process, if that is not obvious.
    pub effect: Option<String>,
}

/// What becomes of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It differs.
    Changed,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotPlanned {
    /// Another plan is being made.
    Busy,
    /// A reload would fail for these reasons.
    Invalid(Vec<String>),
}
