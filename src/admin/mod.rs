//! The admin API. It reads snapshots and sends commands to the control plane over a channel.
//!
//! It runs on the control runtime and never accesses a worker. It has its own address, separate from the listeners: clients of the
//! load balancer cannot reach it through them.

mod settings;

mod routes;

mod change;
mod control;
mod explanation;
mod plan;
mod question;
mod sample;
mod status;

mod background;
mod connections;
mod guard;
mod listen;
mod request_body;
mod response;
mod socket;

pub mod client;
pub mod follow;

pub use change::{BackendAction, BackendChange, CHANGES_WAITING, MAX_WEIGHT, UnknownBackend};
pub use control::{
    COMMANDS_WAITING, Command, Control, Feeds, GuardChoice, Readiness, ReloadOutcome, ReloadRequest,
    Reloaded, View,
};
pub use explanation::{
    Candidate, ExplainedAction, ExplainedMirror, ExplainedPolicy, ExplainedPool, ExplainedRequest,
    ExplainedRetry, ExplainedSticky, Explanation, ForwardedRequest, HeaderChange, RouteOutcome, SplitPart,
};
pub use plan::{ChangeKind, LARGEST_PLANNED, NotPlanned, PlanRequest, Planned, PlannedChange};
pub use question::{Explained, Question};
pub use routes::serve;
pub use sample::{EventLine, PoolTraffic, SAMPLES_KEPT, Sample};
pub use settings::Settings;
pub use status::{
    BackendState, BackendStatus, CertificateStatus, CheckStatus, ConfigStatus, ConnectionsStatus,
    LatencyStatus, PoolStatus, ProcessStatus, QueueStatus, RejectedLimitStatus, RejectedStatus, ReloadStatus,
    RequestsStatus, RollbackStatus, Status, Time,
};
