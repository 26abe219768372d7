//! Reserves a few file descriptors for probes, the admin API and log files, which have to work when clients have taken all
//! others. The kernel assigns the lowest free number, so a number near the limit means that the others are in use.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// Number of reserved descriptors, unless the limit is small.
const RESERVED: u64 = 32;

/// The first reserved number.
static FIRST: AtomicI32 = AtomicI32::new(i32::MAX);

/// Reserves the last of `limit` descriptors from now on: 32, or an eighth if that is less.
pub fn reserve(limit: u64) {
    let first = limit - RESERVED.min(limit / 8);
    FIRST.store(i32::try_from(first).unwrap_or(i32::MAX), Ordering::Relaxed);
}

/// Whether a socket has a reserved descriptor, which clients and their requests must not use.
pub fn is_reserved(socket: &impl AsFd) -> bool {
    socket.as_fd().as_raw_fd() >= FIRST.load(Ordering::Relaxed)
}
