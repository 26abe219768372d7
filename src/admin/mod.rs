//! The admin API. It sends commands to the control plane over a channel and receives snapshots.
//!
//! It runs on the control runtime and never sees a worker. Its address is another one than those of the listeners: nothing
//! that a client of the balancer sends can reach it.

mod settings;

mod routes;

mod control;
mod status;

mod guard;
mod listen;
mod places;
mod response;

pub mod client;

pub use control::{COMMANDS_WAITING, Command, Control, Readiness, ReloadOutcome, Reloaded, View};
pub use routes::serve;
pub use settings::Settings;
pub use status::{
    BackendState, BackendStatus, CertificateStatus, CheckStatus, ConfigStatus, ConnectionsStatus, PoolStatus,
    ProcessStatus, RejectedLimitStatus, RejectedStatus, ReloadStatus, RequestsStatus, Status, Time,
};
