//! Logs when a pool has no eligible backend left, and when it has one again: once per change.

use std::collections::HashSet;
use std::sync::Arc;

use crate::pool::Pool;

/// The names of the pools that were logged as having no eligible backend.
#[derive(Debug, Default)]
pub(super) struct PoolsWithoutEligible(HashSet<Arc<str>>);

impl PoolsWithoutEligible {
    /// Checks the pools of the first snapshot.
    pub(super) fn at_start(pools: &[Arc<Pool>]) -> Self {
        let mut without = Self::default();
        without.update(pools);
        without
    }

    /// Checks the active pools and logs changes. Their eligible sets must be up to date.
    pub(super) fn update(&mut self, pools: &[Arc<Pool>]) {
        let is_empty = |pool: &&Arc<Pool>| pool.eligible().is_empty();
        let without = pools.iter().filter(is_empty);
        let without: HashSet<Arc<str>> = without.map(|pool| Arc::clone(&pool.settings.name)).collect();
        for pool in pools {
            let name = &pool.settings.name;
            let backends = pool.roster().members().len();
            match (self.0.contains(name), without.contains(name)) {
                (false, true) => tracing::warn!(
                    pool = &**name,
                    backends,
                    "Pool has no eligible backend; its requests get a 503 response until one is up"
                ),
                (true, false) => {
                    let eligible = pool.eligible().len();
                    tracing::info!(
                        pool = &**name,
                        backends,
                        eligible,
                        "Pool has an eligible backend again"
                    );
                }
                (false, false) | (true, true) => {}
            }
        }
        self.0 = without;
    }
}
