//! Builds the workers' snapshot from a config, at the start and at every reload.

use std::collections::HashMap;
use std::sync::Arc;

use super::changes::route_name;
use super::{RoutesError, StartError};
use crate::config::{Config, Route};
use crate::pool::Pool;
use crate::proxy::{Snapshot, SnapshotCell};
use crate::router::{Matcher, Router};
use crate::telemetry::Label;

/// Activates the first config. Also returns the pools, so that their backends can be watched.
pub(super) fn first(config: &Config) -> Result<(Arc<SnapshotCell>, Vec<Arc<Pool>>), StartError> {
    let snapshot = snapshot(config, &[])?;
    let pools = snapshot.pools.clone();
    Ok((SnapshotCell::new(snapshot), pools))
}

/// Builds the snapshot of a new config. It shares backends with the active snapshot, which stays unchanged.
pub(super) fn next(config: &Config, shared: &SnapshotCell) -> Result<Snapshot, RoutesError> {
    snapshot(config, &shared.snapshot().pools)
}

fn snapshot(config: &Config, previous: &[Arc<Pool>]) -> Result<Snapshot, RoutesError> {
    let matchers: Vec<Matcher> = config.routes.iter().map(Route::matcher).collect();
    let router = Router::new(&matchers)?;
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
        route_pools: route_pools(config)?,
        pools: config.pools.iter().map(pool).collect(),
        route_labels: config.routes.iter().map(label).collect(),
        trusted_proxies: config.trusted_proxies.clone(),
        timeouts: config.timeouts,
        limits: config.limits,
    })
}

/// Index of the pool of each route.
fn route_pools(config: &Config) -> Result<Vec<usize>, RoutesError> {
    let names = config.pools.iter().enumerate();
    let pools: HashMap<&str, usize> = names.map(|(index, pool)| (&*pool.name, index)).collect();
    let pool = |(route, settings): (usize, &Route)| {
        let pool = pools.get(&*settings.pool).copied();
        pool.ok_or_else(|| RoutesError::UnknownPool {
            route,
            pool: Arc::clone(&settings.pool),
        })
    };
    config.routes.iter().enumerate().map(pool).collect()
}

/// The route's name in the access log: its host and prefix.
fn label(route: &Route) -> Label {
    Label::new(&route_name(route))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    fn config() -> Config {
        let text = "listen: 127.0.0.1:0\nbackends: [http://127.0.0.1:1]\n";
        let loaded = config::from_text(text, "test", Path::new("."), &|_| None);
        loaded.unwrap_or_else(|report| panic!("{report}")).config
    }

    fn error(config: &Config) -> String {
        snapshot(config, &[]).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn unknown_pool_is_an_error_that_names_it() {
        let mut config = config();
        config.routes[0].pool = "api".into();
        assert_eq!(
            error(&config),
            "route 0 refers to pool \"api\", which does not exist"
        );
    }

    #[test]
    fn equal_routes_are_an_error() {
        let mut config = config();
        config.routes.push(config.routes[0].clone());
        let error = error(&config);
        assert!(error.starts_with("routes[1] (`*/`) never matches"), "{error}");
    }
}
