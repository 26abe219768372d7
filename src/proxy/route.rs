//! Finds the route of a request.

use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use evenkeel_balance::action::{Redirect, Respond, Split};

use super::plan::Plan;
use super::request::Request;
use super::seen::Seen;
use super::{Snapshot, SnapshotHandle};
use crate::pool::{EligibleSet, Pool};
use crate::telemetry::Label;
use crate::telemetry::metrics::TrafficCounters;

/// A route of the snapshot.
#[derive(Debug)]
pub struct Route {
    /// Its name for the log.
    pub label: Label,
    /// Its requests by status and duration.
    pub traffic: Arc<TrafficCounters>,
    /// Where its requests go.
    pub target: Target,
    /// What else is done with its requests. Most routes have none.
    pub plan: Option<Box<Plan>>,
}

/// Where the requests of a route go. Pools are indices into those of the snapshot.
#[derive(Debug)]
pub enum Target {
    /// To a pool.
    Pool(usize),
    /// To one of several pools.
    Split(Box<SplitTarget>),
    /// Nowhere: they get a redirect.
    Redirect(Box<Redirect>),
    /// Nowhere: they get this response.
    Respond(Box<Respond>),
}

/// Several pools, and which of them a request goes to.
#[derive(Debug)]
pub struct SplitTarget {
    /// Chooses one.
    pub split: Split,
    /// In the order of `split`.
    pub pools: Vec<usize>,
    /// Whether clients of one of them have a cookie, by which they stay in it.
    pub is_sticky: bool,
}

/// The pool that a request goes to.
#[derive(Clone, Copy)]
pub(super) struct PoolMatch<'a> {
    pub(super) pool: &'a Pool,
    /// Its index in the snapshot that the request began with.
    pub(super) index: usize,
    pub(super) seen: &'a Seen,
    /// The backends of the pool that may get requests.
    pub(super) eligible: &'a EligibleSet,
}

impl<'a> PoolMatch<'a> {
    /// The pool with this index.
    #[inline]
    pub(super) fn of(index: usize, seen: &'a Seen) -> Option<Self> {
        let (pool, eligible) = seen.first().pool(index)?;
        Some(Self {
            pool,
            index,
            seen,
            eligible,
        })
    }

    /// The same pool and its eligible backends in another snapshot; `None` if it was removed.
    pub(super) fn pool_in<'h>(&self, handle: &'h SnapshotHandle) -> Option<(&'h Pool, &'h EligibleSet)> {
        let (pool, eligible) = handle.pool(self.index_in(handle)?)?;
        Some((pool, eligible))
    }

    /// The same pool in another snapshot, which is kept.
    pub(super) fn moved_to(&self, handle: &Rc<SnapshotHandle>) -> Option<Self> {
        let (pool, eligible) = self.pool_in(self.seen.keep(handle))?;
        // The index stays that of the first snapshot.
        Some(Self {
            pool,
            eligible,
            ..*self
        })
    }

    /// The same pool in the active snapshot, for a further attempt or after a wait. A pool that a reload has removed stays as it was: its requests
    /// end where they began.
    #[cold]
    pub(super) fn current(&self, active: &Rc<SnapshotHandle>) -> Self {
        let found = self.pool_in(active);
        let has_changed = found.is_some_and(|(_, eligible)| !std::ptr::eq(eligible, self.eligible));
        let moved = (has_changed && self.seen.has_room()).then(|| self.moved_to(active));
        moved.flatten().unwrap_or(*self)
    }

    /// A pool with settings of one route is itself while the config is the same. After a reload it is the pool of the route with the
    /// same name, or else the one that it was made from.
    fn index_in(&self, handle: &SnapshotHandle) -> Option<usize> {
        let snapshot = &handle.snapshot;
        if Arc::ptr_eq(snapshot, &self.seen.first().snapshot) {
            return Some(self.index);
        }
        let is_same = |pool: &Arc<Pool>| Arc::ptr_eq(&pool.queue, &self.pool.queue);
        let position = snapshot.pools.iter().position(is_same)?;
        let is_of_route = |pool: &Arc<Pool>| is_same(pool) && pool.route == self.pool.route;
        let derived = self.pool.route.is_some().then(|| {
            let derived = snapshot.derived_pools.iter().position(is_of_route)?;
            Some(snapshot.pools.len() + derived)
        });
        derived.flatten().or(Some(position))
    }
}

/// Finds the route by host, path and what else routes look at. Returns its index too.
#[inline]
pub(super) fn find<'a>(request: &Request<'_>, snapshot: &'a Snapshot) -> Option<(usize, &'a Route)> {
    let index = snapshot.router.find(&request.view(SystemTime::UNIX_EPOCH))?;
    Some((index, snapshot.routes.get(index)?))
}
