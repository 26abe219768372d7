//! From a config to what workers work on, at the start and at every reload.

use std::path::Path;
use std::sync::Arc;

use super::StartError;
use crate::config::{self, Config};
use crate::listener;
use crate::pool::Pool;
use crate::proxy::{Shared, Snapshot};
use crate::router::{Route, Router, UnknownPool};
use crate::telemetry::Label;

/// Puts the first config in force. Gives the pools, whose backends are to be watched.
pub(super) fn first(config: &Config) -> Result<(Arc<Shared>, Vec<Arc<Pool>>), StartError> {
    let snapshot = snapshot(config, &[])?;
    let pools = snapshot.pools.clone();
    Ok((Shared::new(snapshot), pools))
}

/// Reads the file again and puts it in force: routes, pools, backends, timeouts and limits. What TLS shows is put in force by
/// whoever calls; what else is bound to sockets and
/// threads stays as it is, and is said so.
pub(super) fn again(
    source: &Path,
    running: &Config,
    shared: &Shared,
) -> Result<(Config, Vec<Arc<Pool>>), Vec<String>> {
    let loaded = config::load(source).map_err(|report| {
        report
            .problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    })?;
    for warning in &loaded.warnings {
        tracing::warn!(%warning, "The config has a doubtful place");
    }
    let mut config = loaded.config;
    config.limits.connections = config.limits.connections.or(running.limits.connections);
    let stays = [
        ("listeners", !may_become(&running.listeners, &config.listeners)),
        ("workers", config.workers != running.workers),
        ("admin", config.admin != running.admin),
        ("access_log", config.access_log != running.access_log),
    ];
    for (key, _) in stays.iter().filter(|(_, has_changed)| *has_changed) {
        tracing::warn!(key, "Changing this takes a restart");
    }
    let snapshot = snapshot(&config, &shared.snapshot().pools).map_err(|error| vec![error.to_string()])?;
    let pools = snapshot.pools.clone();
    shared.replace(snapshot);
    Ok((config, pools))
}

/// Whether what was bound serves for these listeners too.
fn may_become(running: &[listener::Settings], wanted: &[listener::Settings]) -> bool {
    running.len() == wanted.len()
        && running
            .iter()
            .zip(wanted)
            .all(|(running, wanted)| running.may_become(wanted))
}

fn snapshot(config: &Config, previous: &[Arc<Pool>]) -> Result<Snapshot, UnknownPool> {
    let names: Vec<Arc<str>> = config.pools.iter().map(|pool| Arc::clone(&pool.name)).collect();
    let router = Router::new(&config.routes, &names)?;
    let pool = |settings: &crate::pool::Settings| {
        let same = previous.iter().find(|pool| pool.settings.name == settings.name);
        Pool::new(settings.clone(), same.map(|pool| &**pool))
    };
    Ok(Snapshot {
        router,
        pools: config.pools.iter().map(pool).collect(),
        route_labels: config.routes.iter().map(label).collect(),
        trusted_proxies: config.trusted_proxies.clone(),
        timeouts: config.timeouts,
        limits: config.limits,
    })
}

/// What the access log calls a route: its host and prefix.
fn label(route: &Route) -> Label {
    Label::new(&format!(
        "{}{}",
        route.host.as_deref().unwrap_or("*"),
        route.path_prefix
    ))
}
