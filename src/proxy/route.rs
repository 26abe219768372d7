//! Finds the route of a request.

use std::time::SystemTime;

use evenkeel_balance::action::{Redirect, Respond, Split};

use super::plan::Plan;
use super::request::Request;
use super::{Snapshot, SnapshotHandle};
use crate::pool::{EligibleSet, Pool};
use crate::telemetry::Label;

/// A route of the snapshot.
#[derive(Debug)]
pub struct Route {
    /// Its name for the log.
    pub label: Label,
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
    /// The backends of the pool that may get requests.
    pub(super) eligible: &'a EligibleSet,
}

impl<'a> PoolMatch<'a> {
    /// The pool with this index.
    #[inline]
    pub(super) fn of(index: usize, local: &'a SnapshotHandle) -> Option<Self> {
        let (pool, eligible) = local.pool(index)?;
        Some(Self { pool, eligible })
    }
}

/// Finds the route by host, path and what else routes look at. Returns its index too.
#[inline]
pub(super) fn find<'a>(request: &Request<'_>, snapshot: &'a Snapshot) -> Option<(usize, &'a Route)> {
    let index = snapshot.router.find(&request.view(SystemTime::UNIX_EPOCH))?;
    Some((index, snapshot.routes.get(index)?))
}
