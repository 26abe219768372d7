//! Keeps the eligible sets of the pools up to date: after health checks, ejections and steps of slow start. Logs ejections, and
//! when a pool has no eligible backend left, each once per change.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::clock::{self, Instant};
use crate::health::ejection::{Arbiter, Change, ChangeKind, Observed};
use crate::health::{Ejection, Wakeup};
use crate::kept::Kept;
use crate::pool::{Member, Pool, Roster, WAKEUP};
use crate::proxy::SnapshotCell;

/// Minimum time between two decisions on ejections that workers call for. Below what a client notices, and many failures at the
/// same time are decided on together.
const MIN_GAP: Duration = Duration::from_millis(2);

/// Decides which backends of the active pools get requests, and what is logged of it.
pub(super) struct Eligibility {
    wakeup: Arc<Wakeup>,
    shared: Arc<SnapshotCell>,
    /// By the name of the pool.
    arbiters: HashMap<Arc<str>, PoolArbiter>,
    /// The names of the pools that were logged as having no eligible backend.
    without: HashSet<Arc<str>>,
    /// When arbiters or backends in slow start are due.
    next: Option<Instant>,
    decided: Instant,
}

#[derive(Default)]
struct PoolArbiter {
    arbiter: Arbiter,
    next: Option<Instant>,
}

impl Eligibility {
    /// Begins with the pools of the first snapshot, and the wake-up that they keep.
    pub(super) fn start(kept: &Kept, shared: &Arc<SnapshotCell>) -> Self {
        let mut eligibility = Self {
            // Every config keeps it.
            wakeup: kept.get(WAKEUP).unwrap_or_default(),
            shared: Arc::clone(shared),
            arbiters: HashMap::new(),
            without: HashSet::new(),
            next: None,
            decided: clock::now(),
        };
        eligibility.update(&shared.snapshot().pools, |_| false);
        eligibility
    }

    /// Waits until workers call for a decision, or one is due.
    pub(super) async fn due(&self) {
        let called = async {
            self.wakeup.called().await;
            tokio::time::sleep_until(clock::to_std(self.decided + MIN_GAP).into()).await;
        };
        match self.next {
            None => called.await,
            Some(next) => tokio::select! {
                () = called => {}
                () = tokio::time::sleep_until(clock::to_std(next).into()) => {}
            },
        }
    }

    /// Decides on ejections in all pools. Builds the eligible sets anew of those whose health or settings have changed, and of
    /// those that the decisions change.
    pub(super) fn update(&mut self, pools: &[Arc<Pool>], has_changed: impl Fn(&Pool) -> bool) {
        self.decide(pools, |_, _| true, has_changed);
        let names: HashSet<_> = pools.iter().map(|pool| &pool.settings.name).collect();
        self.arbiters.retain(|name, _| names.contains(name));
    }

    /// Does what is due: decides on ejections where workers have called, and takes steps of slow start.
    pub(super) fn update_due(&mut self, pools: &[Arc<Pool>]) {
        self.wakeup.clear();
        let now = clock::now();
        let is_past = |time: Option<Instant>| time.is_some_and(|time| time <= now);
        self.decide(
            pools,
            |pool, next| pool.wakeup().take() || is_past(next),
            |pool| is_past(pool.next_step()),
        );
    }

    fn decide(
        &mut self,
        pools: &[Arc<Pool>],
        is_due: impl Fn(&Pool, Option<Instant>) -> bool,
        has_changed: impl Fn(&Pool) -> bool,
    ) {
        self.decided = clock::now();
        let mut decided = Vec::new();
        let mut is_any = false;
        for pool in pools {
            let name = &pool.settings.name;
            let arbiter = self.arbiters.entry(Arc::clone(name)).or_default();
            let mut changes = Vec::new();
            let mut is_stale = has_changed(pool);
            if is_due(pool, arbiter.next) {
                is_stale |= arbiter.forget_ejections_of_others(pool);
                changes = arbiter.judge(pool, self.decided);
            }
            if is_stale || !changes.is_empty() {
                pool.refresh();
                is_any = true;
            }
            decided.extend(changes.into_iter().map(|change| (pool, change)));
        }
        if is_any {
            self.shared.changed();
        }
        for (pool, change) in decided {
            log(pool, &change);
        }
        self.log_pools(pools);
        let steps = pools.iter().filter_map(|pool| pool.next_step());
        let arbiters = self.arbiters.values().filter_map(|arbiter| arbiter.next);
        self.next = arbiters.chain(steps).min();
    }

