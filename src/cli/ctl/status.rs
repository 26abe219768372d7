//! `evenkeel ctl status`: the pools and their backends.

use std::fmt::Write as _;

use clap::Args;
use evenkeel_balance::suggest::listed;

use super::Outcome;
use super::call::{Done, Failure, Process, parse};
use crate::admin::{BackendState, BackendStatus, PoolStatus, RollbackStatus, Status};

/// The arguments of `evenkeel ctl status`.
#[derive(Debug, Clone, Args)]
pub(super) struct StatusArguments {
    /// Name of the only pool to show
    pool: Option<String>,
}

/// Asks for the status.
pub(super) fn run(process: &Process, arguments: &StatusArguments) -> Result<Done, Failure> {
    let json = process.call("GET", "/api/v1/status", b"")?;
    let status: Status = parse(&json)?;
    match &arguments.pool {
        None => Ok(Done {
            json,
            text: all(&status),
        }),
        Some(name) => one(&status, name),
    }
}

/// The status of this pool alone.
fn one(status: &Status, name: &str) -> Result<Done, Failure> {
    let failure = |why| Failure {
        outcome: Outcome::Failed,
        why,
        json: Vec::new(),
    };
    let Some(pool) = status.pools.iter().find(|pool| pool.name == name) else {
        let known = listed(status.pools.iter().map(|pool| &*pool.name));
        return Err(failure(format!(
            "there is no pool {name:?}; the pools are {known}"
        )));
    };
    let mut text = String::new();
    write_pool(pool, &mut text);
    let json = serde_json::to_vec(pool).map_err(|error| failure(error.to_string()))?;
    Ok(Done { json, text })
}

fn all(status: &Status) -> String {
    let process = &status.process;
    let ready = if process.ready { "ready" } else { "not ready" };
    let mut text = format!(
        "evenkeel {}, process {}, {ready}, config {}\n",
        process.version, process.pid, process.config.source
    );
    if let Some(until) = &process.config.guarded_until {
        let _ = writeln!(text, "the last reload is guarded until {}", until.0);
    }
    if let Some(rollback) = &process.config.rolled_back {
        let RollbackStatus {
            time,
            reloaded,
            reason,
            ..
        } = rollback;
        let _ = writeln!(
            text,
            "the config loaded at {} was rolled back at {}: {reason}; correct the file and reload",
            reloaded.0, time.0
        );
    }
    let reload = process.config.last_reload.as_ref();
    for error in reload.iter().flat_map(|reload| &reload.errors) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "the last reload failed: {error}");
    }
    for pool in &status.pools {
        text.push('\n');
        write_pool(pool, &mut text);
    }
    text
}

fn write_pool(pool: &PoolStatus, out: &mut String) {
    let PoolStatus { name, strategy, .. } = pool;
    let (eligible, backends) = (pool.eligible, pool.backends.len());
    let _ = write!(
        out,
        "Pool {name}, strategy {strategy}: {eligible} of {backends} eligible"
    );
    if pool.queue.depth > 0 {
        let _ = write!(out, ", requests waiting: {}", pool.queue.depth);
    }
    out.push('\n');
    let names: Vec<String> = pool.backends.iter().map(full_name).collect();
    let width = names.iter().map(|name| name.chars().count()).max();
    let width = width.unwrap_or_default();
    for (backend, name) in pool.backends.iter().zip(&names) {
        let state = state(backend.state);
        let _ = writeln!(out, "  {name:width$}  {state:<8}  {}", details(backend));
    }
}

/// The URL, with the name if there is one.
fn full_name(backend: &BackendStatus) -> String {
    match &backend.name {
        Some(name) => format!("{} ({name})", backend.url),
        None => backend.url.clone(),
    }
}

fn details(backend: &BackendStatus) -> String {
    let mut details = format!("weight {}, in flight {}", backend.weight, backend.in_flight);
    if backend.backup {
        details += ", backup";
    }
    if let Some(latency) = backend.latency_ms {
        // Writing to a string cannot fail.
        let _ = write!(details, ", p99 {:.1} ms", latency.p99);
    }
    if let Some(why) = &backend.why {
        details += "; ";
        details += why;
    }
    if let Some(until) = &backend.ejected_until {
        let _ = write!(details, ", until {}", until.0);
    }
    details
}

fn state(state: BackendState) -> &'static str {
    match state {
        BackendState::Up => "up",
        BackendState::Down => "down",
        BackendState::Unknown => "unknown",
        BackendState::Ejected => "ejected",
        BackendState::Draining => "draining",
    }
}
