//! `evenkeel ctl`: shows and changes the running process over its admin API, one file per command.

mod drain;
mod events;
mod log_level;
mod ready;
mod reload;
mod status;
mod upgrade;
mod weight;

use std::io;

use clap::{Args, Subcommand};

use super::call;
use super::{Outcome, Streams, admin_api};
use crate::net::ListenAddress;

/// The arguments of `evenkeel ctl`.
#[derive(Debug, Clone, Args)]
#[command(after_help = NOTES)]
pub(super) struct CtlArguments {
    /// Address of the admin API of the running process, or unix:PATH [default: the variable EVENKEEL_ADMIN, or 127.0.0.1:9900]
    // An id of its own: the value of a global option reaches `run`, whose `--admin` has another type.
    #[arg(id = "ctl_admin", long = "admin", value_name = "ADDRESS", value_parser = admin_api::parse, global = true)]
    admin: Option<ListenAddress>,
    /// Bearer token of the admin API [default: the variable EVENKEEL_TOKEN]
    #[arg(long, value_name = "TOKEN", global = true)]
    token: Option<String>,
    /// Prints what the admin API responds, as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Clone, Subcommand)]
enum Action {
    /// Shows the pools and their backends
    Status(status::StatusArguments),
    /// Reads the config again, and activates it if it has no errors
    Reload(reload::ReloadArguments),
    /// Replaces the process by a new one of its program, without closing a connection
    Upgrade,
    /// Lets a backend finish its requests and gives it no new ones
    Drain(BackendArguments),
    /// Gives a drained backend requests again
    Ready(BackendArguments),
    /// Sets the weight of a backend
    Weight(weight::WeightArguments),
    /// Shows the level of the operations log, or sets it until the process ends
    LogLevel(log_level::LogLevelArguments),
    /// Prints what happens in the process, until it ends
    Events(events::EventsArguments),
}

/// The backend that a command changes.
#[derive(Debug, Clone, Args)]
struct BackendArguments {
    /// Name of the pool
    pool: String,
    /// URL of the backend, or its name in the pool
    backend: String,
}

const NOTES: &str = "\
Exit codes: 0 done, 1 refused (with the reason), 2 wrong usage, 3 process not reached.";

/// Runs a command and prints its result, or the reason why nothing was done.
pub(super) fn ctl(arguments: &CtlArguments, streams: &mut Streams<'_>) -> io::Result<Outcome> {
    let process = match admin_api::process(arguments.admin.as_ref(), arguments.token.as_ref()) {
        Ok(process) => process,
        Err(failure) => return call::report(Err(failure), arguments.json, streams),
    };
    let result = match &arguments.action {
        Action::Status(status) => status::run(&process, status),
        Action::Reload(reload) => reload::run(&process, reload),
        Action::Upgrade => upgrade::run(&process),
        Action::Drain(backend) => drain::run(&process, &backend.pool, &backend.backend),
        Action::Ready(backend) => ready::run(&process, &backend.pool, &backend.backend),
        Action::Weight(weight) => weight::run(&process, weight),
        Action::LogLevel(level) => log_level::run(&process, level),
        Action::Events(events) => {
            // Prints by itself, and ends only by a failure.
            let failure = events::run(&process, events, arguments.json, streams)?;
            return call::report(Err(failure), arguments.json, streams);
        }
    };
    call::report(result, arguments.json, streams)
}
