//! The snapshots that a request has worked with: the one it began with, and later ones in which it has found a backend for a
//! further attempt or after a wait. It keeps them to its end, because it refers to what is in them.

use std::cell::OnceCell;
use std::rc::Rc;

use super::SnapshotHandle;

/// Snapshots that a request keeps for its retries. Only one with many `attempts` sees more; its later retries go to the backends of
/// the last one.
const MOST_FOLLOWED: usize = 16;

/// A snapshot, and the later ones. There are at most [`MOST_FOLLOWED`], and one for each wait that ended in another one: waits end
/// with `queue.timeout`.
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

    /// Whether a retry may follow to another snapshot.
    pub(super) fn has_room(&self) -> bool {
        let all = std::iter::successors(Some(self), |seen| seen.later.get().map(|later| &**later));
        all.take(MOST_FOLLOWED).count() < MOST_FOLLOWED
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::proxy::{ClientTimeouts, Limits, Snapshot, SnapshotCell, TrustedProxies};
    use crate::router::Router;

    const SECOND: Duration = Duration::from_secs(1);

    /// A snapshot without routes.
    fn handle() -> Rc<SnapshotHandle> {
        let snapshot = Snapshot {
            router: Router::new(&[]).unwrap(),
            routes: Vec::new(),
            pools: Vec::new(),
            derived_pools: Vec::new(),
            servers: Vec::new(),
            policies: Vec::new(),
            tracer: None,
            spans: Arc::default(),
            trusted_proxies: TrustedProxies::default(),
            timeouts: ClientTimeouts {
                header: SECOND,
                idle: SECOND,
                drain: SECOND,
                drain_delay: SECOND,
                upgrade: SECOND,
            },
            limits: Limits {
                connections: None,
                connections_per_client: None,
                requests_per_connection: None,
                message: crate::message::Limits::default(),
                body: None,
                min_body_rate: None,
            },
        };
        SnapshotCell::new(snapshot).load()
    }

    #[test]
    fn each_snapshot_is_kept_once_and_retries_follow_to_a_bounded_number() {
        let first = handle();
        let seen = Seen::new(Rc::clone(&first));
        assert!(std::ptr::eq(seen.keep(&first), &*first));
        for _ in 1..MOST_FOLLOWED {
            assert!(seen.has_room());
            let later = handle();
            for _ in 0..2 {
                assert!(std::ptr::eq(seen.keep(&later), &*later));
            }
        }
        assert!(!seen.has_room());
        let after_a_wait = handle();
        assert!(std::ptr::eq(seen.keep(&after_a_wait), &*after_a_wait));
    }
}
