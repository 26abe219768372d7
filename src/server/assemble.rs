//! Builds the workers' snapshot from a config, at the start and at every reload.

use std::sync::Arc;

use super::changes::route_name;
use crate::config::Config;
use crate::kept::{Kept, KeptBuilder};
use crate::pool::Pool;
use crate::proxy::Snapshot;
use crate::router::{Route, Router, UnknownPool};
use crate::telemetry::Label;

/// A snapshot that is not active yet, and the state that it shares with the active one. Its pools have no backends.
pub(super) struct Assembled {
    pub(super) snapshot: Snapshot,
    pub(super) keep: KeptBuilder,
}

/// Builds the snapshot of a config. Nothing of the active config changes.
pub(super) fn assemble(config: &Config, kept: &Kept) -> Result<Assembled, UnknownPool> {
    let names: Vec<Arc<str>> = config.pools.iter().map(|pool| Arc::clone(&pool.name)).collect();
    let router = Router::new(&config.routes, &names)?;
    let mut keep = kept.next();
    let pools = config.pools.iter();
    Ok(Assembled {
        snapshot: Snapshot {
            router,
            pools: pools.map(|pool| Pool::new(pool.clone(), &mut keep)).collect(),
            route_labels: config.routes.iter().map(label).collect(),
            trusted_proxies: config.trusted_proxies.clone(),
            timeouts: config.timeouts,
            limits: config.limits,
        },
        keep,
    })
}

/// The route's name in the access log: its host and prefix.
fn label(route: &Route) -> Label {
    Label::new(&route_name(route))
}
