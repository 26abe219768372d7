//! Raises the limit of file descriptors and derives `limits.connections: auto` from it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// The assumed number of descriptors when the system sets no limit.
const UNLIMITED: u64 = 1 << 20;

/// Raises the soft limit of open files to the hard limit and reserves the last descriptors. Returns the limit then in effect.
pub(super) fn raise_descriptors() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // If it cannot be raised, the lower limit counts.
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: maximum,
                maximum,
            },
        );
    }
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED);
    crate::net::reserve(descriptors);
    descriptors
}

/// Fills in `limits.connections: auto`: 45% of the descriptors, because a request needs a client connection and a backend connection,
/// and probes, logs and the admin API need descriptors too.
pub(super) fn resolve(config: &mut Config, descriptors: u64) {
    let auto = usize::try_from(descriptors / 100 * 45 + descriptors % 100 * 45 / 100).unwrap_or(usize::MAX);
    config.limits.connections.get_or_insert(auto.max(1));
}
