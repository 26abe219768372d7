//! What decisions need to know of a backend: its id, and its requests in flight.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Identifies a backend within this process, across reloads; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(u64);

impl BackendId {
    /// The next free id.
    #[inline]
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A value on its own cache line, because every worker writes it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Padded<T>(pub T);

/// The load of one backend. Shared by all workers.
#[derive(Debug)]
pub struct Load {
    /// The id of the backend.
    pub id: BackendId,
    /// Requests in flight.
    pub in_flight: Padded<AtomicU32>,
}

impl Default for Load {
    /// That of a new backend.
    fn default() -> Self {
        Self {
            id: BackendId::next(),
            in_flight: Padded::default(),
        }
    }
}
