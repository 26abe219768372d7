//! What the request path knows of the config, as one immutable value. A reload is one atomic swap of it.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::{ClientTimeouts, Limits, Route, TrustedProxies};
use crate::backend::{Backend, BackendId};
use crate::pool::{EligibleSet, Member, Pool};
use crate::router::Router;
use crate::telemetry::metrics::PolicyCounters;
use crate::telemetry::trace::{SpanCounters, Tracer};

/// The active settings.
#[derive(Debug)]
pub struct Snapshot {
    /// Finds the route.
    pub router: Router,
    /// All routes, by the router's index.
    pub routes: Vec<Route>,
    /// All pools.
    pub pools: Vec<Arc<Pool>>,
    /// The same pools with settings of one route. Their indices follow those of `pools`.
    pub derived_pools: Vec<Arc<Pool>>,
    /// The servers that policies ask, each as a pool with one backend. Nobody sees them as pools.
    pub servers: Vec<Arc<Pool>>,
    /// The counters of all policies that decide about requests; no name twice.
    pub policies: Vec<Arc<PolicyCounters>>,
    /// Tracing, while it is on.
    pub tracer: Option<Arc<Tracer>>,
    /// What became of spans, also of those before the last reload.
    pub spans: Arc<SpanCounters>,
    /// Whose forwarding fields and PROXY headers are believed.
    pub trusted_proxies: TrustedProxies,
    /// Timeouts on the client's side.
    pub timeouts: ClientTimeouts,
    /// Limits on the client's side.
    pub limits: Limits,
}

impl Snapshot {
    /// The pools, then those with settings of one route, then the servers of policies.
    fn all_pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.pools.iter().chain(&self.derived_pools).chain(&self.servers)
    }

    /// The pools whose backends the control plane looks after: those of the config, and the servers of policies.
    pub fn watched(&self) -> Vec<Arc<Pool>> {
        self.pools.iter().chain(&self.servers).cloned().collect()
    }
}

/// The one place that the control plane writes and workers read.
#[derive(Debug)]
pub struct SnapshotCell {
    snapshot: ArcSwap<Snapshot>,
    /// Changes with every change of the snapshot or of a membership.
    version: AtomicU64,
}

/// A worker's own view of the snapshot: no shared counter is touched to use it.
#[derive(Debug)]
pub struct SnapshotHandle {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    memberships: Vec<Arc<EligibleSet>>,
    version: u64,
}

impl SnapshotCell {
    /// Begins with this snapshot.
    pub fn new(snapshot: Snapshot) -> Arc<Self> {
        let cell = Arc::new(Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            version: AtomicU64::new(0),
        });
        cell.announce();
        cell
    }

    /// Replaces the active snapshot; returns the previous one, which workers release when they next look.
    pub fn replace(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        let before = self.snapshot.swap(Arc::new(snapshot));
        self.changed();
        let after = self.snapshot();
        let is_kept = |queue| after.pools.iter().any(|pool| Arc::ptr_eq(&pool.queue, queue));
        for pool in before.pools.iter().filter(|pool| !is_kept(&pool.queue)) {
            pool.queue.close();
        }
        before
    }

    /// Lets workers look at the memberships again. Called after [`Pool::refresh`] and [`Pool::update`].
    pub fn changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
        self.announce();
    }

    /// Wakes requests that wait for a backend: which ones are eligible may have changed.
    fn announce(&self) {
        for pool in &self.snapshot.load().pools {
            pool.announce();
        }
    }

    /// The active snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    pub(super) fn load(&self) -> Rc<SnapshotHandle> {
        // The version first: a change in between is seen as staleness next time, never missed.
        let version = self.version.load(Ordering::Acquire);
        let snapshot = self.snapshot.load_full();
        let memberships = snapshot.all_pools().map(|pool| pool.eligible()).collect();
        Rc::new(SnapshotHandle {
            snapshot,
            memberships,
            version,
        })
    }
}

impl SnapshotHandle {
    pub(super) fn is_stale(&self, shared: &SnapshotCell) -> bool {
        self.version != shared.version.load(Ordering::Acquire)
    }

    /// The pool with this index and its eligible backends.
    pub fn pool(&self, index: usize) -> Option<(&Arc<Pool>, &Arc<EligibleSet>)> {
        let snapshot = &self.snapshot;
        let pool = match index.checked_sub(snapshot.pools.len()) {
            None => snapshot.pools.get(index)?,
            Some(derived) => snapshot.derived_pools.get(derived)?,
        };
        Some((pool, self.memberships.get(index)?))
    }

    /// The member of any pool that is this backend, as long as there is one.
    pub fn member(&self, backend: BackendId) -> Option<&Member> {
        let mut members = self
            .memberships
            .iter()
            .filter_map(|eligible| eligible.roster().member(backend));
        members.next().map(|member| &**member)
    }

    /// This backend, and how long a connection to it is kept without requests; `None` for one that is no member.
    pub fn kept(&self, backend: BackendId) -> Option<(&Backend, Duration)> {
        let mut pools = self.snapshot.all_pools().zip(&self.memberships);
        pools.find_map(|(pool, eligible)| {
            let member = eligible.roster().member(backend)?;
            Some((&*member.backend, pool.settings.timeouts.backend_idle))
        })
    }
}
