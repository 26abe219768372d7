//! Looks for backends that take requests and respond to none, and logs them.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{self, Instant};
use crate::health::silence::{LOOK_EVERY, Observation};
use crate::pool::{Member, Pool};
use crate::proxy::SnapshotCell;

/// Time between two looks while no backend gets requests.
const IDLE: Duration = Duration::from_secs(1);

/// Looks at backends without requests before the process counts as idle.
const IDLE_LOOKS: u32 = 20;

/// The least time between two looks for each backend: a look costs about a ten-thousandth of this.
const EACH: Duration = Duration::from_micros(50);

/// Looks until it is dropped.
pub(super) async fn watch(shared: Arc<SnapshotCell>) {
    let mut idle_looks = 0;
    loop {
        let snapshot = shared.snapshot();
        let backends = snapshot.pools.iter().map(|pool| pool.roster().members().len());
        let gap = LOOK_EVERY.max(EACH * u32::try_from(backends.sum::<usize>()).unwrap_or(u32::MAX));
        drop(snapshot);
        let gap = if idle_looks < IDLE_LOOKS {
            gap
        } else {
            gap.max(IDLE)
        };
        tokio::time::sleep(gap).await;
        idle_looks = match look(&shared.snapshot().pools, clock::now()) {
            true => 0,
            false => idle_looks.saturating_add(1),
        };
    }
}

/// Looks at all backends. Returns whether any of them gets requests.
fn look(pools: &[Arc<Pool>], now: Instant) -> bool {
    let looks = pools
        .iter()
        .map(|pool| pool.look_for_silence(now, |member, observation| log(pool, member, observation)));
    looks.fold(false, |is_any, is_used| is_any | is_used)
}

fn log(pool: &Pool, member: &Member, observation: Observation) {
    let (backend, pool) = (&member.backend.address, &*pool.settings.name);
    match observation {
        Observation::Silent {
            avoid_for,
            waiting,
            is_first: true,
        } => {
            let for_ms = avoid_for.as_millis() as u64;
            tracing::warn!(%backend, pool, waiting, for_ms, "Backend does not respond; new requests avoid it");
        }
        Observation::Silent { avoid_for, .. } => {
            let for_ms = avoid_for.as_millis() as u64;
            tracing::debug!(%backend, pool, for_ms, "Backend still does not respond");
        }
        Observation::Responds => tracing::info!(%backend, pool, "Backend responds again"),
    }
}
