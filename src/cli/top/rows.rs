//! The rows of the table: pools, each followed by its backends, filtered and sorted.

use super::model::BackendKey;
use super::order::Order;
use super::rates::{Rate, Rates, key};
use super::text::state_word;
use crate::admin::{BackendStatus, PoolStatus, Status};

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub(super) enum Row<'a> {
    /// A pool.
    Pool(&'a PoolStatus, Rate),
    /// A backend of a pool.
    Backend(&'a PoolStatus, &'a BackendStatus, Option<Rate>),
}

impl<'a> Row<'a> {
    /// The backend, unless it is the row of a pool.
    pub(super) fn backend(&self) -> Option<&'a BackendStatus> {
        match self {
            Self::Pool(..) => None,
            Self::Backend(_, backend, _) => Some(backend),
        }
    }

    /// The key of the backend.
    pub(super) fn key(&self) -> Option<BackendKey> {
        match self {
            Self::Pool(..) => None,
            Self::Backend(pool, backend, _) => Some(key(pool, &backend.url)),
        }
    }
}

/// What is shown. Pools are sorted by the first of their backends.
pub(super) fn visible<'a>(status: &'a Status, rates: &Rates, order: Order, filter: &str) -> Vec<Row<'a>> {
    let filter = filter.trim().to_lowercase();
    let mut pools = Vec::new();
    for pool in &status.pools {
        let matching = pool
            .backends
            .iter()
            .filter(|backend| matches(pool, backend, &filter));
        let mut backends: Vec<_> = matching
            .map(|backend| (backend, rates.of(&key(pool, &backend.url))))
            .collect();
        // A stable sort: equal ones stay in the order of the config.
        backends.sort_by(|one, other| order.compare(*one, *other));
        if !backends.is_empty() || pool.name.to_lowercase().contains(&filter) {
            pools.push((pool, backends));
        }
    }
    pools.sort_by(|(_, one), (_, other)| match (one.first(), other.first()) {
        (Some(one), Some(other)) => order.compare(*one, *other),
        (one, other) => other.is_some().cmp(&one.is_some()),
    });
    let mut rows = Vec::new();
    for (pool, backends) in pools {
        rows.push(Row::Pool(pool, rates.of_pool(pool)));
        let backends = backends.into_iter();
        rows.extend(backends.map(|(backend, rate)| Row::Backend(pool, backend, rate)));
    }
    rows
}

fn matches(pool: &PoolStatus, backend: &BackendStatus, filter: &str) -> bool {
    let texts = [
        Some(pool.name.as_str()),
        Some(backend.url.as_str()),
        backend.name.as_deref(),
        backend.why.as_deref(),
        Some(state_word(backend.state)),
    ];
    let mut texts = texts.into_iter().flatten();
    filter.is_empty() || texts.any(|text| text.to_lowercase().contains(filter))
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;
    use crate::admin::BackendState;

    /// Names of pools, and ports of backends.
    fn shown(status: &Status, order: Order, filter: &str) -> Vec<String> {
        let rows = visible(status, &Rates::default(), order, filter);
        let names = rows.iter().map(|row| match row {
            Row::Pool(pool, _) => pool.name.clone(),
            Row::Backend(_, backend, _) => backend.url.rsplit(':').next().unwrap_or_default().to_owned(),
        });
        names.collect()
    }

    #[test]
    fn a_filter_matches_pools_urls_names_states_and_reasons() {
        let mut status = example::status(2, 2);
        let down = &mut status.pools[1].backends[1];
        down.state = BackendState::Down;
        down.why = Some("Connection refused".to_owned());
        down.name = Some("canary".to_owned());
        let all = ["pool-1", "8001", "8002", "pool-2", "8001", "8002"];
        assert_eq!(shown(&status, Order::Config, ""), all);
        assert_eq!(
            shown(&status, Order::Config, "POOL-2 "),
            ["pool-2", "8001", "8002"]
        );
        assert_eq!(
            shown(&status, Order::Config, ":8001"),
            ["pool-1", "8001", "pool-2", "8001"]
        );
        for filter in ["down", "refused", "canary"] {
            assert_eq!(
                shown(&status, Order::Config, filter),
                ["pool-2", "8002"],
                "{filter}"
            );
        }
        assert!(shown(&status, Order::Config, "none").is_empty());
    }

    #[test]
    fn a_pool_without_backends_is_shown_by_its_name() {
        let status = example::status(1, 0);
        assert_eq!(shown(&status, Order::State, "pool"), ["pool-1"]);
        assert!(shown(&status, Order::State, "x").is_empty());
    }

    #[test]
    fn what_is_urgent_comes_first_in_its_pool_and_its_pool_before_the_others() {
        let mut status = example::status(3, 2);
        status.pools[1].backends[1].state = BackendState::Down;
        status.pools[2].backends[0].state = BackendState::Draining;
        status.pools[0].backends.clear();
        assert_eq!(
            shown(&status, Order::State, ""),
            ["pool-2", "8002", "8001", "pool-3", "8001", "8002", "pool-1"]
        );
        status.pools[2].backends[1].in_flight = 9;
        assert_eq!(
            shown(&status, Order::InFlight, "")[..3],
            ["pool-3", "8002", "8001"].map(str::to_owned)
        );
    }
}
