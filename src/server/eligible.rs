//! Tells people when a pool has no eligible backend any more, and when it has one again: each once.

use std::collections::HashSet;
use std::sync::Arc;

use crate::pool::Pool;

/// The pools of which it was told that they have no eligible backend, by name.
#[derive(Debug, Default)]
pub(super) struct WithoutEligible(HashSet<Arc<str>>);

impl WithoutEligible {
    /// Looks at the first pools.
    pub(super) fn at_start(pools: &[Arc<Pool>]) -> Self {
        let mut without = Self::default();
        without.look_at(pools);
        without
    }

    /// Looks at the pools in force, whose memberships are up to date.
    pub(super) fn look_at(&mut self, pools: &[Arc<Pool>]) {
        let is_empty = |pool: &&Arc<Pool>| pool.eligible().is_empty();
        let without = pools.iter().filter(is_empty);
        let without: HashSet<Arc<str>> = without.map(|pool| Arc::clone(&pool.settings.name)).collect();
        for pool in pools {
            let name = &pool.settings.name;
            let backends = pool.members.len();
            match (self.0.contains(name), without.contains(name)) {
                (false, true) => tracing::warn!(
                    pool = &**name,
                    backends,
                    "Pool has no eligible backend: its requests are answered with 503 until one is up"
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
