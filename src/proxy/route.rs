//! Finds the route of a request, and the pool that it leads to.

use super::SnapshotHandle;
use crate::head::RequestHead;
use crate::pool::{EligibleSet, Pool};

/// Where a request goes.
#[derive(Clone, Copy)]
pub(super) struct RouteMatch<'a> {
    /// The router's index of the route.
    pub(super) route: usize,
    pub(super) pool: &'a Pool,
    /// The backends of the pool that may get requests.
    pub(super) eligible: &'a EligibleSet,
}

/// Finds the route by host and path.
#[inline]
pub(super) fn find<'a>(head: &RequestHead, local: &'a SnapshotHandle) -> Option<RouteMatch<'a>> {
    let router = &local.snapshot.router;
    let found = router.find(head.text(head.authority), head.text(head.path))?;
    let (pool, eligible) = local.pool(found.pool)?;
    Some(RouteMatch {
        route: found.route,
        pool,
        eligible,
    })
}