    /// Logs which pools have no eligible backend any more, or have one again.
    fn log_pools(&mut self, pools: &[Arc<Pool>]) {
        let is_empty = |pool: &&Arc<Pool>| pool.eligible().is_empty();
        let without = pools.iter().filter(is_empty);
        let without: HashSet<Arc<str>> = without.map(|pool| Arc::clone(&pool.settings.name)).collect();
        for pool in pools {
            let name = &pool.settings.name;
            let backends = pool.roster().members().len();
            match (self.without.contains(name), without.contains(name)) {
                (false, true) => tracing::warn!(pool = &**name, backends, "Pool has no eligible backend"),
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
        self.without = without;
    }
}

impl PoolArbiter {
    /// Ends ejections that another arbiter has decided on: that of the pool before its backend was removed, which has come back
    /// since. Returns whether there were any.
    fn forget_ejections_of_others(&self, pool: &Pool) -> bool {
        let roster = pool.roster();
        let members = roster.members().iter();
        let foreign = members.filter(|member| {
            let is_foreign = !self.arbiter.knows(member.backend.id);
            is_foreign && member.health.ejection().is_some()
        });
        foreign.map(|member| member.health.set_ejection(None)).count() > 0
    }

    /// Decides, and tells the backends. The eligible set of the pool is not built anew yet.
    fn judge(&mut self, pool: &Pool, now: Instant) -> Vec<Change> {
        let roster = pool.roster();
        let observed: Vec<_> = roster.members().iter().map(|member| observe(member)).collect();
        let settings = pool.settings.ejection.as_ref();
        let judgement = self.arbiter.judge(now, settings, &observed);
        self.next = judgement.next;
        pool.wakeup().set_asleep(self.next.is_none());
        for change in &judgement.changes {
            apply(&roster, change, now);
        }
        judgement.changes
    }
}

fn observe(member: &Member) -> Observed<'_> {
    let load = &member.backend.load;
    // In flight first: a request that ends in between is then counted later, not too early.
    let in_flight = u64::from(load.total_in_flight());
    Observed {
        backend: member.backend.id,
        signal: member.health.signal(),
        is_down: member.health.is_down(),
        is_excluded: member.is_excluded(),
        last_good_check: member.health.last_good_check(),
        ended: load.attempts().saturating_sub(in_flight),
        failed: load.counted_failures(),
    }
}

fn apply(roster: &Roster, change: &Change, now: Instant) {
    let Some(member) = roster.member(change.backend) else {
        return;
    };
    let health = &member.health;
    let before = health.ejection();
    match &change.kind {
        ChangeKind::Ejected { length, reason, .. } => {
            health.count_ejection();
            let wall = clock::wall();
            let (since, since_wall) = begin(before.as_deref(), (now, wall));
            health.set_ejection(Some(Ejection {
                since,
                since_wall,
                until: wall.checked_add(*length),
                why: reason.to_string().into(),
            }));
        }
        // One on trial may begin its trial anew.
        ChangeKind::OnTrial => {
            if let Some(before) = before.filter(|before| before.until.is_some()) {
                health.set_ejection(Some(Ejection {
                    until: None,
                    why: format!("on trial after: {}", before.why).into(),
                    ..Ejection::clone(&before)
                }));
            }
        }
        ChangeKind::Back(_) => health.set_ejection(None),
        ChangeKind::Spared(_) => {}
    }
}

/// When an ejection began of which this is a part.
fn begin(before: Option<&Ejection>, now: (Instant, SystemTime)) -> (Instant, SystemTime) {
    before.map_or(now, |before| (before.since, before.since_wall))
}

fn log(pool: &Pool, change: &Change) {
    let roster = pool.roster();
    let Some(member) = roster.member(change.backend) else {
        return;
    };
    let (backend, pool) = (&member.backend.address, &*pool.settings.name);
    match &change.kind {
        ChangeKind::Ejected {
            length,
            times,
            reason,
            is_again: false,
            ..
        } => {
            let for_ms = length.as_millis() as u64;
            tracing::warn!(%backend, pool, for_ms, times, %reason, "Backend is ejected");
        }
        ChangeKind::Ejected {
            length,
            times,
            reason,
            ..
        } => {
            let for_ms = length.as_millis() as u64;
            tracing::info!(%backend, pool, for_ms, times, %reason, "Backend stays ejected");
        }
        ChangeKind::OnTrial => tracing::debug!(%backend, pool, "Backend gets trial requests"),
        ChangeKind::Back(why) => {
            let reason = why.as_str();
            tracing::info!(%backend, pool, reason, "Backend is back");
        }
        ChangeKind::Spared(reason) => {
            tracing::warn!(%backend, pool, %reason, "Backend fails and is not ejected, because too few others would be left");
        }
    }
}
