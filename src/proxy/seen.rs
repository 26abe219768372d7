//! The snapshots that a request has worked with: the one it began with, and later ones in which it has found a backend after a
//! wait. It keeps them to its end, because it refers to what is in them.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use super::SnapshotHandle;
use super::route::PoolMatch;
use crate::pool::{EligibleSet, Pool};

/// A snapshot, and the later ones. There are as many as a request has waits that ended in different snapshots.
pub(super) struct Seen {
    handle: Rc<SnapshotHandle>,
    later: OnceCell<Box<Self>>,
}

impl Seen {
    /// Begins with this one.
    #[inline]
    pub(super) fn new(handle: Rc<SnapshotHandle>) -> Self {
        Self {
            handle,
            later: OnceCell::new(),
        }
    }

    /// The one that the request began with.
    #[inline]
    pub(super) fn first(&self) -> &SnapshotHandle {
        &self.handle
    }

    /// Keeps this one.
    fn keep(&self, handle: &Rc<SnapshotHandle>) -> &SnapshotHandle {
        let mut seen = self;
        while !Rc::ptr_eq(&seen.handle, handle) {
            seen = seen.later.get_or_init(|| Box::new(Self::new(Rc::clone(handle))));
        }
        &seen.handle
    }
}

impl<'a> PoolMatch<'a> {
    /// The same pool in another snapshot; `None` if it was removed. A pool with settings of one route is itself while the config
    /// is the same; after a reload it is the pool that it was made from, with the settings of that.
    pub(super) fn find<'s>(&self, handle: &'s SnapshotHandle) -> Option<(usize, &'s Pool, &'s EligibleSet)> {
        let index = match Arc::ptr_eq(&handle.snapshot, &self.seen.first().snapshot) {
            true => self.index,
            false => {
                let mut pools = handle.snapshot.pools.iter();
                pools.position(|pool| Arc::ptr_eq(&pool.queue, &self.pool.queue))?
            }
        };
        let (pool, eligible) = handle.pool(index)?;
        Some((index, pool, eligible))
    }

    /// The same pool in another snapshot, which is kept.
    pub(super) fn moved_to(&self, handle: &Rc<SnapshotHandle>) -> Option<Self> {
        let (_, pool, eligible) = self.find(self.seen.keep(handle))?;
        // The index stays that of the first snapshot.
        Some(Self {
            pool,
            eligible,
            ..*self
        })
    }
}
