//! Builds the workers' snapshot from a config, at the start and at every reload.

use std::collections::HashMap;
use std::sync::Arc;

use super::StartError;
use super::changes::route_name;
use crate::config::Config;
use crate::pool::Pool;
use crate::proxy::{Snapshot, SnapshotCell};
use crate::router::{Route, Router, UnknownPool};
use crate::telemetry::Label;

/// Activates the first config. Also returns the pools, so that their backends can be watched.
pub(super) fn first(config: &Config) -> Result<(Arc<SnapshotCell>, Vec<Arc<Pool>>), StartError> {
    let snapshot = snapshot(config, &[])?;
    let pools = snapshot.pools.clone();
    Ok((SnapshotCell::new(snapshot), pools))
}

/// Builds the snapshot of a new config. It shares backends with the active snapshot, which stays unchanged.
pub(super) fn next(config: &Config, shared: &SnapshotCell) -> Result<Snapshot, UnknownPool> {
    snapshot(config, &shared.snapshot().pools)
}

fn snapshot(config: &Config, previous: &[Arc<Pool>]) -> Result<Snapshot, UnknownPool> {
    let names: Vec<Arc<str>> = config.pools.iter().map(|pool| Arc::clone(&pool.name)).collect();
    let router = Router::new(&config.routes, &names)?;
    let previous: HashMap<&str, &Pool> = previous
        .iter()
        .map(|pool| (&*pool.settings.name, &**pool))
        .collect();
    let pool = |settings: &crate::pool::Settings| {
        let same = previous.get(&*settings.name).copied();
        Pool::new(settings.clone(), same)
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

/// The route's name in the access log: its host and prefix.
fn label(route: &Route) -> Label {
    Label::new(&route_name(route))
}
