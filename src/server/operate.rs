//! Changes of one backend that an operator asks for. They are kept with the backend, over reloads too: see `pool`.

use std::sync::Arc;

use super::{Server, view};
use crate::admin::{BackendAction, BackendChange, BackendStatus, UnknownBackend};
use crate::pool::{Member, Pool};

impl Server {
    /// Makes a change and publishes it to the workers.
    pub(super) fn change_backend(&mut self, change: BackendChange) {
        let result = self.change(&change);
        // The client may have left.
        let _ = change.reply.send(result);
    }

    fn change(&mut self, change: &BackendChange) -> Result<BackendStatus, UnknownBackend> {
        let snapshot = self.state.shared.snapshot();
        let mut pools = snapshot.pools.iter();
        let pool = pools.find(|pool| *pool.settings.name == *change.pool);
        let Some(pool) = pool else {
            let known = snapshot.pools.iter().map(|pool| pool.settings.name.to_string());
            return Err(UnknownBackend::Pool(known.collect()));
        };
        let roster = pool.roster();
        let Some(member) = roster.find(&change.backend) else {
            let known = roster.members().iter().map(name_of);
            return Err(UnknownBackend::Backend(known.collect()));
        };
        if apply(pool, member, change) {
            self.eligibility
                .update(&snapshot.pools, |other| std::ptr::eq(other, &**pool));
        }
        Ok(view::backend_status(member))
    }
}

/// Returns whether something has changed.
fn apply(pool: &Pool, member: &Arc<Member>, change: &BackendChange) -> bool {
    let (pool, backend, by) = (&*pool.settings.name, &member.backend.address, &*change.by);
    match change.action {
        BackendAction::Drain => {
            let is_change = member.set_drained(true);
            let in_flight = member.backend.load.total_in_flight();
            tracing::info!(pool, %backend, by, in_flight, is_change, "Backend drained by an operator");
            is_change
        }
        BackendAction::Ready => {
            let is_change = member.set_drained(false);
            tracing::info!(pool, %backend, by, is_change, "Backend made ready by an operator");
            is_change
        }
        BackendAction::Weight(weight) => {
            let before = member.set_weight(weight);
            tracing::info!(pool, %backend, by, before, weight, "Weight of backend set by an operator");
            before != weight
        }
    }
}

fn name_of(member: &Arc<Member>) -> String {
    let name = member.name();
    name.map_or_else(|| member.backend.address.url.clone(), |name| name.to_string())
}
