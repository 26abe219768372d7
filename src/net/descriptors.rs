//! A few file descriptors are kept back, for what has to go on when clients have taken all others: probes, the admin API,
//! log files. The kernel gives the lowest free number, so a number near the limit says that the others are taken.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// As many as are kept back where the limit is not tiny.
const KEPT_BACK: u64 = 32;

/// The first number that is kept back.
static FIRST: AtomicI32 = AtomicI32::new(i32::MAX);

/// Keeps the last of `limit` descriptors back from now on: 32, or an eighth where that is less.
pub fn keep_back(limit: u64) {
    let first = limit - KEPT_BACK.min(limit / 8);
    FIRST.store(i32::try_from(first).unwrap_or(i32::MAX), Ordering::Relaxed);
}

/// Whether a socket has a descriptor that is not for clients and their requests.
pub fn is_kept_back(socket: &impl AsFd) -> bool {
    socket.as_fd().as_raw_fd() >= FIRST.load(Ordering::Relaxed)
}
