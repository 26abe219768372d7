//! The snapshots that a request has worked with: the one it began with, and later ones in which it has found a backend after a
//! wait. It keeps them to its end, because it refers to what is in them.

use std::cell::OnceCell;
use std::rc::Rc;

use super::SnapshotHandle;

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
    pub(super) fn keep(&self, handle: &Rc<SnapshotHandle>) -> &SnapshotHandle {
        let mut seen = self;
        while !Rc::ptr_eq(&seen.handle, handle) {
            seen = seen.later.get_or_init(|| Box::new(Self::new(Rc::clone(handle))));
        }
        &seen.handle
    }
}
